"""The relay against a real socket: exact hashes, every end, and nothing kept open."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from inference import relay, wire
from inference.relay import Call, Delta, Event, Failed, Finished, Record, Timeouts
from net.addresses import Policy
from net.client import Client
from tests.live.chat_upstream import Asked, Reply, Upstream, closing, token

QUICK = Timeouts(connect=2, first_token=1.0, between_tokens=1.0, whole=20, after_done=0.5)
BODY = wire.request_body(model="m", messages=[wire.Message("user", "hi")], max_tokens=9)
Script = Callable[[Reply, Asked], Awaitable[None]]


async def ask(script: Script, timeouts: Timeouts = QUICK) -> tuple[list[Event], Record, Upstream]:
    record = Record()
    async with Upstream(script) as upstream, Client(Policy(allow_private=True)) as client:
        events = [
            event
            async for event in relay.stream(
                client, Call(upstream.url + "/", "Bearer app-sk-x", BODY), record, timeouts
            )
        ]
    return events, record, upstream


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def failed(events: list[Event]) -> str:
    *_, last = events
    assert isinstance(last, Failed), last
    assert not any(isinstance(e, Finished | Failed) for e in events[:-1])
    return last.failure.kind


async def test_an_answer_with_its_hashes() -> None:
    sent: list[bytes] = []

    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start("abc-1")
        await reply.send(b": hello\n\n")
        await reply.tokens("Good ", "morning", pause=0.02)
        await reply.end()
        sent.append(reply.body)

    events, record, upstream = await ask(script)
    assert text(events) == "Good morning"
    assert [type(e) for e in events] == [Delta] * (len(events) - 1) + [Finished]
    assert record.usage is not None and record.usage.completion_tokens == 7
    assert (record.answer_id, record.complete, record.finish_reason) == ("abc-1", True, "stop")
    assert record.response_sha256 == hashlib.sha256(sent[0]).hexdigest()
    assert record.first_token_seconds is not None and record.first_token_seconds < record.seconds
    (asked,) = upstream.asked
    assert (asked.method, asked.path) == ("POST", "/v1/proxy/chat/completions")
    assert asked.headers["authorization"] == "Bearer app-sk-x"
    assert asked.body == BODY
    assert record.request_sha256 == hashlib.sha256(asked.body).hexdigest()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_any_cut_of_the_bytes_gives_the_same_answer(size: int) -> None:
    stream = (
        token(" ") * 2
        + token("<think>Hm.")
        + token("</think>\n\nGrüße ")
        + token("日本")
        + closing((1, 2))
        + b": bytes after the end\n\n"
    )
    stream += token("Read on") + b"data: no chunk at all\n\n" + closing((9, 9))

    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start()
        for start in range(0, len(stream), size):
            await reply.send(stream[start : start + size])
        await reply.raw(b"0\r\n\r\n")

    events, record, _ = await ask(script)
    assert (text(events), "".join(record.reasoning)) == ("Grüße 日本", "Hm.")
    assert record.usage is not None and record.usage.completion_tokens == 2
    assert record.complete
    assert record.response_sha256 == hashlib.sha256(stream).hexdigest()


async def test_one_read_is_one_delta() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.send(b"".join(token(f"{i} ") for i in range(200)))
        await reply.end()

    events, _, _ = await ask(script)
    assert text(events) == "".join(f"{i} " for i in range(200))
    assert sum(isinstance(e, Delta) for e in events) <= 3


async def test_a_provider_that_does_not_stream() -> None:
    body = json.dumps(
        {
            # nothing says that it ended, and it might be the beginning of <think>
            "choices": [{"message": {"content": "<"}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
    ).encode()

    async def script(reply: Reply, asked: Asked) -> None:
        await reply.whole(body, Content_Type="application/json", ZG_Res_Key="k")

    events, record, _ = await ask(script)
    assert text(events) == "<"
    assert isinstance(events[-1], Finished)
    assert record.complete and record.response_sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error":"validate request: insufficient balance: your locked"}', "not_funded"),
        (400, b'{"error":"validate session: session token expired"}', "key_rejected"),
        (429, b'{"error":"Rate limit exceeded."}', "rate_limited"),
        (500, b'{"error":"Internal Server Error"}', "provider_error"),
        (404, b"404 page not found", "refused"),
        (302, b"", "provider_error"),
    ],
)
async def test_refusals(status: int, body: bytes, kind: str) -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.whole(body, status, Location="http://127.0.0.1:9/", Retry_After="8")

    events, record, upstream = await ask(script)
    assert failed(events) == kind
    assert isinstance(events[-1], Failed) and events[-1].failure.status == status
    assert not record.complete
    assert len(upstream.asked) == 1


async def test_every_way_to_end_too_early() -> None:
    async def silent(reply: Reply, asked: Asked) -> None:
        await asyncio.sleep(5)

    async def only_comments(reply: Reply, asked: Asked) -> None:
        await reply.start()
        for _ in range(60):
            await reply.send(b": still here\n\n")
            await asyncio.sleep(0.05)

    async def stalls(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.tokens("Half")
        await asyncio.sleep(5)

    async def comments_forever(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.tokens("Half")
        for _ in range(60):
            await reply.send(b": still here\n\n")
            await asyncio.sleep(0.05)

    async def resets(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.tokens("Half", pause=0.05)
        reply.abort()

    async def hangs_up(reply: Reply, asked: Asked) -> None:
        """It has the whole request: that nothing was sent or charged would be a lie."""
        linger = struct.pack("ii", 1, 0)
        reply.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        reply.abort()

    async def ends_without_mark(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.tokens("Half")
        await reply.raw(b"0\r\n\r\n")

    async def error_inside(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.tokens("Half")
        await reply.send(b'data: {"error":{"message":"worker died"}}\n\n')
        await asyncio.sleep(1)

    async def not_json(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.tokens("Half", pause=0.05)
        await reply.send(b"data: <html>\n\n")
        await asyncio.sleep(1)

    async def no_line_end(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.tokens("Half", pause=0.05)
        for _ in range(wire.MAX_EVENT_BYTES // 1000 + 2):
            await reply.send(b"x" * 1000)

    async def endless(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.tokens("Half", pause=0.05)
        while True:
            await reply.send(token("x" * 60_000))

    for script, kind, kept in (
        (silent, "slow_start", ""),
        (only_comments, "slow_start", ""),
        (stalls, "stalled", "Half"),
        (comments_forever, "stalled", "Half"),
        (resets, "cut_off", "Half"),
        (hangs_up, "cut_off", ""),
        (ends_without_mark, "cut_off", "Half"),
        (error_inside, "provider_error", "Half"),
        (not_json, "bad_answer", "Half"),
        (no_line_end, "bad_answer", "Half"),
        (endless, "too_large", "Half"),
    ):
        events, record, _ = await ask(script)
        assert failed(events) == kind, script.__name__
        assert text(events).startswith(kept) and "".join(record.text).startswith(kept)
        # only an answer that HTTP ended properly can be compared
        assert record.complete == (script is ends_without_mark), script.__name__


async def test_a_mark_without_end_still_finishes() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.tokens("Hi")
        await reply.send(closing(None))
        await asyncio.sleep(5)

    events, record, _ = await ask(script)
    assert isinstance(events[-1], Finished)
    assert not record.complete, "the provider may have sent more"


async def test_stopping_closes_the_connection_within_one_token() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.tokens(*["tick "] * 400, pause=0.02)

    record = Record()
    async with Upstream(script) as upstream, Client(Policy(allow_private=True)) as client:
        events = relay.stream(client, Call(upstream.url, "k", BODY), record, Timeouts())
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Delta) and len(record.text) == 5:
                    break
        for _ in range(50):
            if upstream.closed_early:
                break
            await asyncio.sleep(0.02)
        assert upstream.closed_early == 1
    assert "".join(record.text) == "tick " * 5
    assert not record.complete
    assert record.response_sha256 == hashlib.sha256(token("tick ") * 5).hexdigest()


async def test_where_it_may_not_connect() -> None:
    record = Record()
    async with Client(Policy()) as client:
        for url in ("http://127.0.0.1:8080", "file:///etc/passwd", "javascript:alert(1)"):
            events = [e async for e in relay.stream(client, Call(url, "k", BODY), record, QUICK)]
            assert failed(events) == "blocked_address"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with Client(Policy(allow_private=True)) as client:
            events = [e async for e in relay.stream(client, Call(url, "k", BODY), record, QUICK)]
            assert failed(events) == "unreachable"


async def test_ids_that_are_not_ids_are_dropped() -> None:
    for value, expected in (("../../x", ""), ("a b", ""), ("x" * 200, ""), ("Ab-9_.z", "Ab-9_.z")):

        async def script(reply: Reply, asked: Asked, value: str = value) -> None:
            await reply.start(value)
            await reply.end()

        _, record, _ = await ask(script)
        assert record.answer_id == expected
