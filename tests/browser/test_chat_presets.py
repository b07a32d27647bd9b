"""Presets, with their questions, functions, and how answers come to their reader, in Chromium."""

from __future__ import annotations

import json
import re

from playwright.sync_api import Page, Route, expect

from inference.models import Chat, Turn
from tests.browser import pagecheck
from tests.browser.test_chat import answers, ask
from tests.browser.test_chat_more import alice as alice
from tests.browser.test_chat_more import chat as chat
from tests.browser.test_chat_more import upstream as upstream
from tests.pure.test_tools import WEATHER


def test_presets_and_how_answers_are_read(alice: Page, asgi_server: str, chat: Chat) -> None:
    path = f"{asgi_server}/playground/chat/{chat.pk}"
    alice.goto(path)
    settings = alice.locator(".settings")
    settings.locator("summary").first.click()
    # Where the composer does not stay in sight, the settings hide nothing behind a scroll bar.
    assert settings.evaluate("(x) => x.scrollHeight <= x.clientHeight + 1")
    # What is pasted beyond a field's end is not cut in silence.
    alice.get_by_label("System prompt").focus()
    alice.keyboard.insert_text("x" * 8001)
    cut = alice.locator("[data-error]")
    expect(cut).to_contain_text("up to 8,000 characters: what you put in was cut")
    alice.keyboard.press("ControlOrMeta+a")
    alice.keyboard.insert_text("Be")
    expect(cut).to_be_hidden()
    alice.get_by_label("System prompt").fill("Be brief.\nBe <kind>.")
    alice.get_by_label("Stop at any of these").fill("END\nSTOP")
    alice.get_by_label("Seed").fill("0")
    alice.get_by_test_id("chat-schema").fill('{"type": "object"}')
    alice.get_by_placeholder("Name").fill("Short & kind")
    alice.get_by_placeholder("Name").press("Enter")
    expect(alice.locator("#own-presets")).to_contain_text("Saved as “Short & kind”.")
    assert not Turn.objects.exists()
    alice.get_by_label("While an answer is written").select_option("sentences")
    alice.reload()
    expect(alice.locator(".settings")).to_have_attribute("open", "")  # as it was left
    expect(alice.get_by_label("System prompt")).to_have_value("")
    alice.get_by_role("link", name="Short & kind").click()
    expect(alice.get_by_label("System prompt")).to_have_value("Be brief.\nBe <kind>.")
    expect(alice.get_by_label("Stop at any of these")).to_have_value("END\nSTOP")
    expect(alice.get_by_label("Seed")).to_have_value("0")
    ask(alice, "What is a ledger?")
    expect(alice.get_by_test_id("message-verdict")).to_have_count(1)
    spoken = alice.locator("[data-sentences] p")
    expect(spoken.filter(has_text="Request").first).to_be_attached()
    assert spoken.count() > 3
    expect(alice.locator("#turns")).to_have_attribute("aria-busy", "false")
    sent = json.loads(Turn.objects.select_related("chat").get().request)
    assert sent["messages"][0] == {"role": "system", "content": "Be brief.\nBe <kind>."}
    assert (sent["seed"], sent["stop"]) == (0, ["END", "STOP"])
    assert sent["response_format"]["json_schema"]["schema"] == {"type": "object"}
    settings.evaluate("e => { e.open = true }")
    alice.get_by_label("While an answer is written").select_option("whole")
    ask(alice, "Count slowly")
    expect(alice.locator('[data-state="open"]')).to_have_count(1)
    alice.wait_for_timeout(700)
    assert alice.locator('[data-state="open"] [data-text]').inner_text() == ""
    alice.keyboard.press("Escape")
    expect(answers(alice).last).to_contain_text("word1 word2")
    # the page of presets: change, delete, bring back
    settings.evaluate("e => { e.open = true }")
    alice.get_by_role("link", name="Edit your presets").click()
    pagecheck.sound(alice, alice.url)
    card = alice.get_by_test_id("preset")
    card.get_by_text("Edit", exact=True).click()
    card.get_by_label("Name").fill("Kind")
    card.get_by_label("Temperature").fill("9")
    card.get_by_role("button", name="Save").click()
    expect(card.get_by_role("alert")).to_contain_text("Temperature is a number from 0 to 2")
    card.get_by_label("Name").fill("Kind")
    card.get_by_label("Temperature").fill("0.3")
    card.get_by_role("button", name="Save").click()
    expect(card.get_by_role("heading")).to_have_text("Kind")
    card.get_by_role("button", name="Delete").click()
    expect(alice.get_by_test_id("preset")).to_have_count(0)
    alice.get_by_role("button", name="Undo").click()
    card.get_by_text("Edit", exact=True).click()
    card.get_by_label("Question, if it is").fill("Say {{what}} to {{whom}}, {{what}}!")
    card.get_by_role("button", name="Save").click()
    # what it said before its last two changes, and back to it
    card.get_by_test_id("preset-versions").click()
    expect(alice.get_by_test_id("preset-version")).to_have_count(2)
    pagecheck.sound(alice, alice.url)
    earlier = alice.get_by_test_id("preset-version").filter(has_text="Short & kind")
    earlier.get_by_role("button", name="Use this text again").click()
    expect(alice.get_by_role("heading", level=1)).to_contain_text("Short & kind")
    alice.get_by_role("button", name="Use this text again").first.click()
    expect(alice.get_by_role("heading", level=1)).to_contain_text("Kind")
    expect(alice.get_by_test_id("preset-version")).to_have_count(4)
    alice.get_by_role("link", name="All presets").click()
    expect(alice).to_have_url(re.compile("/presets$"))
    seen = alice.viewport_size
    alice.set_viewport_size({"width": 180, "height": 400})  # letters twice as large, on a phone
    assert pagecheck.overflow(alice, 180) == []
    card.get_by_role("link", name="Use in a new conversation").click()
    expect(alice.get_by_label("Temperature")).to_have_value("0.3")
    assert pagecheck.overflow(alice, 180) == []
    alice.set_viewport_size(seen or {"width": 1280, "height": 720})
    # its question asks for what differs, until one goes on by hand
    field = alice.get_by_test_id("chat-input")
    alice.get_by_label("what", exact=True).fill("hello $&")
    expect(field).to_have_value("Say hello $& to {{whom}}, hello $&!")
    alice.get_by_label("whom").fill("{{what}}")
    expect(field).to_have_value("Say hello $& to {{what}}, hello $&!")
    pagecheck.sound(alice, alice.url)
    alice.locator(".settings").evaluate("e => { e.open = true }")
    alice.get_by_role("link", name="Kind").click()  # again from the start
    expect(field).to_have_value("Say {{what}} to {{whom}}, {{what}}!")
    field.press_sequentially("x")
    expect(alice.locator("[data-fill]")).to_be_hidden()
    alice.get_by_role("link", name="Kind").click()
    expect(field).to_have_value(re.compile(r"^Say \{\{what.*!\n\n.*x"))


