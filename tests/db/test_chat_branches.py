"""Versions of questions, what is sent along, how it is asked, and what the log says of it."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from attestation.models import Standing
from attestation.selectors import BASIS
from inference import consumers, context, conversations, opening, services
from inference.branches import Node, Tree
from inference.errors import BadPrompt, WentOn
from inference.failures import Failure
from inference.models import Chat, State, Turn
from inference.opening import MAX_PROMPT_CHARS
from inference.options import (
    MAX_SCHEMA_CHARS,
    MAX_STOP_CHARS,
    MAX_STOPS,
    MAX_SYSTEM_CHARS,
    MAX_TOOLS_CHARS,
    MOST_TOKENS,
    Options,
)
from inference.prompts import MAX_PICTURES, Prompt
from inference.relay import Record
from ledger.models import Service
from protocol import fees
from tests import factories
from tests.db.chat_world import make_key, world
from tests.db.personal_world import sign_in

ONE = 10**18


@pytest.fixture
def chat(db: None) -> Chat:
    return world("http://127.0.0.1:9")


def alice() -> Client:
    client = Client()
    sign_in(client, User.objects.for_address(factories.ALICE))
    return client


def said(chat: Chat, question: str, answer: str = "", **more: Any) -> Turn:
    """A turn that ended: well, or with `failure`; `reason`: why, in its provider's word."""
    failure, state = more.pop("failure", None), more.pop("state", State.ANSWERED)
    reason = more.pop("reason", "stop" if answer else "")
    opened = opening.open_turn(chat, question, process="p", **more)
    record = Record(complete=True, usage=fees.Usage(10, 5) if answer else None)
    record.finish_reason = reason
    record.text.append(answer)
    assert services.end_turn(opened.turn, state, record, failure)
    return Turn.objects.select_related("chat").get(pk=opened.turn)


def sent(turn: Turn) -> list[str]:
    return [m["content"] for m in json.loads(turn.request)["messages"]]


@pytest.mark.django_db
def test_an_edited_question_is_another_branch_and_nothing_is_lost(chat: Chat) -> None:
    one = said(chat, "one", "1")
    two = said(chat, "two", "2")
    three = said(chat, "three", "3")
    assert sent(three) == ["one", "1", "two", "2", "three"]
    other = said(chat, "two, otherwise", "2b", again=two.pk)
    assert sent(other) == ["one", "1", "two, otherwise"]
    # A page that still shows the first version: what it shows last is not what would be sent.
    for seen in (three.pk, two.pk, 0, 2**62):
        with pytest.raises(WentOn):
            opening.open_turn(chat, "on", process="p", seen=seen)
    assert Turn.objects.count() == 4
    beside = {"batch": uuid4(), "again": other.pk}
    columns = [said(chat, "", "b", lane=lane, **beside) for lane in (0, 1)]
    for column in columns:  # whichever of two columns a page names, it shows both
        next_one = opening.open_turn(chat, "on", process="p", seen=column.pk)
        assert Turn.objects.get(pk=next_one.turn).parent_id == columns[0].pk
        Turn.objects.filter(pk=next_one.turn).delete()
        conversations.show(columns[0])
        chat.refresh_from_db()
    Turn.objects.filter(pk__in=[column.pk for column in columns]).delete()
    again = said(chat, "", "the second again", again=two.pk)
    assert (again.question, again.parent_id) == ("two", one.pk)
    page = alice().get(f"/playground/chat/{chat.pk}").content.decode()
    assert ">3/3<" in page.replace(" ", "") and "the second again" in page and ">three<" not in page
    # back to the first version: its own continuation is there
    alice().post(f"/playground/chat/turns/{two.pk}/show")
    page = alice().get(f"/playground/chat/{chat.pk}").content.decode()
    assert "1/3" in page and ">three<" in page and "the second again" not in page
    four = said(Chat.objects.get(pk=chat.pk), "four", "4", seen=three.pk)
    assert four.parent_id == three.pk
    with pytest.raises(BadPrompt):
        opening.open_turn(chat, "x", process="p", again=10**9)
    stranger = conversations.create_chat(User.objects.for_address(factories.BOB), factories.PETRA)
    with pytest.raises(BadPrompt):
        opening.open_turn(stranger, "", process="p", again=one.pk)


