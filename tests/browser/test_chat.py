"""The playground in Chromium: stream, stop, reload, lost socket, and a liar shown as one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from accounts.models import ProviderKey, User
from inference.models import Chat, State, Turn
from ledger.models import Service, SubAccount
from tests import factories
from tests.browser import pagecheck
from tests.browser.session import enter
from tests.db.chat_world import world
from tests.live.chat_upstream import Asked, Reply, ThreadedUpstream, Upstream

ANSWER = "A **ledger** holds your money.\n\n- deposit\n- transfer\n"


async def provider(reply: Reply, asked: Asked) -> None:
    """Does what the question says."""
    question = asked.body
    answer_id = f"id-{len(reply.upstream.chats)}"
    if b"refuse" in question:
        limited = b'{"error":"Rate limit exceeded. <script>alert(1)</script>"}'
        await reply.whole(limited, 429, Retry_After="2")
        return
    await reply.start(answer_id)
    if "slowly" in str(json.loads(question)["messages"][-1]["content"]):  # not in what was before
        await reply.tokens(*[f"word{i} " for i in range(3000)], pause=0.04)  # until it is stopped
    elif b"attack" in question:
        await reply.tokens(
            "<img src=x onerror=alert(1)> <script>alert(1)</script> [x](javascript:alert(1))"
        )
    elif b"break" in question:
        await reply.tokens("Half an ans", pause=0.2)
        reply.abort()
        return
    else:
        await reply.tokens(*re.findall(r"\S+\s*", ANSWER), pause=0.02)
    if b"lie" in question:
        reply.upstream.sign(answer_id, asked, b"something else")
        await reply.end()
    else:
        await reply.signed_end(answer_id, asked)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with ThreadedUpstream(provider) as started:
        yield started


@pytest.fixture
def chat(asgi_server: str, upstream: Upstream) -> Chat:
    return world(upstream.url)


@pytest.fixture
def alice(asgi_server: str, chat: Chat, page: Page) -> Page:
    """Alice's browser, signed in; every console error or CSP report fails the test."""
    enter(page.context, asgi_server, chat.owner)
    return page


@pytest.fixture(autouse=True)
def quiet(page: Page) -> Iterator[None]:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda m: (
            errors.append(m.text) if m.type == "error" and "WebSocket" not in m.text else None
        ),
    )
    yield
    assert errors == []


def ask(page: Page, text: str) -> None:
    page.get_by_test_id("chat-input").fill(text)
    page.get_by_test_id("chat-send").click()


def answers(page: Page) -> Any:
    return page.locator('[data-testid="chat-message"][data-role="assistant"]')


