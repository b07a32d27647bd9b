"""Blocks while streaming, versions, columns, settings, undo, search, log, in Chromium."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from playwright.sync_api import Page, Route, expect

from inference.models import Chat, Turn
from ledger.models import Service, SubAccount
from tests import factories
from tests.browser import pagecheck
from tests.browser.session import enter
from tests.browser.test_chat import answers, ask
from tests.db.chat_world import make_key, world
from tests.db.test_chat_tools import calling
from tests.live.chat_upstream import SIGNER, Asked, Reply, ThreadedUpstream, Upstream

#: Pictures for people to look at, where a folder is named.

RICH = """## How a refund works

1. **Request** it: the provider keeps `1 0G` in reserve.
2. Wait until it unlocks.

```python
def fee(tokens: int, price: int = 420) -> int:
    # whole neuron, never float
    return tokens * price
```

| step | who | when |
|------|-----|------|
| request | you | now |
| unlock | contract | 2 h |

$$
\\frac{t \\cdot p}{2}
- 1
$$

So the cost is \\(c = t \\cdot p\\). More: <https://0g.ai> ![x](https://evil.example/x.png)

<script>alert(1)</script> stays text.
"""


#: What the console of Alice's page said was wrong.
ERRORS: list[str] = []
#: Lets a provider that was asked "pausing" end its answer.
GO_ON = threading.Event()
MODELS = {
    "data": [
        {
            "id": "vision",
            "architecture": {"input_modalities": ["text", "image"]},
            "supported_parameters": ["temperature", "stop"],
            "context_length": 8192,
        }
    ]
}


async def provider(reply: Reply, asked: Asked) -> None:
    question = asked.body
    if asked.path == "/v1/models":
        await reply.whole(json.dumps(MODELS).encode(), Content_Type="application/json")
        return
    if b'"tools":' in question:
        await calling(reply, asked)
        return
    answer_id = f"id-{len(reply.upstream.chats)}"
    if b"overlong" in question and b"ledger" in question:
        await reply.whole(b'{"error":"maximum context length is 8192 tokens"}', 400)
        return
    if b"busy" in question:
        await reply.whole(b'{"error":"too many"}', 503, Retry_After="8")
        return
    await reply.start(answer_id)
    if b"think" in question:
        for word in ("Let me ", "see. ", "Two plus two…"):
            piece = b'{"choices":[{"delta":{"reasoning_content":"%s"}}]}' % word.encode()
            await reply.send(b"data: " + piece + b"\n\n")
    last = str(json.loads(question)["messages"][-1]["content"])
    if "patience" in last:
        while not GO_ON.is_set():
            await asyncio.sleep(0.02)
        thought = b'{"choices":[{"delta":{"reasoning_content":"%s"}}]}' % (b"so it is " * 100)
        await reply.send(b"data: " + thought + b"\n\n")
        await reply.tokens(*["word "] * 200, pause=0.002)
    if "slowly" in last:  # not in what was before
        await reply.tokens(*[f"word{i} " for i in range(200)], pause=0.05)
    words = re.findall(r"\s*\S+|\s+", RICH)
    if b"pausing" in question:
        # Two blocks, and the third begun: then it waits for the test.
        begun = next(at for at, word in enumerate(words) if "```" in word) + 3
        await reply.tokens(*words[:begun], pause=0.05)
        while not GO_ON.is_set():
            await asyncio.sleep(0.02)
        words = words[begun:]
    await reply.tokens(*words, pause=0.005)
    await reply.signed_end(answer_id, asked)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with ThreadedUpstream(provider) as started:
        yield started


@pytest.fixture
def chat(asgi_server: str, upstream: Upstream) -> Chat:
    cache.clear()
    return world(upstream.url)


@pytest.fixture
def alice(asgi_server: str, chat: Chat, page: Page) -> Iterator[Page]:
    enter(page.context, asgi_server, chat.owner)
    errors = ERRORS
    errors.clear()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    yield page
    assert [text for text in errors if "status of 400" not in text] == []


def second_provider(chat: Chat, **more: Any) -> None:
    service = Service.objects.get(provider=factories.PETRA)
    factories.service(factories.CHARLIE, url=service.url, tee_signer=SIGNER, **more)
    factories.sub_account(provider=factories.CHARLIE, acknowledged=True)
    make_key(chat.owner, factories.CHARLIE)


#: Of each frame: how far the question and the answer's end are below the header, and the latter
#: above the composer's own end, which is to stay above the bar at the foot.
WATCHED = """() => {
  window.ends = [];
  const box = (words) => [...document.querySelectorAll(words)].at(-1).getBoundingClientRect();
  const look = () => {
    const [top, foot] = [box('.site-header').bottom, innerHeight - box('.composer').bottom];
    ends.push([box('.question').top - top, box('[data-role=assistant]').bottom - top, foot]);
    requestAnimationFrame(look);
  };
  look();
}"""


#: By less than a finger's breadth; what listens has heard of it.
SCROLLED_UP = """async () => {
  scrollBy({ top: -60, behavior: "instant" });
  for (let n = 0; n < 3; n += 1) await new Promise(requestAnimationFrame);
  return scrollY;
}"""


def test_a_phone_shows_the_end_of_what_is_written_unless_one_scrolled_up(
    alice: Page, asgi_server: str, chat: Chat
) -> None:
    GO_ON.clear()
    alice.set_viewport_size({"width": 360, "height": 640})
    alice.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}")
    ask(alice, "patience")  # the panel above the composer makes room for less
    waiting = alice.locator("[data-waiting]")
    expect(waiting).to_be_in_viewport(ratio=1)
    expect(alice.locator(".question")).to_be_in_viewport(ratio=1)
    alice.evaluate(WATCHED)
    GO_ON.set()
    expect(alice.get_by_test_id("message-verdict")).to_have_attribute("data-verdict", "verified")
    ends = alice.evaluate("ends")
    assert len(ends) > 20 and min(question for question, *_ in ends) < 0
    # Closed blocks take the place of text, and the thoughts fold at the end.
    assert [end for end in ends if end[1] < 0 or end[2] < 0] == []
    GO_ON.clear()
    ask(alice, "more patience")
    expect(waiting).to_be_in_viewport(ratio=1)
    place = alice.evaluate(SCROLLED_UP)
    GO_ON.set()
    verdicts = alice.get_by_test_id("message-verdict")
    expect(verdicts.last).to_have_attribute("data-verdict", "verified")
    expect(verdicts).to_have_count(2)
    assert alice.evaluate("scrollY") == place


def test_closed_blocks_appear_while_the_answer_streams(
    alice: Page, asgi_server: str, chat: Chat
) -> None:
    GO_ON.clear()
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
    ask(alice, "pausing, think")
    streaming = alice.locator('[data-state="open"]')
    expect(streaming.locator("[data-blocks] h4")).to_have_text("How a refund works")
    expect(streaming).to_have_attribute("aria-busy", "true")
    expect(streaming.locator("[data-reasoning]")).to_contain_text("Thinking")
    expect(streaming.locator("[data-text]")).not_to_contain_text("How a refund works")
    live = re.compile(r"First token \d+\.\d s after you asked, about \d+ tok/s")
    expect(streaming.locator("[data-pace]")).to_have_text(live)
    expect(streaming.locator("[data-blocks] ol li")).to_have_count(2, timeout=15_000)
    # another window sees the same, from the stream
    alice.reload()
    expect(alice.locator("[data-blocks] ol li")).to_have_count(2)
    shown = alice.locator("[data-blocks]").inner_text()
    assert shown.count("How a refund works") == 1
    thinking = alice.locator("details.reasoning")
    thinking.locator("summary").click()
    GO_ON.set()
    expect(alice.get_by_test_id("message-verdict")).to_have_attribute("data-verdict", "verified")
    # What was open stays open when the stored answer takes its place, and the focus where it was.
    expect(thinking).to_have_attribute("open", "")
    expect(thinking.locator("summary")).to_be_focused()
    answer = answers(alice)
    expect(answer.locator(".prose .hk").first).to_have_text("def")
    expect(answer.locator("table td")).to_have_count(6)
    # In a narrow place a table scrolls, quoted ones too; it breaks no word.
    # Found and measured in one step: a look for a verdict may put the same answer in its place.
    broken = alice.evaluate(
        """() => {
          const table = document.querySelector('[data-role="assistant"] table');
          const scroller = table.parentElement, quote = document.createElement("blockquote");
          scroller.replaceWith(quote);
          quote.append(scroller);
          scroller.style.width = "3rem";
          if (getComputedStyle(scroller).overflowX !== "auto") return ["lies over its neighbour"];
          return [...table.querySelectorAll("th, td")].filter((cell) => {
            const range = document.createRange();
            range.selectNodeContents(cell);
            const lines = new Set([...range.getClientRects()].map((line) => line.top)).size;
            return lines > cell.textContent.trim().split(/\\s+/).length;
          }).map((cell) => cell.textContent);
        }"""
    )
    assert broken == []
    expect(answer.locator(".math math")).to_have_count(2)
    height, copied = alice.evaluate(
        """() => {
          const prose = document.querySelector(
            '[data-testid="chat-message"][data-role="assistant"] .prose');
          getSelection().selectAllChildren(prose);
          const { height } = prose.querySelector(".math[tabindex] mfrac").getBoundingClientRect();
          return [height, `${getSelection()}`];
        }"""
    )
    assert height > 24, "drawn, not written"
    assert "cost is \\(c = t \\cdot p\\)" in copied and copied.count("frac") == 1
    assert pagecheck.inaccessible(alice) == []
    expect(answer.locator(".prose img, .prose script")).to_have_count(0)
    expect(answer.locator("details.reasoning summary")).to_contain_text(
        re.compile(r"Thought for .*s, about 7 tokens")
    )
    expect(alice.locator("[data-status]")).to_have_text("Answer complete, 7 tokens.")
    code = answer.locator(".codeblock .copy")
    assert "return tokens * price" in (code.get_attribute("data-copy") or "")


def test_an_answer_is_read_on_a_window_of_any_size(
    alice: Page, asgi_server: str, chat: Chat
) -> None:
    """An empty chat shows its whole invitation; a conversation opens at its newest answer, and the
    composer leaves the larger part of the window to it.
    """
    sizes = ((320, 640), (768, 1024), (1280, 900))
    Service.objects.update(model="vision")
    edges = "e => { const b = e.getBoundingClientRect(); return [b.top, b.bottom]; }"
    composer = alice.locator("#composer")
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
    for width, height in sizes:
        alice.set_viewport_size({"width": width, "height": height})
        assert alice.locator("#nothing-yet").evaluate(edges)[1] <= composer.evaluate(edges)[0], (
            f"the composer covers no part of the invitation at {width} px"
        )
    ask(alice, "What is a ledger?")
    expect(alice.get_by_test_id("message-verdict")).to_have_attribute("data-verdict", "verified")
    alice.goto(f"{asgi_server}/playground/chat")
    alice.get_by_test_id("chat-input").fill("Not sent yet")
    for width, height in sizes:
        alice.set_viewport_size({"width": width, "height": height})
        alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
        verdict = alice.get_by_test_id("message-verdict").last
        expect(verdict).to_be_in_viewport()
        top, bottom = composer.evaluate(edges)
        assert verdict.evaluate(edges)[1] <= top and top >= height / 2 + 20, width
        bar = alice.locator(".bottom-bar")
        assert bottom <= (bar.evaluate(edges)[0] if bar.is_visible() else height) + 1, width
    # what was written elsewhere waits there, once
    alice.goto(f"{asgi_server}/playground/chat")
    expect(alice.get_by_test_id("chat-input")).to_have_value("Not sent yet")


def test_edit_regenerate_go_back_rename_search_and_delete(
    alice: Page, asgi_server: str, chat: Chat
) -> None:
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
    ask(alice, "First question")
    expect(alice.get_by_test_id("message-verdict")).to_have_count(1)
    expect(alice.get_by_test_id("chat-send")).to_be_visible()
    alice.get_by_test_id("chat-input").press("ArrowUp")
    expect(alice.get_by_test_id("chat-input")).to_have_value("First question")
    expect(alice.locator("[data-editing]")).to_be_visible()
    alice.get_by_test_id("chat-input").fill("Edited question")
    alice.get_by_test_id("chat-input").press("Enter")
    expect(alice.get_by_test_id("chat-version")).to_have_text("2/2")
    expect(alice.locator(".question")).to_have_text("Edited question")
    # what is set on the page holds for asking again too
    alice.locator(".settings > summary").click()
    alice.get_by_label("Temperature").fill("0.3")
    alice.get_by_role("button", name="Regenerate").click()
    expect(alice.get_by_test_id("chat-version")).to_have_text("3/3")
    request = Turn.objects.select_related("chat").latest("pk").request
    assert json.loads(request)["temperature"] == 0.3
    expect(answers(alice)).to_have_count(1)
    alice.get_by_role("button", name="Version before").click()
    expect(alice.get_by_test_id("chat-version")).to_have_text("2/3")
    alice.get_by_role("button", name="Version before").click()
    expect(alice.locator(".question")).to_have_text("First question")
    assert Turn.objects.count() == 3
    alice.locator(".delete > summary").click()  # without a reload
    alice.get_by_label("Name", exact=True).fill("About walruses")
    alice.get_by_role("button", name="Rename").click()
    expect(alice.locator("#chat-title")).to_have_text("About walruses")
    alice.get_by_label("Search your conversations").fill("REFUND")
    alice.get_by_label("Search your conversations").press("Enter")
    expect(alice.locator(".conversations")).to_contain_text("found in 3 answers")
    pagecheck.sound(alice, alice.url)
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
    alice.get_by_role("link", name="Inspect").first.click()
    expect(alice.locator("h1")).to_have_text("Request")
    pagecheck.sound(alice, alice.url)
    alice.goto(f"{asgi_server}/playground/requests")
    expect(alice.get_by_test_id("request-row")).to_have_count(3)
    pagecheck.sound(alice, alice.url)
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}")
    alice.locator(".delete > summary").click()
    alice.get_by_role("button", name="Delete conversation").click()
    expect(alice.get_by_test_id("undo")).to_be_visible()
    alice.get_by_role("button", name="Undo").click()
    expect(alice.locator("#chat-title")).to_have_text("About walruses")


def test_settings_estimate_and_two_columns(alice: Page, asgi_server: str, chat: Chat) -> None:
    second_provider(chat, input_price=10**12)
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}?provider={factories.PETRA}")
    alice.locator(".settings > summary").click()
    alice.get_by_role("button", name="Precise").click()
    expect(alice.get_by_label("Temperature")).to_have_value("0.2")
    held = SubAccount.objects.get(provider=factories.PETRA)
    SubAccount.objects.filter(pk=held.pk).update(balance=0)
    alice.get_by_test_id("chat-input").fill("Compare")
    bare = re.compile(r"Up to \S+ 0G\. Not enough: ")  # and not "of the 0 0G"
    expect(alice.get_by_test_id("chat-estimate")).to_contain_text(bare)
    held.save()
    alice.get_by_label("System prompt").fill("Be brief.")
    alice.get_by_test_id("chat-also").select_option(factories.CHARLIE)
    alice.get_by_test_id("chat-input").fill("Compare them")
    expect(alice.get_by_test_id("chat-estimate")).to_contain_text("0G for both answers of the")
    expect(alice.get_by_test_id("chat-provider")).to_contain_text("not checked yet")
    alice.get_by_label("System prompt").fill("Be brief. " * 100)  # what is being set counts
    expect(alice.get_by_test_id("chat-estimate")).to_contain_text(re.compile("About 26. tokens"))
    pagecheck.sound(alice, alice.url)
    alice.locator(".settings").evaluate("e => { e.open = true }")
    alice.get_by_test_id("chat-also").select_option(factories.CHARLIE)
    alice.get_by_label("System prompt").fill("Be brief.")
    ask(alice, "Compare them")
    expect(alice.locator("[data-columns] > section")).to_have_count(2)
    # Open, they would stand over the answers.
    expect(alice.locator(".settings")).not_to_have_attribute("open", re.compile(""))
    expect(alice.get_by_test_id("message-verdict")).to_have_count(2)
    expect(alice.get_by_test_id("message-cost")).to_have_count(2)
    expect(alice.get_by_test_id("chat-send")).to_be_visible()
    alice.reload()
    expect(alice.locator("[data-columns] > section")).to_have_count(2)
    alice.get_by_role("button", name="Go on with this answer").last.click()
    expect(alice.locator("[data-columns] > section")).to_have_count(2)
    assert Chat.objects.get(pk=chat.pk).leaf_id == Turn.objects.get(provider=factories.CHARLIE).pk
    assert all(b"Be brief" in turn.request for turn in Turn.objects.select_related("chat"))


def test_failures_offer_the_next_step(alice: Page, asgi_server: str, chat: Chat) -> None:
    second_provider(chat)
    alice.clock.install()
    frames: list[str] = []
    alice.on("websocket", lambda s: s.on("framesent", lambda text: frames.append(str(text))))
    alice.goto(f"{asgi_server}/playground/chat/{chat.pk}?provider={factories.PETRA}")
    ask(alice, "busy")
    ending = alice.locator('[data-failure="busy"]')
    expect(ending).to_contain_text("It asks to wait 8")
    expect(ending.get_by_test_id("chat-other")).to_contain_text("same price")
    expect(ending.get_by_role("button", name="Ask again in ")).to_be_disabled()
    wide = alice.viewport_size
    alice.set_viewport_size({"width": 320, "height": 640})  # a model's name is longer than a phone
    assert pagecheck.overflow(alice, 320) == []
    assert ending.evaluate("one => one.scrollWidth <= one.clientWidth"), "a button sticks out"
    alice.set_viewport_size(wide or {"width": 1280, "height": 720})
    alice.clock.run_for(10_000)
    expect(ending.get_by_role("button", name="Ask again", exact=True)).to_be_enabled()
    # what is set now holds for whoever is asked instead, who then stands chosen
    held: list[Route] = []  # what the gate says of the one before is still on its way
    alice.route("**/playground/chat/side*", lambda route: held.append(route), times=1)
    with alice.expect_request("**/playground/chat/side*"):
        alice.get_by_test_id("chat-verified").check()
    ending.get_by_test_id("chat-other").get_by_role("button").click()
    expect(alice.get_by_test_id("chat-provider")).to_have_value(factories.CHARLIE)
    while not held:  # the request is told before its route
        alice.wait_for_timeout(20)
    held[0].continue_()
    expect(alice.locator("[data-error]")).to_contain_text("you send only to verified providers")
    assert sum('"prompt"' in frame for frame in frames) == 1, "known before anything is sent"
    expect(alice.get_by_test_id("chat-provider")).to_have_value(factories.CHARLIE)
    assert Turn.objects.count() == 1
    alice.get_by_test_id("chat-verified").uncheck()
    expect(alice.locator("#gate")).to_have_attribute("data-ready", "yes")
    ending.get_by_test_id("chat-other").get_by_role("button").click()
    expect(alice.get_by_test_id("chat-version")).to_have_text("2/2")
    assert Turn.objects.latest("pk").provider == factories.CHARLIE
    alice.get_by_test_id("chat-provider").select_option(factories.PETRA)
    ask(alice, "What is a ledger?")
    expect(alice.get_by_test_id("message-verdict")).to_have_count(1)
    expect(alice.get_by_test_id("chat-send")).to_be_visible()
    ask(alice, "overlong")
    expect(alice.locator('[data-failure="too_long"]')).to_contain_text("What is a ledger?")
    alice.get_by_role("button", name="Remove them").click()
    expect(alice.locator("#turns")).to_contain_text("not sent any more")
    alice.wait_for_load_state()  # another page: before its script runs, the button is a plain form
    alice.locator('[data-failure="too_long"]').get_by_role("button", name="Ask again").click()
    expect(alice.get_by_test_id("message-verdict")).to_have_count(2)
