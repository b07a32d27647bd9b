"""A conversation where no websocket gets through, in Chromium."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page, Route, expect

from inference.models import Chat, Turn
from tests import factories
from tests.browser.test_chat import answers, ask
from tests.browser.test_chat_more import ERRORS
from tests.browser.test_chat_more import alice as alice
from tests.browser.test_chat_more import chat as chat
from tests.browser.test_chat_more import upstream as upstream

#: The browser's own looks at no clock of ours.
BY_THE_CLOCK = """AbortSignal.timeout = (milliseconds) => {
  const over = new AbortController();
  setTimeout(() => over.abort(), milliseconds);
  return over.signal;
};"""


def test_without_a_websocket_the_event_stream_carries_the_answer(
    alice: Page, asgi_server: str, chat: Chat
) -> None:
    """Networks that let no websocket through: asked by form, watched by server-sent events.
    Whatever the server fails in is asked for again, and nothing is paid twice.
    """

    def lost(route: Route) -> None:
        route.fetch()
        route.abort()

    def failed(status: int) -> Any:
        return lambda route: route.fulfill(status=status)

    alice.clock.install()
    alice.add_init_script(BY_THE_CLOCK)
    alice.route_web_socket(re.compile("/ws/chat/"), lambda route: route.close())
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
    alice.route("**/send", lost, times=1)
    alice.route("**/events*", failed(503), times=1)
    alice.route("**/stop", failed(502), times=1)
    ask(alice, "Count slowly")
    expect(answers(alice)).to_contain_text("word5 ", timeout=15_000)
    expect(alice.locator("[data-offline]")).to_be_hidden()
    # What was stored is not to be had at once: one may ask on all the same, and it comes.
    stored = re.compile(r"/turns/\d+$")
    alice.route(stored, failed(429), times=1)
    alice.route(stored, lambda route: None, times=1)  # before that
    with alice.expect_request(stored):
        alice.get_by_test_id("chat-stop").click()
    alice.clock.fast_forward(30_000)
    expect(alice.get_by_test_id("chat-send")).to_be_visible()
    alice.clock.fast_forward(4_000)
    expect(alice.locator(".ending")).to_contain_text("You stopped this answer", timeout=15_000)
    failures = [re.findall(r"ERR_FAILED|status of \d+", text) for text in ERRORS]
    assert sorted(failures) == [["ERR_FAILED"], *([f"status of {n}"] for n in (429, 502, 503))]
    ERRORS.clear()
    # What nobody confirmed outlives the page that asked it, also a new conversation's.
    alice.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}")
    alice.route("**/send", lambda route: None, times=2)
    with alice.expect_request("**/send"):
        ask(alice, "And now?")
    with alice.expect_request("**/send"):  # nor is an answer waited for that never comes
        alice.clock.fast_forward(30_000)
    expect(alice).to_have_url(re.compile("/playground/chat/[0-9a-f-]{36}$"))
    expect(alice.locator(".question")).to_have_text("And now?")
    alice.reload()
    expect(alice.get_by_test_id("chat-input")).to_have_value("And now?")
    # What had arrived, though nobody confirmed it, does not stand there to be sent and paid again.
    alice.route("**/send", lambda route: None)
    alice.route("**/send", lost, times=1)
    with alice.expect_event("requestfailed"):
        alice.get_by_test_id("chat-send").click()
    alice.reload()
    verdict = alice.get_by_test_id("message-verdict")
    expect(verdict).to_have_attribute("data-verdict", "verified", timeout=15_000)
    expect(alice.get_by_test_id("chat-input")).to_have_value("")
    alice.unroute("**/send")
    # Given up, it is asked for by hand, and is still the same.
    alice.route("**/send", failed(429), times=1)
    alice.route("**/send", lost, times=1)
    alice.get_by_role("button", name="Regenerate").click()
    expect(alice.locator("[data-error]")).to_contain_text("429")
    alice.get_by_role("button", name="Regenerate").click()
    expect(alice.get_by_test_id("chat-version")).to_have_text("2/2")
    expect(alice.locator("[data-error]")).to_be_hidden()
    expect(verdict).to_have_attribute("data-verdict", "verified", timeout=15_000)
    assert Turn.objects.count() == 3
    ERRORS.clear()
