"""The life of a turn: asked once, written to its end whatever happens, judged, billed once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from channels.db import database_sync_to_async
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError, connection, transaction
from django.test import AsyncClient
from django.utils import timezone

from accounts import tokens
from accounts.models import AccessToken
from inference import (
    access,
    conversations,
    inspector,
    opening,
    services,
    signatures,
    tasks,
    turn_sql,
    turnlog,
)
from inference import hub as hubs
from inference.errors import BadPrompt, Busy, ChatError, NotReady, SignedOut, SignerChanged
from inference.hub import Hub
from inference.models import Chat, State, Turn, Verdict
from inference.openai import choose
from ledger.models import Service, SubAccount
from marketplace import presence
from marketplace.celery import app as celery
from net.errors import BadStatus
from protocol.keys import authorization
from tests import factories
from tests.db.chat_world import Stage, in_db, stage, watched
from tests.db.test_verification_races import together
from tests.live.chat_upstream import Asked, Reply, token

pytestmark = pytest.mark.django_db(transaction=True)


async def polite(reply: Reply, asked: Asked) -> None:
    """Three words, signed."""
    await reply.start("id-1")
    await reply.tokens("One ", "two ", "three", pause=0.02)
    await reply.signed_end("id-1", asked)


async def endless(reply: Reply, asked: Asked) -> None:
    """Counts in every chunk, as some servers do."""
    await reply.start("id-1")
    for counted in range(1, 401):
        await reply.send(token("tick ", counted))
        await asyncio.sleep(0.02)


def text(entries: list[turnlog.Entry]) -> str:
    return "".join(e.event["text"] for e in entries if e.event["type"] == "delta")


async def test_an_answer_is_kept_billed_and_verified() -> None:
    async with stage(polite) as s:
        turn_id = await s.ask("What is a ledger?")
        entries = await watched(turn_id)
        turn = await s.ended(turn_id)
        asked = s.upstream.chats[0]
    assert text(entries) == turn.answer == "One two three"
    assert [e.event["type"] for e in entries[-2:]] == ["end", "verdict"]
    assert (turn.state, turn.verdict) == (State.ANSWERED, Verdict.VERIFIED)
    assert (turn.signer, turn.scheme) == (turn.expected_signer, "req:resp")
    assert turn.signed_request == turn.request_sha256
    assert turn.signed_response == turn.response_sha256
    assert (
        turn.signature and turn.signature["text"] == f"{turn.request_sha256}:{turn.response_sha256}"
    )
    assert (turn.fee, turn.fee_kind) == (11 * 420_000_000_000 + 7 * 1_200_000_000_000, "known")
    assert bytes(turn.request) == asked.body
    sent = json.loads(asked.body)
    assert sent["max_tokens"] == turn.max_tokens
    assert sent["stream_options"] == {"include_usage": True}
    assert sent["messages"] == [{"role": "user", "content": "What is a ledger?"}]
    assert asked.headers["authorization"].startswith(authorization("app-sk-"))
    # When each piece of it came, for *Inspect*: all of its bytes, in their order.
    pieces = (await in_db(inspector.page)(turn)).pieces
    assert "".join(piece.text for piece in pieces).encode() == bytes(turn.response)
    moments = [piece.ms for piece in pieces]
    assert moments == sorted(moments) and moments[0] <= turn.first_token_ms
    assert moments[-1] <= turn.total_ms
    chat = await in_db(Chat.objects.get)(pk=s.chat.pk)
    assert chat.title == "What is a ledger?"


async def test_the_conversation_goes_along_and_failures_do_not() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        if b"break" in asked.body:
            await reply.whole(b'{"error":"no"}', 500)
        else:
            await polite(reply, asked)

    async with stage(script) as s:
        for question in ("first", "break", "second"):
            await s.ended(await s.ask(question))
            if question == "break":
                # what failed is not part of the conversation that the model sees
                assert b"One two three" in s.upstream.chats[-1].body
        messages = json.loads(s.upstream.chats[-1].body)["messages"]
    assert [m["content"] for m in messages] == ["first", "One two three", "second"]


async def test_watchers_come_late_twice_and_from_the_middle() -> None:
    async with stage(polite) as s:
        turn_id = await s.ask()
        first, second = await asyncio.gather(watched(turn_id), watched(turn_id))
        await s.ended(turn_id)
        late = await watched(turn_id)
        for after in range(len(late)):
            rest = await watched(turn_id, after)
            assert [e.seq for e in rest] == list(range(after + 1, len(late) + 1))
            assert rest == late[after:]
    assert first == second == late
    assert text(late) == "One two three"


async def test_the_same_prompt_is_the_same_turn() -> None:
    async with stage(polite) as s:
        key = uuid4()
        turn_id = await s.ask("once", key)
        with pytest.raises(Busy):
            await s.ask("another")
        assert await s.ask("once", key) == turn_id
        await s.ended(turn_id)
        assert await s.ask("once", key) == turn_id
        assert len(s.upstream.chats) == 1
        assert await in_db(s.chat.turns.count)() == 1


async def test_a_prompt_sent_twice_at_the_same_moment_is_asked_once() -> None:
    async with stage(polite) as s:
        key = uuid4()
        open_turn = database_sync_to_async(opening.open_turn, thread_sensitive=False)
        opened = await asyncio.gather(
            *(open_turn(s.chat, "once", process=s.hub.process, prompt_key=key) for _ in range(6))
        )
        assert len({o.turn for o in opened}) == 1
        (call,) = [o.call for o in opened if o.call is not None]
        s.hub.launch(opened[0].turn, call)
        await s.ended(opened[0].turn)
        assert len(s.upstream.chats) == 1


async def test_an_open_page_asks_nothing_more_in_a_conversation_that_was_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be paid for, and purged with its conversation a minute later."""
    async with stage(polite) as s:
        await s.ended(await s.ask())
        await in_db(conversations.delete_chat)(s.chat)
        with pytest.raises(BadPrompt, match="has ended"):
            await s.ask("more")
        await in_db(conversations.bring_back)(s.chat)
        with monkeypatch.context() as meanwhile:
            # Another tab deletes it between the question's look and its row.
            delete = conversations.delete_chat
            meanwhile.setattr(opening, "spend_limit", lambda user: delete(s.chat))
            with pytest.raises(BadPrompt, match="has ended"):
                await s.ask("more")
        await in_db(conversations.bring_back)(s.chat)
        session = SessionStore()
        await in_db(session.create)()
        with monkeypatch.context() as meanwhile:
            # Or signs out there.
            meanwhile.setattr(opening, "spend_limit", lambda user: session.delete())
            with pytest.raises(SignedOut):
                await s.hub.ask(s.chat, "more", session=session.session_key)
        await s.ended(await s.ask("more"))
        assert len(s.upstream.chats) == 2