@pytest.mark.django_db
def test_an_answer_without_a_word_says_why(chat: Chat) -> None:
    ends = {
        said(chat, "think", reason="length").pk: "Raise “Most tokens” in the settings",
        said(chat, "hm", "\n ", reason="stop").pk: "ended without writing anything",
        said(chat, "no", "I can", reason="content_filter").pk: "ended by a filter of the provider",
        said(chat, "yes", "Yes.").pk: "",
    }
    for pk, words in ends.items():
        page = alice().get(f"/playground/chat/turns/{pk}").content.decode()
        assert [x for x in ends.values() if x and x in page] == [words] * bool(words)


@pytest.mark.django_db
def test_what_an_older_answer_has_thought_inside_is_told_from_it(chat: Chat) -> None:
    said(chat, "and what else?", "<think>Nothing.</think>")  # is no answer: servers refuse it
    turn = said(chat, "six by 7?", "<think>6 times 7.</think>\n\nIt is 42.")
    page = alice().get(f"/playground/chat/turns/{turn.pk}").content.decode()
    assert "think&gt;" not in page and "<summary>Thinking</summary>" in page
    opening.open_turn(chat, "and by 8?", process="p")
    sent = json.loads(Turn.objects.select_related("chat").latest("pk").request)["messages"]
    assert [x["content"] for x in sent] == ["six by 7?", "It is 42.", "and by 8?"]


@pytest.mark.django_db
def test_only_the_last_answer_is_continued(chat: Chat) -> None:
    """What is sent stands after the last one, whatever was above or beside it."""
    half: dict[str, Any] = {"answer": "half", "state": State.STOPPED}

    def offered(path: str) -> list[str]:
        page = alice().get(f"/playground/chat/{path}").content.decode()
        return re.findall(r'id="turn-(\d+)"(?:(?!<section).)*"chat-continue"', page, re.S)

    first = said(chat, "one", **half)
    assert offered(str(chat.pk)) == offered(f"turns/{first.pk}") == [str(first.pk)]
    second = said(chat, "two", "whole")
    assert offered(str(chat.pk)) == offered(f"turns/{first.pk}") == []
    beside = {"batch": uuid4(), "again": second.pk, **half}
    columns = [said(chat, "", lane=lane, **beside) for lane in (0, 1)]
    for column in columns:
        conversations.show(column)
        assert offered(str(chat.pk)) == [str(column.pk)]


@given(st.lists(st.integers(0, 30), max_size=30), st.data())
def test_every_turn_has_one_place_and_every_path_ends_in_it(
    picks: list[int], data: st.DataObject
) -> None:
    nodes: list[Node] = []
    for number, pick in enumerate(picks, 1):
        nodes.append(Node(number, pick if 0 < pick < number else None))
    tree = Tree(nodes)
    for node in nodes:
        path = tree.path(node.id)
        assert path[-1] == node.id and tree.parent(path[0]) is None
        place = tree.place(node.id)
        assert 1 <= place.version <= place.versions and node.id in place.columns
        assert tree.path(tree.newest_leaf(node.id))[: len(path)] == path
    roots = {tree.place(n.id).versions for n in nodes if n.parent is None}
    assert len(roots) <= 1


@pytest.mark.django_db
def test_what_is_forgotten_stays_and_is_not_sent(chat: Chat) -> None:
    one, two = said(chat, "one", "1"), said(chat, "two", "2")
    failed = said(
        chat, "three", state=State.FAILED, failure=Failure("too_long", "context length", 400)
    )
    page = alice().get(f"/playground/chat/{chat.pk}").content.decode()
    assert "Remove the 1 oldest message from what is sent?" in page and "Remove them" in page
    alice().post(f"/playground/chat/turns/{one.pk}/forget")
    chat.refresh_from_db()
    again = said(chat, "", "3", again=failed.pk)
    assert sent(again) == ["two", "2", "three"]
    page = alice().get(f"/playground/chat/{chat.pk}").content.decode()
    assert "not sent any more" in page and ">one<" in page
    alice().post(f"/playground/chat/turns/{two.pk}/forget", {"undo": "1"})
    chat.refresh_from_db()
    assert [t.pk for t in context.context(chat, again.pk)] == [one.pk, two.pk, again.pk]