def test_functions_are_offered_called_and_answered(
    alice: Page, asgi_server: str, chat: Chat
) -> None:
    path = f"{asgi_server}/playground/chat/{chat.pk}"
    alice.goto(path)
    settings = alice.locator(".settings")
    settings.locator("summary").first.click()
    alice.get_by_test_id("chat-tools").fill(json.dumps([WEATHER]))
    alice.get_by_test_id("chat-tool-choice").fill("get_wether")
    ask(alice, "How is the weather in Bonn?")
    expect(alice.locator("[data-error]")).to_contain_text("auto, none, required, or the name")
    expect(settings).to_have_attribute("open", "")  # as before it was refused
    alice.get_by_test_id("chat-tool-choice").fill("get_weather")
    looks: list[Route] = []

    def late(route: Route) -> None:
        """The answer as it ended, and its verdict only once a result is being written."""
        looks.append(route)
        if len(looks) != 2:
            route.continue_()

    alice.route(re.compile(r"/chat/turns/\d+$"), late)
    alice.get_by_test_id("chat-send").click()
    calls = alice.get_by_test_id("chat-calls")
    expect(calls).to_contain_text('"town": "Bonn <b>"')
    field = calls.get_by_label("Result of get_weather")
    field.fill("12")
    expect(calls.locator("[data-estimate]")).to_contain_text("1 earlier answer included. Up to")
    with alice.expect_response(lambda response: "/chat/turns/" in response.url):
        looks[1].continue_()
    expect(alice.locator('[data-testid="message-verdict"][data-verdict="verified"]')).to_have_count(
        1
    )
    expect(field).to_have_value("12")
    expect(field).to_be_focused()
    alice.unroute_all()
    expect(alice.locator("[data-status]")).to_have_text(
        "The answer calls 2 functions: give their results, or ask on in words."
    )
    pagecheck.sound(alice, path)
    # in place of what was asked instead, which stays as another version
    ask(alice, "Never mind")
    expect(answers(alice)).to_have_count(2)
    expect(alice.get_by_test_id("message-verdict")).to_have_count(2)
    first = calls.first
    first.get_by_text("Give the result", exact=True).click()
    first.get_by_label("Result of get_weather").fill("12 degrees")
    first.get_by_label("Result of get-time").fill("noon")
    first.get_by_test_id("chat-results").click()
    expect(answers(alice).last).to_contain_text("It rains.")
    expect(answers(alice)).to_have_count(2)
    expect(alice.get_by_test_id("chat-version")).to_have_text("2/2")
    expect(alice.locator("[data-given]").first).to_contain_text("12 degrees")
    expect(first.get_by_label("Result of get-time")).to_be_hidden()
    alice.get_by_role("button", name="Regenerate").last.click()
    expect(alice.get_by_test_id("chat-version")).to_have_text("3/3")
    expect(alice.locator("[data-given]")).to_have_count(2)
    newest = Turn.objects.select_related("chat").latest("pk")
    assert [x["role"] for x in json.loads(newest.request)["messages"]] == [
        "user", "assistant", "tool", "tool",
    ]  # fmt: skip
    pagecheck.sound(alice, path)
    alice.locator(".settings").evaluate("e => { e.open = true }")
    expect(alice.get_by_test_id("chat-tool-choice")).to_have_value("get_weather")  # as kept
    alice.get_by_placeholder("Name").fill("With weather")
    alice.get_by_placeholder("Name").press("Enter")
    expect(alice.locator("#own-presets")).to_contain_text("Saved as “With weather”.")
    alice.get_by_test_id("chat-tools").fill("")
    alice.get_by_test_id("chat-tool-choice").fill("")
    alice.get_by_role("link", name="With weather").click()
    expect(alice.get_by_test_id("chat-tools")).to_have_value(json.dumps([WEATHER]))
    expect(alice.get_by_test_id("chat-tool-choice")).to_have_value("get_weather")