def test_from_an_empty_page_to_a_verified_answer(alice: Page, asgi_server: str) -> None:
    pagecheck.hearing(alice)
    alice.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}")
    ask(alice, "What is a ledger?")
    expect(alice.get_by_test_id("message-verdict")).to_have_attribute("data-verdict", "verified")
    pagecheck.hears(alice, "Verified")
    expect(alice.get_by_test_id("chat-send")).to_be_focused()  # after Stop, which was in its place
    expect(alice).to_have_url(re.compile(r"/playground/chat/[0-9a-f-]{36}$"))
    expect(alice).to_have_title("What is a ledger? · 0G Market")
    expect(answers(alice)).to_contain_text("A ledger holds your money.")
    expect(answers(alice).locator("li")).to_have_count(2)
    turn = Turn.objects.get()
    expect(alice.get_by_test_id("message-cost")).to_have_attribute("data-neuron", str(turn.fee))
    expect(alice.locator(".usage")).to_contain_text("11 in")
    alice.get_by_text("Proof", exact=True).click()
    expect(alice.locator(".proof")).to_contain_text(turn.response_sha256)
    expect(alice.locator("[data-status]")).to_have_text("Answer complete, 7 tokens.")
    # Enter asks the next one in the same conversation, without a reload
    alice.get_by_test_id("chat-input").fill("And then?")
    alice.get_by_test_id("chat-input").press("Enter")
    expect(alice.get_by_test_id("message-verdict")).to_have_count(2)
    alice.reload()
    expect(answers(alice)).to_have_count(2)
    expect(alice.get_by_role("link", name="What is a ledger?")).to_be_visible()
    # On a phone the end of the answer is in view.
    alice.set_viewport_size({"width": 390, "height": 780})
    alice.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}")
    ask(alice, "What is a ledger?")
    verdict = alice.get_by_test_id("message-verdict")
    expect(verdict).to_have_attribute("data-verdict", "verified")
    expect(verdict).to_be_in_viewport()
    # At 400 % of a small window what sticks to it would leave no room for the answer.
    alice.set_viewport_size({"width": 320, "height": 256})
    # In one step: a look for a verdict may put the same answer in its place.
    assert alice.evaluate(
        """() => {
          const e = document.querySelector('[data-role="assistant"] :is(h2, h3, h4, h5)');
          e.scrollIntoView({ block: "center" });
          const { left, top } = e.getBoundingClientRect();
          return e.contains(document.elementFromPoint(left + 8, top + 8));
        }"""
    )
    alice.set_viewport_size({"width": 390, "height": 780})
    # where fingers write, Enter makes a new line, as no other key there does
    pointer = alice.context.new_cdp_session(alice)
    pointer.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    field = alice.get_by_test_id("chat-input")
    field.fill("One")
    field.press("Enter")
    field.press_sequentially("Two")
    expect(field).to_have_value("One\nTwo")
    field.press("Control+Enter")
    expect(alice.get_by_test_id("message-verdict")).to_have_count(2)
    assert Turn.objects.select_related("chat").latest("pk").question == "One\nTwo"
    verdict = alice.get_by_test_id("message-verdict").last
    # The answer is shown anew with its end and with its verdict: where it is, is asked in one go.
    below = "e => e.getBoundingClientRect().bottom <= composer.getBoundingClientRect().top"
    assert verdict.evaluate(below)
    # What is written has as much room as the window, whatever that becomes, and none on paper.
    for height in (2400, 780, 2400):
        alice.set_viewport_size({"width": 390, "height": height})
        alice.wait_for_function("tall => turns.offsetHeight > 1400 === tall", arg=height > 780)
    assert alice.evaluate("dispatchEvent(new Event('beforeprint')) && turns.offsetHeight < 1400")
    # A press on Send moves the focus there, and what that shows does not move Send away under it.
    ProviderKey.objects.all().delete()
    alice.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}&draft=One")
    alice.route("**/account/keys/prepare", lambda _: None)  # its answer is not looked at
    with alice.expect_request("**/account/keys/prepare"):
        alice.get_by_test_id("chat-send").click()
    # It shows that it is under way: an attribute without a word shows and says nothing.
    expect(alice.get_by_test_id("chat-send")).to_have_attribute("aria-busy", "true")


def test_stop_reload_and_a_second_window(alice: Page, asgi_server: str, chat: Chat) -> None:
    path = f"{asgi_server}/playground/chat/{chat.pk}"
    alice.goto(path)
    ask(alice, "Count slowly")
    expect(answers(alice)).to_contain_text("word5 ")
    alice.reload()
    expect(answers(alice)).to_contain_text("word0 word1 word2")
    alice.get_by_test_id("chat-input").fill("Too early")
    alice.keyboard.press("Enter")
    expect(alice.locator("[data-error]")).to_contain_text("still being written")
    other = alice.context.new_page()
    other.goto(path)
    expect(answers(other)).to_contain_text("word0 word1 word2")
    expect(other.get_by_test_id("chat-send")).to_be_hidden()
    # A press lasts, and the answer grows meanwhile: what is pressed must not move away under it.
    other.get_by_test_id("chat-stop").hover()
    other.mouse.down()
    expect(answers(other)).to_contain_text("word70 ")
    other.mouse.up()
    expect(alice.locator(".ending")).to_contain_text("The provider may bill the whole answer")
    expect(alice.get_by_test_id("message-verdict")).to_have_attribute(
        "data-verdict", "not_comparable"
    )
    expect(alice.get_by_test_id("chat-send")).to_be_visible()
    expect(alice.locator("[data-error]")).to_be_hidden()  # it is written
    expect(alice.get_by_test_id("chat-input")).to_have_value("Too early")
    words = (turn := Turn.objects.get()).answer.split()
    assert words == [f"word{i}" for i in range(len(words))] and 5 < len(words) < 300
    expect(answers(alice).locator(".prose")).to_have_text(turn.answer.strip())
    expect(answers(alice)).to_contain_text("until settled")
    expect(alice.get_by_test_id("chat-continue")).to_be_visible()
    # What the other window asks now would follow, and pay for, what only this one shows.
    ask(alice, "And here?")
    expect(alice.get_by_test_id("chat-continue")).to_be_hidden()
    expect(alice.get_by_test_id("message-verdict")).to_have_count(2)
    alice.locator(".settings > summary").click()
    alice.get_by_test_id("chat-tools").fill("none")
    ask(alice, "And with functions?")
    expect(alice.locator("[data-error]")).to_be_visible()  # what was there before comes back
    expect(alice.get_by_test_id("chat-continue")).to_be_hidden()
    ask(other, "And there?")
    expect(other.locator("[data-error]")).to_contain_text("went on in another window")
    expect(other.locator(".question")).to_have_text(["Count slowly", "And here?"])
    expect(other.get_by_test_id("chat-input")).to_have_value("And there?")
    assert Turn.objects.count() == 2
    other.get_by_test_id("chat-send").click()
    expect(other.get_by_test_id("message-verdict")).to_have_count(3)
    assert [t.question for t in Turn.objects.order_by("pk")][2:] == ["And there?"]