async def test_a_page_that_leaves_while_it_asks_leaves_no_turn_that_nobody_writes() -> None:
    """A second click on a form aborts the first request, wherever it stands."""
    async with stage(polite) as s:
        for wait in (0.0, 0.001, 0.003, 0.006, 0.01, 0.02, 0.04):
            asking = asyncio.create_task(s.hub.ask(s.chat, "Hello?"))
            await asyncio.sleep(wait)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await asyncio.sleep(0.3)  # the database's thread may still be writing the turn
            newest = await in_db(lambda: s.chat.turns.order_by("-pk").first())()
            if newest is not None:
                assert (await s.ended(newest.pk, judged=False)).state == State.ANSWERED
        assert await in_db(s.chat.turns.count)() >= 3


async def _ticked(turn_id: int) -> None:
    """The answer has begun, however long that takes."""
    async with aclosing(turnlog.batches(turn_id)) as batches:
        async for entries in batches:
            if entries and entries[-1].seq >= 5:
                return


async def test_stop_keeps_the_text_and_closes_the_connection() -> None:
    async with stage(endless) as s:
        turn_id = await s.ask()
        await _ticked(turn_id)
        await s.hub.stop(turn_id, s.hub.process)
        turn = await s.ended(turn_id)
        for _ in range(500):
            if s.upstream.closed_early:
                break
            await asyncio.sleep(0.02)
        assert s.upstream.closed_early == 1
        sent = len(s.upstream.chats)
    assert turn.state == State.STOPPED
    assert 5 <= turn.answer.count("tick") <= 8
    assert (turn.verdict, turn.verdict_reason) == (Verdict.NOT_COMPARABLE, "not_received_whole")
    # The count up to there is not what the provider bills: that is the whole answer.
    assert turn.completion_tokens and turn.fee_kind == "unknown"
    assert turn.fee > 9 * 420_000_000_000 + 400 * 1_200_000_000_000
    assert sent == 1
    assert text(await watched(turn_id)) == turn.answer


