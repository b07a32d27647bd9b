"""A conversation is shared by a link, read by somebody else, and taken back, in Chromium."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from inference.models import Chat
from tests.browser import pagecheck
from tests.browser.test_chat import ask
from tests.browser.test_chat_more import alice as alice
from tests.browser.test_chat_more import chat as chat
from tests.browser.test_chat_more import upstream as upstream


def test_a_shared_conversation_is_read_by_a_stranger(
    alice: Page, asgi_server: str, chat: Chat, browser: Browser
) -> None:
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
    ask(alice, "What is a ledger?")
    expect(alice.get_by_test_id("message-verdict")).to_have_count(1)
    expect(alice.locator("#turns")).to_have_attribute("aria-busy", "false")
    alice.reload()
    alice.locator("summary", has_text="Conversation").click()
    alice.get_by_test_id("chat-share").click()
    alice.get_by_test_id("share-create").click()
    expect(alice.get_by_test_id("share-link")).to_contain_text("1 answer")
    pagecheck.sound(alice, alice.url)
    link = alice.get_by_role("link", name="See what others see").get_attribute("href")
    with browser.new_page() as stranger:
        pagecheck.sound(stranger, f"{asgi_server}{link}")
        expect(stranger.locator(".prose")).to_contain_text("How a refund works")
        expect(stranger.get_by_test_id("message-verdict")).to_have_attribute(
            "data-verdict", "verified"
        )
        assert stranger.locator("main form").count() == 0
        alice.get_by_test_id("share-end").click()
        expect(alice.get_by_test_id("share-link")).to_have_count(0)
        assert getattr(stranger.reload(), "status", 0) == 404