def test_a_lost_connection_resumes_without_gap_or_duplicate(
    alice: Page, asgi_server: str, chat: Chat
) -> None:
    sockets: list[Any] = []
    down = [False]

    def through(route: Any) -> None:
        sockets.append(route)
        if down[0]:
            route.close()
        else:
            route.connect_to_server()

    alice.route_web_socket(re.compile("/ws/chat/"), through)
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
    ask(alice, "Count slowly")
    expect(answers(alice)).to_contain_text("word3 ")
    down[0] = True
    sockets[-1].close()
    expect(alice.locator("[data-offline]")).to_be_visible()
    expect(alice.locator("[data-offline]")).to_contain_text("your answer is still being written")
    down[0] = False
    expect(alice.locator("[data-offline]")).to_be_hidden(timeout=10_000)
    expect(answers(alice)).to_contain_text("word60 ")
    seen = answers(alice).locator("[data-text]").inner_text().split()
    assert seen == [f"word{i}" for i in range(len(seen))]
    # What is stopped while nobody hears it is stopped as soon as somebody does.
    down[0] = True
    sockets[-1].close()
    expect(alice.locator("[data-offline]")).to_be_visible()
    alice.keyboard.press("Escape")
    down[0] = False
    expect(alice.locator(".ending")).to_be_visible()
    assert Turn.objects.get().state == State.STOPPED
    # What was asked meanwhile is asked then, and is no answer that is being written before.
    down[0] = True
    sockets[-1].close()
    ask(alice, "Are you there?")
    expect(alice.locator("[data-offline]")).to_contain_text("your question is sent again by itself")
    down[0] = False
    expect(answers(alice).last).to_contain_text("A ledger holds your money.")
    # A server that takes each connection and closes it at once is asked ever less.
    waits, ended = alice.evaluate(
        """async () => {
            const { ChatSocket } = await import("/static/js/chat-socket.js");
            const real = { WebSocket, setTimeout };
            const [waits, ended] = [[], []];
            let socket, again;
            class Taken extends EventTarget { constructor() { super(); socket = this; } close() {} }
            const later = (work, wait) => { again = () => { waits.push(wait); work(); }; };
            Object.assign(window, { WebSocket: Taken, setTimeout: later });
            const line = new ChatSocket("/", {
                onFound() {}, onTry() {}, onMessage() {}, onLost() {},
                onEnd: () => ended.push(waits.length),
            });
            line.open("a");
            for (let n = 0; n < 30 && !ended.length; n += 1) {
                socket.dispatchEvent(new Event("open"));
                if (n === 6) socket.dispatchEvent(new MessageEvent("message", { data: "{}" }));
                socket.dispatchEvent(new CloseEvent("close", { code: 1012 }));
                if (!ended.length) again();
            }
            Object.assign(window, real);
            return [waits, ended];
        }"""
    )
    rising = [400, 800, 1600, 3200, 6400]
    assert waits[:13] == [*rising, 8000, *rising, 8000, 8000] and ended == [27]