async def test_another_process_can_stop_it() -> None:
    async with stage(endless) as s:
        other = Hub()
        turn_id = await s.ask()
        await _ticked(turn_id)
        await other.stop(turn_id, s.hub.process)
        turn = await s.ended(turn_id)
        assert turn.state == State.STOPPED


async def test_a_process_that_is_told_to_end_leaves_no_open_turn() -> None:
    async with stage(endless) as s:
        turn_id = await s.ask()
        await _ticked(turn_id)
        await s.hub.close()
        turn = await s.turn(turn_id)
        assert (turn.state, turn.failure) == (State.CUT_OFF, "interrupted")
        assert turn.answer.startswith("tick tick")
        with pytest.raises(ChatError):
            await s.ask("more")


async def test_a_killed_process_loses_no_prefix_and_sends_nothing_again() -> None:
    async with stage(endless) as s:
        turn_id = await s.ask()
        await _ticked(turn_id)
        # SIGKILL: nothing of the process runs any more, and its heartbeat runs out
        task = s.hub._turns[turn_id]
        assert await hubs.reap() == 0, "it lives"
        await turnlog.gone(s.hub.process)
        kept = await turnlog.client().exists(f"process:{s.hub.process}")
        assert not kept, "a process of 0.1.0 takes it for alive"
        prefix, *_ = await turnlog.text_of(turn_id)
        assert await hubs.reap() == 1
        turn = await s.turn(turn_id)
        assert (turn.state, turn.failure, turn.verdict) == (
            "cut_off",
            "interrupted",
            "not_comparable",
        )
        assert turn.answer.startswith(prefix) and prefix
        assert turn.fee_kind == "unknown"
        assert await hubs.reap() == 0
        # should it still be alive after all, it can neither write nor end the turn any more
        await asyncio.sleep(0.2)
        s.hub._cancel(turn_id, "stop")
        await asyncio.gather(task, return_exceptions=True)
        again = await s.turn(turn_id)
        assert (again.state, again.answer) == (turn.state, turn.answer)
        entries = await watched(turn_id)
        assert text(entries) == turn.answer
        assert [e.event["type"] for e in entries].count("end") == 1
        assert len(s.upstream.chats) == 1


async def test_redis_that_forgot_everything_ends_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(endless) as s:
        turn_id = await s.ask()
        owner = f"process:{s.hub.process}"
        await turnlog.client().delete(owner)
        assert await hubs.reap() == 0, "whoever lives says so in a moment"
        await turnlog.beat(s.hub.process)
        assert not await turnlog.client().exists(f"{owner}:silent")
        assert (await s.turn(turn_id)).state == State.OPEN
        # A middle of the answer is told to nobody as its beginning, and not kept as one.
        await _ticked(turn_id)
        await turnlog.client().xdel(f"turn:{turn_id}", "0-3")
        monkeypatch.setattr(turnlog, "_BLOCK_MS", 50)
        async with aclosing(turnlog.batches(turn_id)) as batches:
            told = [entry.seq for _ in range(3) for entry in await anext(batches)]
        assert told == [1, 2]
        # Whoever stays silent is dead.
        await turnlog.client().delete(owner)
        assert await hubs.reap() == 0
        monkeypatch.setattr(turnlog, "SILENT_SECONDS", 0)
        assert await hubs.reap() == 1
        assert (await s.turn(turn_id)).answer == "tick tick "