@pytest.mark.django_db
def test_settings_are_sent_kept_and_checked(chat: Chat) -> None:
    options = Options.of(
        {"system": " Be brief. ", "temperature": "0.70", "top_p": 1, "max_tokens": "64",
         "seed": 7, "stop": "END\n\nSTOP", "json": "on"}
    )  # fmt: skip
    turn = said(chat, "Hello", "{}", options=options)
    document = json.loads(turn.request)
    assert document["messages"][0] == {"role": "system", "content": "Be brief."}
    assert {k: document[k] for k in ("temperature", "top_p", "max_tokens", "seed", "stop")} == {
        "temperature": 0.7, "top_p": 1.0, "max_tokens": 64, "seed": 7, "stop": ["END", "STOP"],
    }  # fmt: skip
    assert document["response_format"] == {"type": "json_object"}
    chat = Chat.objects.get(pk=chat.pk)
    assert chat.options == options
    assert json.loads(said(chat, "And again", "x").request)["seed"] == 7, "as the last time"
    assert conversations.create_chat(chat.owner, factories.PETRA).options == options
    assert b"brief" not in bytes(chat.options_sealed)
    plain = json.loads(said(chat, "Plain", "x", options=Options()).request)
    assert not {"temperature", "top_p", "seed", "stop", "response_format"} & plain.keys()
    shaped = Options.of({"schema": ' {"type": "object"} ', "json": "on"})
    wanted = {"name": "answer", "schema": {"type": "object"}}
    assert json.loads(said(chat, "By a form", "{}", options=shaped).request)["response_format"] == {
        "type": "json_schema",
        "json_schema": wanted,
    }
    assert Options.of(shaped.stored()) == shaped and shaped.wire(("seed",)) == {}
    # What was stored under other rules takes no page with it.
    newest = Chat.objects.get(pk=chat.pk)
    sealed = newest.box.seal("options", b'{"temperature": "0.0000001"}')
    Chat.objects.filter(pk=chat.pk).update(options_sealed=sealed)
    assert Chat.objects.get(pk=chat.pk).options == Options()
    assert alice().get("/playground/chat").status_code == 200