def test_lies_refusals_cuts_and_attacks_are_told_in_words(
    alice: Page, asgi_server: str, chat: Chat
) -> None:
    """Then the page is held to the rules of all pages, in all its states."""
    path = f"{asgi_server}/playground/chat/{chat.pk}"
    alice.goto(path)
    ask(alice, "What is a ledger?")
    verdict = alice.get_by_test_id("message-verdict")
    expect(verdict).to_have_attribute("data-verdict", "verified")
    expect(alice.get_by_test_id("chat-send")).to_be_visible()
    missing = {"verdict": "unavailable", "verdict_reason": "not_found", "signature": None}
    for page in (f"{path}/../turns/{Turn.objects.get().pk}/inspect", path):
        Turn.objects.update(**missing)
        alice.goto(page)
        alice.locator(".proof > summary").click()
        alice.get_by_role("button", name="Ask for the signature again").click()
        expect(verdict).to_have_attribute("data-verdict", "verified")
        expect(alice.locator("[data-question], .question")).to_have_text("What is a ledger?")
    ask(alice, "Please lie")
    expect(verdict).to_have_count(2)
    expect(verdict.last).to_have_attribute("data-verdict", "altered")
    expect(verdict.last).to_have_text("Signed, but for different text")
    proof = alice.locator(".proof").last
    expect(proof).to_have_attribute("open", "")
    turn = Turn.objects.latest("pk")
    expect(proof).to_contain_text(turn.response_sha256)
    expect(proof).to_contain_text(turn.signed_response)
    # In one go: the answer is shown anew meanwhile, and what was replaced has no colour.
    red, also, usual = alice.evaluate(
        """() => ['.verdict[data-verdict=altered]', '.proof .altered', '.usage'].map(
            (name) => getComputedStyle(document.querySelector(name)).color)"""
    )
    assert red == also != usual
    expect(alice.get_by_test_id("chat-send")).to_be_visible()
    ask(alice, "refuse")
    expect(alice.locator(".ending.failed")).to_contain_text("limits how often you may ask")
    expect(alice.get_by_role("button", name="Ask again in")).to_be_disabled()
    expect(alice.get_by_test_id("message-cost").last).to_have_text("nothing due")
    expect(verdict).to_have_count(2)
    ask(alice, "break")
    expect(answers(alice).last).to_contain_text("Half an ans")
    expect(alice.locator(".ending").last).to_contain_text("The connection ended in the middle")
    ask(alice, "attack")
    expect(answers(alice).last).to_contain_text("<script>alert(1)</script>")
    expect(answers(alice).last.locator(".prose img, .prose script, .prose a")).to_have_count(0)
    expect(alice.get_by_test_id("chat-send")).to_be_visible()
    # asking again makes another version; the first one, and what followed it, stay
    alice.get_by_role("button", name="Ask again").first.click()
    expect(alice.get_by_test_id("chat-version")).to_have_text("2/2")
    expect(alice.locator(".ending.failed")).to_have_count(1)
    expect(answers(alice)).to_have_count(3)
    alice.get_by_role("button", name="Version before").click()
    expect(alice.get_by_test_id("chat-version").first).to_have_text("1/2")
    expect(answers(alice)).to_have_count(5)

    pagecheck.sound(alice, path)
    pagecheck.sound(alice, f"{asgi_server}/playground/chat")
    SubAccount.objects.all().delete()
    pagecheck.sound(alice, f"{asgi_server}/playground/chat?provider={factories.PETRA}")
    alice.context.clear_cookies()
    Service.objects.all().delete()
    pagecheck.sound(alice, f"{asgi_server}/playground/chat", schemes=("light",))