async def test_a_database_that_hangs_makes_nobody_look_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hubs, "BEAT_SECONDS", 0.05)
    async with stage(endless) as s:
        held, over = threading.Event(), threading.Event()

        def hang() -> None:
            try:
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute("LOCK TABLE inference_turn IN ACCESS EXCLUSIVE MODE")
                    held.set()
                    over.wait(20)
            finally:
                connection.close()

        thread = threading.Thread(target=hang)
        thread.start()
        try:
            await asyncio.to_thread(held.wait, 20)
            await asyncio.sleep(0.2)  # by now the hub waits for the table
            await turnlog.client().delete(f"process:{s.hub.process}")
            for _ in range(200):
                if await turnlog.client().exists(f"process:{s.hub.process}"):
                    break
                await asyncio.sleep(0.02)
            else:
                raise AssertionError("no heartbeat")
        finally:
            over.set()
            await asyncio.to_thread(thread.join)


async def test_what_the_provider_refuses() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        status, message = refusals[asked_kind[0]]
        await reply.whole(json.dumps({"error": message}).encode(), status)

    refusals = {
        "not_funded": (400, "validate request: insufficient balance: your locked balance is 1 0G"),
        "rate_limited": (429, "Rate limit exceeded."),
        "key_rejected": (400, "validate session: session token has been revoked"),
    }
    asked_kind = [""]
    async with stage(script) as s:
        for kind in refusals:
            asked_kind[0] = kind
            turn = await s.ended(await s.ask())
            assert (turn.state, turn.failure, turn.fee_kind) == ("failed", kind, "none")
            assert turn.failure_detail == refusals[kind][1]
        # a key that the provider does not take is forgotten: the next question makes a new one
        with pytest.raises(NotReady) as caught:
            await s.ask()
        assert caught.value.code == "no_key"


async def test_gates_in_the_order_in_which_they_can_be_solved() -> None:
    async with stage(polite) as s:

        async def code() -> str:
            with pytest.raises(NotReady) as caught:
                await s.ask()
            return caught.value.code

        user = s.chat.owner
        await in_db(user.provider_keys.all().delete)()
        assert await code() == "no_key"
        accounts = SubAccount.objects.filter(user=factories.ALICE)
        await in_db(accounts.update)(acknowledged=False)
        assert await code() == "not_acknowledged"
        # exactly the reserve pays for nothing (provider-protocol.md 5.2)
        await in_db(accounts.update)(balance=2 * factories.ONE, pending_refund=factories.ONE)
        assert await code() == "not_funded"
        await in_db(accounts.update)(live=False)
        assert await code() == "not_funded"
        await in_db(Service.objects.update)(tee_signer_acknowledged=False)
        assert await code() == "signer_not_accepted"
        await in_db(Service.objects.update)(removed=True)
        assert await code() == "no_service"
        for bad in ("", "   ", "x" * (opening.MAX_PROMPT_CHARS + 1)):
            with pytest.raises(ChatError):
                await s.ask(bad)
        assert s.upstream.chats == []
        assert await in_db(Turn.objects.count)() == 0


