"""What a German reader of the chat gets, from page, script and socket."""

from __future__ import annotations

import re
from typing import Any

from django.utils import timezone
from playwright.sync_api import Page, expect

from inference.models import Chat
from ledger.models import SubAccount
from probes.models import ExchangeRate
from tests.browser.test_chat import alice as alice
from tests.browser.test_chat import ask
from tests.browser.test_chat import chat as chat
from tests.browser.test_chat import quiet as quiet
from tests.browser.test_chat import upstream as upstream


def test_page_script_and_socket_speak_one_language(
    alice: Page, asgi_server: str, chat: Chat, settings: Any
) -> None:
    """A German reader gets no English from any of the three; the last refusal is the socket's."""
    settings.USD_PRICE_URL = "https://prices.example/"
    ExchangeRate.objects.create(source="prices.example", quoted_at=timezone.now(), micro=500_000)
    alice.context.add_cookies([{"name": "django_language", "value": "de", "url": asgi_server}])
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
    alice.get_by_test_id("chat-input").fill("What is a ledger?")
    expect(alice.get_by_test_id("chat-estimate")).to_contain_text("Etwa")
    expect(alice.get_by_test_id("chat-estimate")).to_contain_text(
        re.compile("Höchstens [≈<]\\s\\$0")
    )
    # After each answer the page asks what is missing now; it would refuse before the socket could.
    side = re.compile("/playground/chat/side")
    with alice.expect_response(side):
        alice.get_by_test_id("chat-send").click()
        expect(alice.get_by_test_id("message-verdict")).to_have_text("Verifiziert")
    expect(alice.locator("[data-status]")).to_contain_text("Antwort vollständig")
    with alice.expect_response(side):
        ask(alice, "refuse")
    expect(alice.locator("[data-failure]")).to_contain_text("Nach dem Protokoll wird nichts fällig")
    expect(alice.get_by_test_id("chat-send")).to_be_visible()
    SubAccount.objects.update(acknowledged=False)
    ask(alice, "And now?")
    expect(alice.locator("[data-error]")).to_contain_text("Signaturschlüssel")
