"""Functions in a conversation: offered, called by an answer, and their results given back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from inference import (
    abilities,
    context,
    estimates,
    export,
    inspector,
    opening,
    search,
    services,
    tools,
    turnlog,
)
from inference import hub as hubs
from inference.errors import BadPrompt
from inference.models import Chat, State, Turn
from inference.options import Options
from inference.prompts import Malformed, Prompt
from inference.relay import MAX_ANSWER_CHARS, Record, Timeouts
from protocol import fees
from tests import factories
from tests.db.chat_world import Stage, in_db, stage, watched, world
from tests.db.personal_world import prove, sign_in
from tests.live.chat_upstream import Asked, Reply
from tests.pure.test_tools import WEATHER

OFFER = Options.of({"tools": json.dumps([WEATHER]), "tool_choice": "auto"})
TOWN = '{"town": "Bonn <b>"}'


def delta(*calls: Any, **more: Any) -> bytes:
    choice = {"delta": {"tool_calls": list(calls)}, **more}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def part(index: int, text: str = "", call_id: str = "", name: str = "") -> dict[str, Any]:
    begun = {"id": call_id, "type": "function"} if name else {}
    named = {"name": name} if name else {}
    return {"index": index, **begun, "function": {**named, "arguments": text}}


async def calling(reply: Reply, asked: Asked) -> None:
    """Two calls in pieces, as servers stream them; in words once there are results."""
    answer_id = f"id-{len(reply.upstream.chats)}"
    await reply.start(answer_id)
    if json.loads(asked.body)["messages"][-1]["role"] == "tool":
        await reply.tokens("It ", "rains.")
        await reply.signed_end(answer_id, asked)
        return
    await reply.send(delta(part(0, "", "call-a", "get_weather")))
    for text in (TOWN[:5], TOWN[5:]):
        await reply.send(delta(part(0, text)))
        await asyncio.sleep(0.02)
    await reply.send(delta(part(1, "{}", "call-b", "get-time")))
    end = delta(finish_reason="tool_calls")
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    end += b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    end += b"data: [DONE]\n\n"
    reply.upstream.sign(answer_id, asked, reply.body + end)
    await reply.send(end)
    await reply.raw(b"0\r\n\r\n")


async def ask(s: Stage, text: str, **given: Any) -> Turn:
    given = {"options": OFFER, **given}
    opened = await s.hub.ask(s.chat, text, **given)
    return await s.ended(opened.turn)


@pytest.mark.django_db(transaction=True)
async def test_calls_are_kept_and_their_results_go_back() -> None:
    async with stage(calling) as s:
        turn = await ask(s, "How is the weather?")
        events = [entry.event for entry in await watched(turn.pk)]
        done = await ask(s, "", called=turn.pk, results=("wet\n", "noon"))
        again = await ask(s, "", again=done.pk)
        first, second, third = [json.loads(asked.body) for asked in s.upstream.chats]
        path = f"/playground/chat/{s.chat.pk}"
        alice = Client()
        await in_db(sign_in)(alice, await in_db(lambda: s.chat.owner)())
        page = (await in_db(alice.get)(path)).content.decode()
    assert (first["tools"], first["tool_choice"]) == ([WEATHER], "auto")
    assert (turn.state, turn.finish_reason, turn.verdict) == ("answered", "tool_calls", "verified")
    assert (turn.answer, turn.failure, turn.completion_tokens) == ("", "", 7)
    assert [(x.id, x.name, x.arguments) for x in turn.calls] == [
        ("call-a", "get_weather", TOWN), ("call-b", "get-time", "{}"),
    ]  # fmt: skip
    assert b"Bonn" not in bytes(turn.calls_sealed)
    kinds = [event["type"] for event in events]
    assert kinds == ["call", "arguments", "arguments", "call", "arguments", "end", "verdict"]
    assert (events[0]["name"], events[-2]["calls"]) == ("get_weather", 2)
    # the wire's own form, in order, byte for byte what was called
    told: list[Any] = [{"role": "user", "content": "How is the weather?"}]
    told.append(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": x.id, "type": "function",
                 "function": {"name": x.name, "arguments": x.arguments}}
                for x in turn.calls
            ],
        }
    )  # fmt: skip
    told.append({"role": "tool", "tool_call_id": "call-a", "content": "wet\n"})
    told.append({"role": "tool", "tool_call_id": "call-b", "content": "noon"})
    assert second["messages"] == told == third["messages"], "asked again, the results go along"
    assert (done.answer, done.parent_id, again.parent_id) == ("It rains.", turn.pk, turn.pk)
    assert [x.content for x in again.results] == ["wet\n", "noon"]
    # the page says who runs them, and offers to give other results
    assert "Nothing is run here" in page and "read the call before you run it" in page
    assert f'name="called" value="{turn.pk}"' in page
    shown = unescape(page)
    assert '{\n  "town": "Bonn <b>"\n}' in shown and "Bonn <b>" not in page
    assert shown.count("wet\n") == 2  # the newest version, with its button to copy


@pytest.fixture
def chat(transactional_db: None) -> Chat:
    cache.clear()
    return world("http://127.0.0.1:9")


def said(
    chat: Chat, question: str, answer: str = "", *called: tuple[str, str], **more: Any
) -> Turn:
    """A turn that ended, with these names and arguments called."""
    state = more.pop("state", State.ANSWERED)
    opened = opening.open_turn(chat, question, process="p", **more)
    record = Record(complete=True, usage=fees.Usage(10, 5) if answer or called else None)
    record.text.append(answer)
    for at, (name, text) in enumerate(called):
        record.calls.take(tools.Part(at, f"id-{at}", name, text))
    assert services.end_turn(opened.turn, state, record)
    chat.refresh_from_db()
    return Turn.objects.select_related("chat").get(pk=opened.turn)


def sent(turn: Turn) -> list[tuple[str, Any]]:
    return [(x["role"], x["content"]) for x in json.loads(turn.request)["messages"]]


def test_what_goes_along_on_every_branch(chat: Chat) -> None:
    one = said(chat, "one", "Let me see.", ("get_weather", TOWN))
    plain = said(chat, "two", "2")
    assert sent(plain)[1:] == [
        ("assistant", "Let me see."), ("tool", tools.NO_RESULT), ("user", "two")
    ]  # fmt: skip
    # results stand beside what was asked instead, and words of an edited one behind them
    given = said(chat, "", "dry", called=one.pk, results=("12 °C",))
    assert given.parent_id == plain.parent_id == one.pk and chat.leaf_id == given.pk
    assert sent(given)[-1] == ("tool", "12 °C")
    edited = said(chat, "In Kelvin!", "285", again=given.pk)
    assert sent(edited)[-2:] == [("tool", "12 °C"), ("user", "In Kelvin!")]
    after = said(chat, "Thanks", "You are welcome")
    assert sent(after)[1:] == [
        ("assistant", "Let me see."), ("tool", "12 °C"), ("user", "In Kelvin!"),
        ("assistant", "285"), ("user", "Thanks"),
    ]  # fmt: skip
    # what is not sent any more leaves no result without its call
    Chat.objects.update(forgotten=one.pk)
    chat.refresh_from_db()
    assert sent(said(chat, "And now?", "x"))[0] == (
        "user",
        "[result of get_weather]\n12 °C\n\nIn Kelvin!",
    )
    assert chat.options.tools == "", "asked without functions, as the settings said"


@pytest.mark.parametrize(
    ("name", "written", "state"),
    [
        ("get_weather", '{"town": "Bo', State.STOPPED),
        ("get_weather", '{"town": "Bo', State.ANSWERED),
        ("delete everything", "{}", State.ANSWERED),
        ("get_weather", '["Bonn"]', State.ANSWERED),
    ],
)
def test_a_call_that_no_server_would_read_again_is_told_in_words(
    chat: Chat, name: str, written: str, state: State
) -> None:
    one = said(chat, "one", "", (name, written), state=state)
    called = f"[called {name}({written})]"
    assert sent(said(chat, "two", "2"))[1:] == [("assistant", called), ("user", "two")]
    if state == State.ANSWERED:
        given = said(chat, "", "3", called=one.pk, results=("dry",))
        assert sent(given)[1:] == [
            ("assistant", called), ("user", f"[result of {name}]\ndry")
        ]  # fmt: skip
    else:
        with pytest.raises(BadPrompt, match="not there any more"):
            said(chat, "", "3", called=one.pk, results=("dry",))


def test_results_of_calls_with_one_id_are_told_apart_in_words(chat: Chat) -> None:
    one = said(chat, "one", "", ("get_weather", TOWN), ("get-time", "{}"))
    same = tuple(replace(call, id="call") for call in one.calls)
    sealed = chat.box.seal("calls", tools.pack(same))
    Turn.objects.filter(pk=one.pk).update(calls_sealed=sealed)
    given = said(chat, "", "3", called=one.pk, results=("wet", "noon"))
    assert sent(given)[1:] == [
        ("assistant", f"[called get_weather({TOWN})]\n\n[called get-time({{}})]"),
        ("user", "[result of get_weather]\nwet\n\n[result of get-time]\nnoon"),
    ]


def test_a_model_that_takes_no_functions_is_told_of_them_in_words(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = said(chat, "one", "", ("get_weather", TOWN), options=OFFER)
    able = abilities.Abilities(parameters=("seed", "tool_choice"), said=True)
    monkeypatch.setattr(abilities, "heard", lambda listing: able)
    given = said(chat, "", "dry", called=one.pk, results=("12 °C",))
    assert not {"tools", "tool_choice"} & json.loads(given.request).keys()
    assert sent(given)[1:] == [
        ("assistant", f"[called get_weather({TOWN})]"), ("user", "[result of get_weather]\n12 °C"),
    ]  # fmt: skip


def test_results_are_checked(chat: Chat) -> None:
    plain = said(chat, "zero", "0")
    one = said(chat, "one", "", ("get_weather", TOWN), ("get-time", ""))
    rules = {
        ("dry",): "for each", ("dry", " "): "for each", ("a", "b", "c"): "for each",
        ("x" * 32_000, "y"): "32,000",
    }  # fmt: skip
    for results, rule in rules.items():
        with pytest.raises(BadPrompt, match=rule):
            said(chat, "", called=one.pk, results=results)
    for other in (plain.pk, 10**9):
        with pytest.raises(BadPrompt, match="not there any more"):
            said(chat, "", called=other, results=("dry",))
    message = {"key": "00000000-0000-4000-8000-000000000000", "text": ""}
    for wrong in ({"called": True}, {"called": "1"}, {"results": "dry"}, {"results": [1]},
                  {"results": ["x"] * 65}):  # fmt: skip
        with pytest.raises(Malformed):
            Prompt.of(message | wrong)
    # nobody answers what somebody else's chat was asked
    bob = Client()
    sign_in(bob, User.objects.for_address(factories.BOB))
    form = {"called": one.pk, "result": ["a", "b"]}
    assert bob.post(f"/playground/chat/{chat.pk}/send", form).status_code == 404
    # by form: what was typed comes back with the rule
    alice = Client()
    sign_in(alice, chat.owner)
    form["result"] = ["my <result>", ""]
    answer = alice.post(f"/playground/chat/{chat.pk}/send", form)
    assert answer.status_code == 400 and b"my &lt;result&gt;</textarea>" in answer.content
    assert b"Give a result for each function call." in answer.content


def test_calls_are_found_exported_shared_and_bounded_by_the_estimate(chat: Chat) -> None:
    one = said(chat, "one", "", ("get_weather", TOWN), options=OFFER)
    given = said(chat, "", "dry", called=one.pk, results=("4 degrees\n```",))
    for words in ("get_weather", "bonn", "4 DEGREES"):
        assert len(search.search(chat.owner, None, words)[0]) == 1, words
    assert not search.search(chat.owner, None, "result of")[0], "words of this site"
    exported = json.loads(b"".join(export.document(chat)))["turns"]
    assert exported[0]["calls"] == [{"id": "id-0", "name": "get_weather", "arguments": TOWN}]
    assert exported[1]["results"][0]["content"] == "4 degrees\n```"
    text = b"".join(export.markdown(chat)).decode()
    assert "Calls `get_weather`:\n\n    {\n" in text
    assert "> Result of get_weather:\n> \n>     4 degrees\n>     ```" in text
    assert TOWN in json.loads(inspector.page(given).request.text)["messages"][1]["tool_calls"][0][
        "function"
    ]["arguments"]  # fmt: skip

    def most(size: int, **more: Any) -> int:
        told = estimates.estimate(
            chat.owner, chat, provider=factories.PETRA, question_bytes=size, max_tokens=1024, **more
        )
        return int(told["most"])

    bounds = most(4), most(3, called=one.pk), most(6, again=given.pk)
    asked: list[dict[str, Any]] = [{}, {"called": one.pk, "results": ("wet",)}, {"again": given.pk}]
    for bound, text, more in zip(bounds, ("next", "", "Kelvin"), asked, strict=True):
        after = said(chat, text, state=State.STOPPED, **more)
        assert after.fee <= bound <= after.fee * 6 // 5, text
    alice = Client()
    sign_in(alice, chat.owner)
    prove(alice, 0)
    share, told = f"/playground/chat/{chat.pk}/share", b"the results of functions"
    Chat.objects.filter(pk=chat.pk).update(leaf_id=one.pk)
    assert told not in alice.get(share).content
    Chat.objects.filter(pk=chat.pk).update(leaf_id=after.pk)
    made = alice.post(share, {"days": "7"}, follow=True).content
    assert told in made
    # without a script: what only gave results can be asked again without more words
    composer = alice.get(f"/playground/chat/{chat.pk}?edit={given.pk}").content.decode()
    written = composer.split('id="chat-input"')[1].split("</textarea>")[0]
    assert "required" not in written and 'name="again" value="' in composer
    link = made.decode().split("/shared/")[1].split("<")[0].split('"')[0]
    shown = unescape(Client().get(f"/shared/{link}").content.decode())
    assert "Calls the function" in shown and "4 degrees" in shown and 'name="result"' not in shown


def test_a_call_without_words_is_part_of_the_conversation(chat: Chat) -> None:
    one = said(chat, "one", "", ("get_weather", TOWN))
    nothing = said(chat, "two")
    assert [x.pk for x in context.context(chat, nothing.pk)] == [one.pk]


async def endless(reply: Reply, asked: Asked) -> None:
    await reply.start("id-1")
    for at in range(400):
        await reply.send(delta(part(at * 10**15, "{}", f"c{at}", "get_weather")))
    await asyncio.sleep(20)


async def huge(reply: Reply, asked: Asked) -> None:
    await reply.start("id-1")
    await reply.send(delta(part(0, "", "c", "get_weather")))
    for _ in range(20):
        await reply.send(delta(part(0, "x" * 60_000)))
    await asyncio.sleep(20)


async def silent(reply: Reply, asked: Asked) -> None:
    """Calls that never say anything are silence."""
    await reply.start("id-1")
    while True:
        await reply.send(delta({"index": 0, "function": {"arguments": ""}}, {}, 7))
        await asyncio.sleep(0.05)


async def broken(reply: Reply, asked: Asked) -> None:
    await reply.start("id-1")
    await reply.send(delta(part(0, '{"to', "c", "get_weather")))
    reply.abort()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("script", "state", "failure", "calls"),
    [
        (endless, "cut_off", "too_large", tools.MAX_CALLS),
        (huge, "cut_off", "too_large", 1),
        (silent, "failed", "slow_start", 0),
        (broken, "cut_off", "cut_off", 1),
    ],
)
async def test_hostile_calls_end_in_a_state_of_their_own(
    script: Any, state: str, failure: str, calls: int
) -> None:
    quick = Timeouts(connect=2, first_token=0.6, between_tokens=0.6, whole=20, after_done=0.5)
    async with stage(script, timeouts=quick) as s:
        turn = await ask(s, "How is the weather?")
    assert (turn.state, turn.failure, len(turn.calls)) == (state, failure, calls)
    assert sum(len(x.arguments) for x in turn.calls) <= MAX_ANSWER_CHARS


@pytest.mark.django_db(transaction=True)
async def test_a_killed_process_loses_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start("id-1")
        await reply.send(delta(part(0, '{"a"', "x", "one"), part(1, '{"b"', "x", "two")))
        await reply.send(delta(part(1, ":1}")))
        await asyncio.sleep(20)

    async with stage(script) as s:
        opened = await s.hub.ask(s.chat, "Hello?", options=OFFER)
        found = tools.Calls()
        for _ in range(200):
            *_words, found = await turnlog.text_of(opened.turn)
            if len(found) == 2 and found.found[1].arguments.endswith("}"):
                break
            await asyncio.sleep(0.02)
        await turnlog.gone(s.hub.process)
        assert await hubs.reap() == 1
        turn = await s.turn(opened.turn)
    assert (turn.state, turn.failure) == ("cut_off", "interrupted")
    assert [(x.name, x.arguments) for x in turn.calls] == [("one", '{"a"'), ("two", '{"b":1}')]