async def test_a_lying_provider_is_seen() -> None:
    async def lying(reply: Reply, asked: Asked) -> None:
        await reply.start("id-1")
        await reply.tokens("The sky is green.")
        reply.upstream.sign("id-1", asked, b"The sky is blue.")
        await reply.end()

    async def wrong_key(reply: Reply, asked: Asked) -> None:
        await reply.start("id-1")
        await reply.tokens("Hello")
        await reply.signed_end("id-1", asked)
        reply.upstream.signatures["id-1"]["signature"] = "0x" + "11" * 65

    async def replay(reply: Reply, asked: Asked) -> None:
        await reply.start("id-1")
        await reply.tokens("Old answer")
        if len(reply.upstream.chats) == 1:
            await reply.signed_end("id-1", asked)
        else:
            await reply.end()

    async with stage(lying) as s:
        turn = await s.ended(await s.ask())
        assert (turn.verdict, turn.verdict_reason) == ("altered", "answer_differs")
        assert turn.signed_response != turn.response_sha256
        await _again(s, wrong_key)
        turn = await s.ended(await s.ask())
        assert turn.verdict == "failed"
        await _again(s, replay)
        first = await s.ended(await s.ask())
        second = await s.ended(await s.ask())
    # the id "id-1" had been used by this provider before: even a matching signature proves nothing
    assert (first.verdict, first.verdict_reason) == ("failed", "reused")
    assert second.verdict in ("failed", "rewritten")
    assert second.verdict_reason == "reused"


async def test_of_two_answers_with_one_id_the_second_that_ends_proves_nothing() -> None:
    """Whichever was asked first, and also where both end at one moment: each alone would be good
    for the signature that there is once."""

    def opened(text: str) -> int:
        chat = conversations.create_chat(owner, factories.PETRA)
        return opening.open_turn(chat, text, process="nobody").turn

    def ended(turn: int, answer_id: str) -> bool | None:
        now = timezone.now()
        return turn_sql.end(turn, state=State.ANSWERED, answer_id=answer_id, ended_at=now)

    def at_once(turns: list[int]) -> list[bool | None]:
        found: list[bool | None] = []
        together(*(lambda pk=pk: found.append(ended(pk, "id-2")) for pk in turns))
        return found

    slow = """
    CREATE FUNCTION slow() RETURNS trigger AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END'
        LANGUAGE plpgsql;
    CREATE TRIGGER slow AFTER UPDATE ON inference_turn FOR EACH ROW EXECUTE FUNCTION slow()
    """
    async with stage(polite) as s:
        owner = s.chat.owner
        first, second, third, fourth = [await in_db(opened)(f"{n}?") for n in range(4)]
        assert await in_db(ended)(second, "id-1") is False
        assert await in_db(ended)(first, "ID-1") is True
        for turn in (first, second):  # judged later nobody knows any more which of them was it
            assert (await in_db(signatures._look_up)(turn))[1]
        await in_db(_execute)(slow)
        try:
            assert sorted(await in_db(at_once)([third, fourth])) == [False, True]
        finally:
            await in_db(_execute)("DROP FUNCTION slow CASCADE")


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