def test_what_to_do_first(page: Page, asgi_server: str, chat: Chat) -> None:
    page.goto(f"{asgi_server}/playground/chat")
    expect(page.locator("#gate")).to_contain_text("Connect a wallet and sign in")
    ask(page, "Hello")  # which opens what is missing, and stays written
    expect(page.get_by_role("dialog", name="Connect a wallet")).to_be_visible()
    expect(page.get_by_test_id("chat-input")).to_have_value("Hello")
    enter(page.context, asgi_server, chat.owner)
    SubAccount.objects.update(balance=factories.ONE)
    page.set_viewport_size({"width": 360, "height": 500})
    page.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}")
    expect(page.locator("#gate")).to_contain_text("keeps 1 0G in reserve")
    expect(page.get_by_test_id("chat-input")).to_have_value("Hello")
    expect(page.get_by_test_id("chat-input")).to_be_in_viewport()  # one goes on where one was
    page.set_viewport_size({"width": 1280, "height": 720})
    page.get_by_test_id("chat-send").click()
    expect(page.locator("[data-error]")).to_contain_text("One step is missing")
    terms = page.locator("#terms")
    terms.locator("summary").press("Enter")
    # the money arrives: the page notices by itself, and leaves open what was opened
    SubAccount.objects.update(balance=3 * factories.ONE)
    expect(page.locator("#gate")).to_have_attribute("data-ready", "yes", timeout=10_000)
    expect(terms).to_have_attribute("open", "")
    expect(terms.locator("summary")).to_be_focused()
    page.get_by_test_id("chat-send").click()
    expect(page.get_by_test_id("message-verdict")).to_have_attribute("data-verdict", "verified")
    # A session that ends hides what its owner has written, and leaves it to them alone.
    new = f"{asgi_server}/playground/chat?provider={factories.PETRA}"
    field = page.get_by_test_id("chat-input")
    other = User.objects.for_address(factories.CHARLIE)
    for owner, kept in ((chat.owner, "Half a question"), (other, "")):
        page.goto(new)
        field.fill("Half a question")
        page.context.clear_cookies()
        page.goto(new)
        expect(page.locator("#gate")).to_contain_text("Connect a wallet and sign in")
        expect(field).to_have_value("")
        enter(page.context, asgi_server, owner)
        page.goto(new)
        expect(page.locator("#gate")).not_to_contain_text("Connect a wallet")
        expect(field).to_have_value(kept)
    # Whoever signs out leaves nothing behind in the tab.
    field.fill("Half a question")
    page.get_by_test_id("sign-out").click()
    expect(page.get_by_test_id("connect-wallet")).to_be_visible()
    assert "Half a question" not in page.evaluate("JSON.stringify(sessionStorage)")


def test_a_changed_signing_key_is_asked_about(alice: Page, asgi_server: str, chat: Chat) -> None:
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
    ask(alice, "First")
    expect(alice.get_by_test_id("message-verdict")).to_have_attribute("data-verdict", "verified")
    expect(alice.get_by_test_id("chat-send")).to_be_visible()
    other = factories.address("another signer")
    Service.objects.update(tee_signer=other)
    send = alice.get_by_test_id("chat-send")
    composer = alice.locator("#composer")
    height = composer.evaluate("form => form.offsetHeight")
    alice.get_by_test_id("chat-input").fill("Second")
    expect(alice.get_by_test_id("chat-estimate")).to_contain_text("Up to")
    # Send stays where it is, or a press would miss it.
    assert composer.evaluate("form => form.offsetHeight") == height
    send.click()
    expect(alice.locator("[data-error]")).to_contain_text(f"now it is {other}. Nothing was sent.")
    expect(alice.get_by_test_id("chat-input")).to_have_value("Second")
    expect(answers(alice)).to_have_count(1)
    alice.get_by_label("Continue with the new key").check()
    send.click()
    # the provider still signs with the old key, which the chain no longer names
    expect(alice.get_by_test_id("message-verdict").last).to_have_attribute("data-verdict", "failed")
    expect(alice.locator("[data-accept]")).to_be_hidden()
    assert Turn.objects.last().expected_signer == other  # type: ignore[union-attr]


def test_history_and_asking_without_javascript(
    browser: Any, asgi_server: str, chat: Chat, page: Page
) -> None:
    enter(page.context, asgi_server, chat.owner)
    context = browser.new_context(
        java_script_enabled=False, storage_state=page.context.storage_state()
    )
    try:
        plain = context.new_page()
        plain.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}")
        ask(plain, "What is a ledger?")
        expect(plain).to_have_url(re.compile(r"/playground/chat/[0-9a-f-]{36}"))
        verified = plain.locator('[data-testid="message-verdict"][data-verdict="verified"]')
        deadline = time.monotonic() + 60
        while not verified.count():
            assert time.monotonic() < deadline, plain.inner_text("main")
            plain.wait_for_timeout(200)
            plain.reload()
        expect(answers(plain)).to_contain_text("A ledger holds your money.")
        # What only a script can make is not offered: what was typed went into the address instead.
        plain.goto(f"{asgi_server}/account/keys")
        for made in ("token-new", "key-new"):
            expect(plain.get_by_test_id(made)).to_be_hidden()
        expect(plain.locator("main form noscript:visible")).to_have_count(2)
    finally:
        context.close()