def test_the_longest_question_with_the_longest_settings_is_one_message() -> None:
    """Code is full of quotes and ends of lines, which take two characters each on the way."""
    schema = f'{{"a" : "{chr(92) * (MAX_SCHEMA_CHARS - 10)}"}}'
    described = "\\\\" * (MAX_TOOLS_CHARS // 2 - 40)
    functions = f'[{{"type":"function","function":{{"name":"f","description":"{described}"}}}}]'
    settings = {
        "system": '"' * MAX_SYSTEM_CHARS,
        "schema": schema,
        "tools": functions,
        "stop": "\n".join(['"' * MAX_STOP_CHARS] * MAX_STOPS),
    }
    message = {
        "type": "prompt", "key": str(uuid4()), "text": "\n" * MAX_PROMPT_CHARS, "again": 2**62,
        "provider": factories.PETRA, "also": factories.BOB, "accept_signer": factories.BOB,
        "options": settings, "pictures": [str(uuid4())] * MAX_PICTURES,
        "adapter": f"ft-{'a' * 100}@{factories.PETRA}",
    }  # fmt: skip
    prompt = Prompt.of(consumers._message(json.dumps(message)))
    assert prompt.options is not None and len(prompt.options.schema) == MAX_SCHEMA_CHARS
    assert len(prompt.text) == MAX_PROMPT_CHARS


@pytest.mark.django_db
def test_the_estimate_bounds_what_is_then_charged_at_most(chat: Chat) -> None:
    said(chat, "What is a ledger?\n" * 20, 'It holds "money".\n' * 50)
    chat.refresh_from_db()
    question = "Ünïcode? " * 30
    size = len(json.dumps(question, ensure_ascii=False).encode()) - 2
    query: dict[str, Any] = {
        "chat": chat.pk,
        "provider": factories.PETRA,
        "bytes": size,
        "max_tokens": 100,
    }
    told = alice().get("/playground/chat/estimate", query).json()
    turn = said(chat, question, options=Options(max_tokens=100), state=State.STOPPED)
    assert turn.fee_kind == "unknown"
    assert turn.fee <= int(told["most"]) <= turn.fee * 11 // 10, "a bound, and a close one"
    assert told["turns"] == 1 and told["enough"] is True
    # what is being set counts, not what was set the last time
    schema = json.dumps({"properties": {f"name{n}": {"type": "string"} for n in range(100)}})
    wish = Options(system='Speak as a "walrus".\n' * 200, schema=schema, max_tokens=100)
    given = {"system": wish.system, "schema": schema}
    query["settings"] = len(json.dumps(given, ensure_ascii=False).encode()) - 2
    told = alice().get("/playground/chat/estimate", query).json()
    turn = said(chat, question, again=turn.pk, options=wish, state=State.STOPPED)
    assert turn.fee <= int(told["most"]) <= turn.fee * 11 // 10
    kept = {name: value for name, value in query.items() if name != "settings"}
    chat.refresh_from_db()
    assert turn.fee <= int(alice().get("/playground/chat/estimate", kept).json()["most"])
    poor = {**query, "max_tokens": MOST_TOKENS, "bytes": 99_999_999}
    assert alice().get("/playground/chat/estimate", poor).json()["enough"] is False
    assert alice().get("/playground/chat/estimate").json() == {}
    # It grows with an answer that heeds no limit, in any writing.
    more: dict[str, Any] = {"options": Options(max_tokens=100), "state": State.STOPPED}
    over = said(chat, question, "語" * 1000, reason="", **more)
    assert over.fee >= 3000 * over.output_price


@pytest.mark.django_db
def test_the_estimate_counts_the_branch_that_is_sent_and_everybody_asked(chat: Chat) -> None:
    one = said(chat, "one " * 100, "1 " * 100)
    two = said(chat, "two " * 100, "2 " * 100)
    said(chat, "three", "3")
    chat.refresh_from_db()
    query: dict[str, Any] = {"chat": chat.pk, "provider": factories.PETRA, "bytes": 8}

    def told(**more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = alice().get("/playground/chat/estimate", query | more).json()
        return answer

    assert (told()["turns"], told(again=two.pk)["turns"]) == (3, 1)
    first = told(again=one.pk)
    assert (first["turns"], first["tokens"]) == (0, 2)
    # side by side: both are paid, the dearer one most of all, and both must be able to
    dear = factories.service(factories.CHARLIE, output_price=10**15)
    alone, both = told(), told(also=dear.provider)
    other = told(provider=dear.provider)
    assert int(both["most"]) == int(alone["most"]) + int(other["most"]) > 2 * int(alone["most"])
    assert (both["providers"], both["enough"], both["free"]) == (2, False, alone["free"])
    # nothing to spend: no shorter answer helps
    assert (other["free"], other["shorter"], told(max_tokens=MOST_TOKENS)["shorter"]) == (
        "0",
        False,
        True,
    )
    assert told(also=factories.PETRA) == alone
    # a base model beside its tuned one is asked in the place of another provider
    assert told(beside="on", also=dear.provider) == told(beside="on")
    assert int(told(beside="on")["most"]) == 2 * int(alone["most"])


@pytest.mark.django_db
def test_another_provider_is_offered_with_price_and_verdict_and_never_asked(chat: Chat) -> None:
    factories.service(factories.CHARLIE, url="http://127.0.0.1:8", input_price=10**13)
    factories.service(factories.BOB, url="http://127.0.0.1:7", input_price=10**12)
    failed = said(chat, "Hello", state=State.FAILED, failure=Failure("busy", "no", 503, 8))
    page = alice().get(f"/playground/chat/{chat.pk}").content.decode()
    offers = [x.split("</form>", 1)[0] for x in page.split('data-testid="chat-other"')[1:]]
    assert factories.BOB in offers[0] and "0G more, needs a transfer first" in offers[0]
    assert factories.CHARLIE in offers[1] and "data-verdict=" in offers[1]
    # where the evidence failed nobody is sent
    stands = {"provider": factories.BOB, "kind": "inference", "service_name": "inference-v1.0"}
    found = Service.objects.filter(provider=factories.BOB).values(*BASIS).get()
    Standing.objects.create(**stands, overall="fail", checked_at=timezone.now(), basis=found)
    page = alice().get(f"/playground/chat/{chat.pk}").content.decode()
    assert page.count('data-testid="chat-other"') == len(offers) - 1
    # without a script the question stands in the composer, with what is missing there
    asked: Any = {"edit": failed.pk, "provider": factories.CHARLIE}
    page = alice().get(f"/playground/chat/{chat.pk}", asked).content.decode()
    assert "Hello</textarea>" in page and f'<option value="{factories.CHARLIE}" selected' in page
    assert f'data-code="not_funded" data-provider="{factories.CHARLIE}"' in page
    page = alice().get(f"/playground/chat/{chat.pk}").content.decode()
    assert 'data-failure="busy"' in page and "It asks to wait 8" in page
    assert Turn.objects.count() == 1
    make_key(chat.owner, factories.CHARLIE)
    factories.sub_account(provider=factories.CHARLIE, acknowledged=True)
    page = alice().get(f"/playground/chat/{chat.pk}").content.decode()
    offers = [x.split("</form>", 1)[0] for x in page.split('data-testid="chat-other"')[1:]]
    assert factories.CHARLIE in offers[0] and "transfer" not in offers[0]
    chat.options_sealed = conversations.sealed_options(chat, Options(verified=True))
    chat.save()
    assert b"chat-other" not in alice().get(f"/playground/chat/{chat.pk}").content
    moved = said(chat, "", "Here", again=failed.pk, provider=factories.CHARLIE, options=Options())
    assert (moved.provider, moved.question) == (factories.CHARLIE, "Hello")
    assert 'data-testid="chat-other"' not in (
        alice().get(f"/playground/chat/{chat.pk}").content.decode()
    )


@pytest.mark.django_db
def test_the_inspector_shows_the_bytes_and_commands_that_send_them(chat: Chat) -> None:
    turn = said(chat, 'It\'s `$(rm -rf /)` "quoted"\n</pre><script>alert(1)</script>', "x")
    turn.signature = {"text": "aa:bb", "signature": "0x51", "note": "<script>alert(2)\u202e"}
    turn.save()
    page = alice().get(f"/playground/chat/turns/{turn.pk}/inspect").content.decode()
    assert "<script>alert(" not in page and "app-sk-…" in page
    # the reply as it came, for whoever checks it with a wallet library
    assert "&quot;signature&quot;: &quot;0x51&quot;" in page and "\\u202e" in page
    assert "<dt>Asked</dt><dd><time" in page
    from inference import inspector

    shown = inspector.page(turn)
    words = shlex.split(shown.curl.replace("\\\n", " "))
    assert words[words.index("--data-raw") + 1].encode() == turn.request
    program = compile(shown.python, "sample", "exec")
    assert any(turn.request == c for c in program.co_consts if isinstance(c, bytes))
    # What was refused says why, under the question and here: nothing else tells what to change.
    sealed = turn.chat.box.seal_text("detail", "no <schema> is followed here")
    Turn.objects.filter(pk=turn.pk).update(
        state="failed", failure="refused", failure_status=400, detail_sealed=sealed
    )
    page = alice().get(f"/playground/chat/turns/{turn.pk}/inspect").content.decode()
    assert "<dt>HTTP status</dt><dd>400</dd>" in page
    assert "no &lt;schema&gt; is followed here" in page
    page = alice().get(f"/playground/chat/turns/{turn.pk}").content.decode()
    why = page.partition("<summary>What the provider said")
    assert why[0].endswith("<details open>") and "no &lt;schema&gt; is followed here" in why[2]
    assert alice().get("/playground/chat/turns/0/inspect").status_code == 404
    other = Client()
    other.force_login(User.objects.for_address(factories.BOB))
    assert other.get(f"/playground/chat/turns/{turn.pk}/inspect").status_code == 404


@pytest.mark.django_db
def test_a_resent_question_of_a_branch_is_the_same_turn(chat: Chat) -> None:
    one = said(chat, "one", "1")
    key = uuid4()
    first = opening.open_turn(chat, "two", process="p", prompt_key=key, again=one.pk)
    assert opening.open_turn(chat, "two", process="p", prompt_key=key, again=one.pk).call is None
    assert Turn.objects.count() == 2 and first.turn != one.pk