async def test_a_verdict_is_not_taken_back_by_who_asked_earlier_and_heard_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A provider could make its lie *not available* by forgetting the signature in time."""
    fetch, asked, heard = signatures.fetch, asyncio.Event(), asyncio.Event()

    async def forgotten(*_: object) -> object:
        asked.set()
        await heard.wait()
        raise BadStatus(404)

    async with stage(polite) as s:
        turn = await s.ended(await s.ask())
        await in_db(Turn.objects.filter(pk=turn.pk).update)(verdict="pending", signature=None)
        monkeypatch.setattr(signatures, "fetch", forgotten)
        late = asyncio.create_task(signatures.settle(s.hub.client, turn.pk))
        await asyncio.wait_for(asked.wait(), 10)
        monkeypatch.setattr(signatures, "fetch", fetch)
        assert await signatures.settle(s.hub.client, turn.pk) == "verified"
        heard.set()
        assert await late == "verified"
        turn = await s.turn(turn.pk)
        assert (turn.verdict, turn.verdict_reason) == ("verified", "hashes_match")


async def test_a_question_that_was_stored_and_could_not_be_told_of_is_over_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database commits, and its connection breaks before it says so: nothing is sent. The
    conversation must not wait for an answer, nor a token's limit for its cost."""
    store = turn_sql.open_chat_turn

    def cut(*given: Any, **more: Any) -> Any:
        store(*given, **more)
        raise OperationalError("the connection is lost")

    def relayed() -> AccessToken:
        wanted = tokens.Wanted.of({"label": "script", "scopes": ["inference"]})
        made = tokens.create(s.chat.owner, wanted)
        given = {
            "chat_id": choose.relay_chat(s.chat.owner).pk, "token_id": made.row.pk, "fee": 300,
            "endpoint": "chat/completions", "prompt_key": uuid4(), "process": s.hub.process,
            "max_tokens": 9, "input_price": 1, "output_price": 1, "provider": factories.PETRA,
            "serving": factories.INFERENCE, "created_at": timezone.now(),
        }  # fmt: skip
        assert turn_sql.open_relay_turn(given, tokens.digest_of(made.secret))
        made.row.refresh_from_db()
        return made.row

    monkeypatch.setattr(hubs, "BEAT_SECONDS", 0.1)
    async with stage(endless) as s:
        going = await s.ask()
        other = Stage(
            await in_db(conversations.create_chat)(s.chat.owner, factories.PETRA), s.upstream, s.hub
        )
        with monkeypatch.context() as fault:
            fault.setattr(turn_sql, "open_chat_turn", cut)
            with pytest.raises(OperationalError):
                await other.ask()
        token = await in_db(relayed)()
        assert token.spent == 300
        for chat in (other.chat, await in_db(choose.relay_chat)(s.chat.owner)):
            lost = await in_db(lambda chat=chat: chat.turns.get())()
            turn = await s.ended(lost.pk)
            assert (turn.state, turn.failure, turn.fee) == ("failed", "not_sent", 0)
            assert (turn.fee_kind, turn.verdict) == ("none", "not_comparable")
        await in_db(token.refresh_from_db)()
        assert token.spent == 0
        assert not (await s.turn(going)).failure, "somebody writes it"
        # Nor is what is only slow to begin.
        visit = database_sync_to_async

        def late(function: Callable[..., Any]) -> Callable[..., Any]:
            async def visited(*given: Any, **more: Any) -> Any:
                found = await visit(function)(*given, **more)
                if function is opening.open_turn:
                    await asyncio.sleep(0.5)
                return found

            return visited

        monkeypatch.setattr(hubs, "database_sync_to_async", late)
        await _ticked(again := await other.ask("Again?"))
        assert not (await s.turn(again)).failure
        assert len(s.upstream.chats) == 2


async def _again(s: Stage, script: object) -> None:
    s.upstream.script = script  # type: ignore[assignment]
    s.upstream.asked.clear()


async def test_signatures_that_come_late_or_never() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        answer_id = f"id-{len(reply.upstream.chats)}"
        await reply.start(answer_id)
        await reply.tokens("Hello")
        await reply.signed_end(answer_id, asked)
        document = reply.upstream.signatures[answer_id]
        reply.upstream.signatures[answer_id] = 500
        late[answer_id] = document

    late: dict[str, object] = {}
    async with stage(script) as s:
        first = await s.ended(await s.ask(), judged=False)
        for _ in range(200):
            first = await s.turn(first.pk)
            if first.signature_tries:
                break
            await asyncio.sleep(0.05)
        assert first.verdict == "pending", "an error of the provider is not an answer"
        s.upstream.signatures |= late
        assert await in_db(tasks.check_reply)(first.pk) == "verified"
        assert await in_db(tasks.check_reply)(first.pk) == "nothing to do"
        second = await s.ended(await s.ask(), judged=False)
        del s.upstream.signatures[second.answer_id]
        second = await s.ended(second.pk)
        assert (second.verdict, second.verdict_reason) == ("unavailable", "not_found")


async def test_a_missing_signature_can_be_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unsigned(reply: Reply, asked: Asked) -> None:
        await reply.start("id-1")
        await reply.tokens("Hello")
        await reply.signed_end("id-1", asked)
        kept.update(reply.upstream.signatures)
        reply.upstream.signatures.clear()

    kept: dict[str, object] = {}
    async with stage(unsigned) as s:
        turn = await s.ended(await s.ask())
        assert (turn.verdict, turn.verdict_reason) == ("unavailable", "not_found")
        client = AsyncClient()
        await client.aforce_login(s.chat.owner)
        s.upstream.signatures.update(kept)
        with monkeypatch.context() as strict:
            strict.setattr(services, "RECHECKS_PER_MINUTE", 0)
            answer = await client.post(f"/playground/chat/turns/{turn.pk}/recheck")
            assert answer.status_code == 429, "each is a question to the provider"
        path = f"/playground/chat/turns/{turn.pk}"
        answer = await client.post(f"{path}/recheck")
        assert answer.headers["Location"] == f"/playground/chat/{s.chat.pk}#turn-{turn.pk}"
        turn = await s.ended(turn.pk)
        assert turn.verdict == "verified"
        # a program's request has a page that watches for nothing
        again = {"verdict": "unavailable", "verdict_reason": "not_found", "signature": None}
        await Turn.objects.aupdate(**again)
        await Chat.objects.aupdate(medium="relay")
        answer = await client.post(f"{path}/recheck")
        assert answer.headers["Location"] == f"{path}/inspect"
        assert (await Turn.objects.aget()).verdict == "verified"
        await Chat.objects.aupdate(medium="chat")
        # a page of before, whose HTMX would put the page that follows into the answer
        answer = await client.post(f"{path}/recheck", headers={"HX-Request": "true"})
        assert (answer.status_code, answer.headers["HX-Refresh"]) == (204, "true")
        # a verdict that rests on a signature is final
        assert not await in_db(services.reopen_verdict)(turn)
        await hubs.hub().close()


async def test_the_sweep_looks_after_what_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LEFT_ALONE", timedelta())
    assert tasks.sweep.app == celery
    async with stage(polite) as s:
        turn = await s.ended(await s.ask())
        await in_db(Turn.objects.filter(pk=turn.pk).update)(verdict="pending", signature=None)
        assert await in_db(tasks.sweep)() == {"ended": 0, "asked": 1, "purged": 0}
        # One that hangs is asked about again by every sweep: neither do such questions gather in
        # the queue, nor come other turns after them.
        monkeypatch.setattr(tasks, "BATCH", 1)
        await in_db(Turn.objects.filter(pk=turn.pk).update)(signature_tries=9)
        other = await s.ended(await s.ask("Another"))
        await in_db(Turn.objects.filter(pk=other.pk).update)(verdict="pending", signature=None)
        await in_db(tasks.sweep)()
        raw: Any = await turnlog.client().lindex(presence.QUEUE, 0)
        queued = json.loads(raw)["headers"]
        assert queued["task"] == tasks.check_reply.name and queued["expires"]
        assert queued["argsrepr"] == f"({other.pk},)"
        # twenty minutes later, the provider gone: no waiting for ever
        old = timezone.now() - timedelta(minutes=30)
        await in_db(Turn.objects.filter(pk=turn.pk).update)(ended_at=old, url="http://127.0.0.1:9")
        assert await in_db(tasks.check_reply)(turn.pk) == "unavailable"


async def test_thinking_is_told_apart_from_silence() -> None:
    async def thinker(reply: Reply, asked: Asked) -> None:
        await reply.start("id-1")
        for _ in range(3):
            await reply.send(b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n')
            await asyncio.sleep(0.02)
        await reply.tokens("Yes")
        await reply.signed_end("id-1", asked)

    async with stage(thinker) as s:
        turn_id = await s.ask()
        kinds = [e.event["type"] for e in await watched(turn_id)]
        turn = await s.ended(turn_id)
    assert kinds[:4] == ["reasoning"] * 3 + ["delta"]
    assert (turn.reasoning, turn.answer, turn.verdict) == ("hmhmhm", "Yes", "verified")
    assert 40 <= turn.reasoning_ms <= turn.total_ms


async def test_redis_trouble_costs_the_view_but_not_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stage(polite) as s:
        turn_id = await s.ask()
        # somebody else has taken the stream: every further write of the turn is refused
        await turnlog.client().xadd(f"turn:{turn_id}", {b"e": b'{"type":"usage"}'}, id="0-999")
        turn = await s.ended(turn_id)
        # Who watches learns that it has ended all the same, and fetches what is stored.
        monkeypatch.setattr(turnlog, "_BLOCK_MS", 50)
        alice = AsyncClient()
        await alice.aforce_login(s.chat.owner)
        answer: Any = await alice.get(f"/playground/chat/turns/{turn_id}/events")
        async with asyncio.timeout(10):
            told = [piece async for piece in answer.streaming_content]
        ended = json.loads(told[-2].partition(b"data: ")[2])
        assert ended == {"type": "end", "state": "answered", "tokens": 7, "calls": 0}
        assert b'"verified"' in told[-1]
    assert (turn.state, turn.answer, turn.verdict) == ("answered", "One two three", "verified")


async def test_long_answers_in_single_letters_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnlog, "SMALL_ENTRIES", 10)
    writer = turnlog.Writer(987_654_321)
    for _ in range(3000):
        writer.text("x")
        await asyncio.sleep(0)
    writer.event({"type": "verdict", "verdict": "verified"})
    await writer.flush()
    writer.close()
    entries = await watched(987_654_321)
    assert text(entries) == "x" * 3000
    assert len(entries) < 10 + 3000 // turnlog.LARGE_ENTRY_CHARS + 3
    await turnlog.client().delete("turn:987654321")
    await turnlog.close()


async def test_questions_per_minute_are_limited() -> None:
    async with stage(polite) as s:
        for _ in range(opening.QUESTIONS_PER_MINUTE):
            await in_db(opening.spend_limit)(s.chat.owner)
        with pytest.raises(Busy):
            await s.ask()
        assert s.upstream.chats == []


async def test_a_changed_signer_is_asked_about_once() -> None:
    async with stage(polite) as s:
        await s.ended(await s.ask())
        new = factories.address("another signer")
        await in_db(Service.objects.update)(tee_signer=new)
        with pytest.raises(SignerChanged) as caught:
            await s.ask()
        assert (caught.value.signer, len(s.upstream.chats)) == (new, 1)
        with pytest.raises(SignerChanged):  # accepting one key accepts no other
            await s.ask(accept_signer=factories.address("yet another"))
        await s.ended(await s.ask(accept_signer=new))
        turn = await s.ended(await s.ask())
        # whoever signs with the old key now is not whom the chain names
        assert (turn.verdict, turn.verdict_reason) == ("failed", "wrong_signer")


async def test_at_most_four_at_once() -> None:
    async with stage(endless) as s:
        chats = [s.chat] + [
            await in_db(conversations.create_chat)(s.chat.owner, factories.PETRA) for _ in range(4)
        ]
        opened = []
        for chat in chats[:4]:
            s.chat = chat
            opened.append(await s.ask())
        s.chat = chats[4]
        with pytest.raises(Busy):
            await s.ask()
        with pytest.raises(Busy):
            await in_db(conversations.delete_chat)(chats[0])
        for turn_id in opened:
            await s.hub.stop(turn_id, s.hub.process)
        for turn_id in opened:
            await s.ended(turn_id)
        await in_db(conversations.delete_chat)(chats[0])
        with pytest.raises(Chat.DoesNotExist):
            await in_db(access.chat_for)(s.chat.owner, chats[0].pk)
