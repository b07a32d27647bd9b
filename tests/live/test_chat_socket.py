"""`/ws/chat/{id}` over a real socket: who may open it, what it says, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import pytest
import websockets
from channels.db import database_sync_to_async
from django.contrib.sessions.models import Session
from django.test import Client

from accounts import sockets
from accounts.models import User
from inference import consumers, sessions, signatures, turnlog, views_turns
from inference.models import Chat, Turn
from ledger.models import Service
from tests import factories
from tests.db.chat_world import make_key, world
from tests.db.test_chat_hostile import _sql
from tests.db.test_chat_tools import calling
from tests.db.test_page_errors import held_while_sent
from tests.live.chat_upstream import SIGNER, Asked, Reply, ThreadedUpstream, Upstream


async def provider(reply: Reply, asked: Asked) -> None:
    if b'"tools"' in asked.body:
        await calling(reply, asked)
        return
    await reply.start("id-1")
    if b"three and no more" in asked.body:
        await reply.tokens(*["tick "] * 3)
        await asyncio.Event().wait()
    while b"without end" in asked.body:
        await reply.tokens("tick ", pause=0.02)
    if b"slowly" in asked.body:
        await reply.tokens(*["tick "] * 500, pause=0.02)
    await reply.tokens("One ", "two ", "three", pause=0.02)
    await reply.signed_end("id-1", asked)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with ThreadedUpstream(provider) as started:
        yield started


@pytest.fixture
def chat(asgi_server: str, upstream: Upstream) -> Chat:
    return world(upstream.url)


def cookie(user: User) -> str:
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


class Socket:
    """One browser's end."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def say(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self.connection.recv(), 10))
        return message

    async def until(self, kind: str) -> list[dict[str, Any]]:
        heard = [await self.hear()]
        while heard[-1]["type"] != kind:
            heard.append(await self.hear())
        return heard


@contextlib.asynccontextmanager
async def opened(server: str, chat: Chat, user: User, origin: str = "") -> AsyncIterator[Socket]:
    header = {"Cookie": await database_sync_to_async(cookie)(user), "Origin": origin or server}
    url = f"{server.replace('http', 'ws', 1)}/ws/chat/{chat.pk}"
    async with websockets.connect(url, additional_headers=header, proxy=None) as connection:
        yield Socket(connection)


async def test_ask_watch_and_resume(asgi_server: str, chat: Chat) -> None:
    async with opened(asgi_server, chat, chat.owner) as socket:
        key = str(uuid4())
        await socket.say(type="prompt", key=key, text="Hello")
        first = await socket.hear()
        assert (first["type"], first["key"]) == ("turn", key)
        heard = await socket.until("verdict")
    turn = first["turn"]
    assert [m["seq"] for m in heard] == list(range(1, len(heard) + 1))
    assert "".join(m.get("text", "") for m in heard) == "One two three"
    assert heard[-1]["verdict"] == "verified"
    # another device, from the middle; both spellings of the request
    async with opened(asgi_server, chat, chat.owner) as socket:
        await socket.say(resume=turn, after=1)
        assert await socket.until("verdict") == heard[1:]
        await socket.say(type="resume", turn=turn, after=0)
        assert await socket.until("verdict") == heard
        # the same question again is the same turn, not a second charge
        await socket.say(type="prompt", key=key, text="Hello")
        assert (await socket.hear())["turn"] == turn
        # a database that is away is no fault of the page's: it comes back by itself
        await database_sync_to_async(_sql)("ALTER TABLE inference_turn RENAME TO away")
        try:
            await socket.say(resume=turn, after=1)
            with pytest.raises(websockets.ConnectionClosed):
                await socket.until("never")
        finally:
            await database_sync_to_async(_sql)("ALTER TABLE away RENAME TO inference_turn")
        assert socket.connection.close_code == 1012
    assert await Turn.objects.acount() == 1


@pytest.mark.parametrize("question", ["without end", "three and no more"])
async def test_stop_takes_effect_while_the_answer_streams(
    asgi_server: str, chat: Chat, upstream: Upstream, question: str
) -> None:
    """At once: in the middle of a stream of tokens, and when the provider sends no other one."""
    async with opened(asgi_server, chat, chat.owner) as socket:
        await socket.say(type="prompt", key=str(uuid4()), text=question)
        turn = (await socket.hear())["turn"]
        shown = ""
        while len(shown) < len("tick tick tick "):
            shown += (await socket.hear()).get("text", "")
        await socket.say(type="stop", turn=turn)
        *late, end = await socket.until("end")
    assert end["state"] == "stopped"
    shown += "".join(message.get("text", "") for message in late)
    kept = await Turn.objects.select_related("chat").aget(pk=turn)
    assert (kept.answer, kept.state) == (shown, "stopped")
    if question == "three and no more":
        assert shown == "tick tick tick ", "stop waits for no further token"
    async with asyncio.timeout(30):
        while not upstream.closed_early:  # the provider learns that nobody reads on
            await asyncio.sleep(0.02)
    assert upstream.closed_early == 1


async def test_a_closed_page_does_not_end_the_answer(asgi_server: str, chat: Chat) -> None:
    async with opened(asgi_server, chat, chat.owner) as socket:
        await socket.say(type="prompt", key=str(uuid4()), text="Hello")
        turn = (await socket.hear())["turn"]
    async with opened(asgi_server, chat, chat.owner) as socket:
        await socket.say(type="resume", turn=turn, after=0)
        heard = await socket.until("verdict")
    assert "".join(m.get("text", "") for m in heard) == "One two three"


async def test_who_may_open_it(asgi_server: str, chat: Chat) -> None:
    bob = await database_sync_to_async(User.objects.for_address)(factories.BOB)
    for user, origin in (
        (bob, ""),
        (chat.owner, "https://evil.example"),
        (chat.owner, "null"),
        (chat.owner, "http://127.0.0.1:1"),  # cookies know no ports
        (chat.owner, asgi_server.replace("http", "https", 1) + ".evil.example"),
    ):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with opened(asgi_server, chat, user, origin):
                pass
        assert refused.value.response.status_code == 403
    url = f"{asgi_server.replace('http', 'ws', 1)}/ws/chat/"
    for path in (f"{chat.pk}", f"{uuid4()}", "1"):
        with pytest.raises((websockets.InvalidStatus, websockets.InvalidMessage)):
            async with websockets.connect(url + path, origin=asgi_server, proxy=None):  # type: ignore[arg-type]
                pass


FRAMES: tuple[str | bytes, ...] = (
    "",
    "hello",
    "[]",
    "{}",
    '{"type":"nonsense"}',
    '{"type":"prompt","text":"x"}',
    '{"type":"prompt","key":"not-a-uuid","text":"x"}',
    '{"type":"prompt","key":7,"text":"x"}',
    '{"type":"stop","turn":true}',
    '{"type":"stop","turn":"1"}',
    '{"type":"stop","turn":999999999}',
    '{"type":"stop","turn":99999999999999999999999999}',
    '{"type":"resume","turn":1,"after":-1}',
    '{"resume":1,"after":1.5}',
    '{"type":"prompt","key":"00000000-0000-0000-0000-000000000000","text":"x","provider":[]}',
    '{"a":' * 5000 + "1" + "}" * 5000,
    '{"type":"prompt","text":"' + "x" * 60_000 + '"}',
    b"\x00\x01",
)


async def test_unknown_input_closes_with_a_reason(asgi_server: str, chat: Chat) -> None:
    for frame in FRAMES:
        async with opened(asgi_server, chat, chat.owner) as socket:
            await socket.connection.send(frame)
            with pytest.raises(websockets.ConnectionClosed):
                await socket.hear()
            told = socket.connection.close_code, bool(socket.connection.close_reason)
            assert told == (4400, True), frame[:60]


async def test_limits_and_refusals(asgi_server: str, chat: Chat) -> None:
    async with opened(asgi_server, chat, chat.owner) as socket:
        key = str(uuid4())
        await socket.say(type="prompt", key=key, text="   ")
        assert await socket.hear() == {
            "type": "error",
            "key": key,
            "code": "bad_prompt",
            "sentence": "Write a question first.",
        }
        for provider in (factories.CHARLIE, "0x\x00", "0x" + "0" * 40):
            await socket.say(type="prompt", key=str(uuid4()), text="x", provider=provider)
            assert (await socket.hear())["code"] == "no_service"
        with pytest.raises(websockets.ConnectionClosed):
            for _ in range(60):
                await socket.say(type="prompt", key=str(uuid4()), text=" ")
                await socket.hear()
        assert socket.connection.close_code == 4429


async def test_answers_that_wait_for_their_signatures_close_no_socket(
    asgi_server: str, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_WATCHED", 1)
    monkeypatch.setattr(signatures, "AT_ONCE", (1.0,))
    async with opened(asgi_server, chat, chat.owner) as socket:
        for question in ("Hello", "And then?"):
            await socket.say(type="prompt", key=str(uuid4()), text=question)
            assert (await socket.hear())["type"] == "turn"
            await socket.until("end")
        assert (await socket.hear())["type"] == "verdict"


@pytest.mark.parametrize("held", ["people", "networks"])
async def test_one_person_does_not_hold_all_sockets(
    asgi_server: str, chat: Chat, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    """Nor does one network address, however many wallets it has."""
    monkeypatch.setattr(sockets, held, sockets.Doors(2, 100))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(opened(asgi_server, chat, chat.owner))
        async with opened(asgi_server, chat, chat.owner) as socket:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.hear()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4429
    async with asyncio.timeout(30):
        while sockets.people.open or sockets.networks.open:  # room again
            await asyncio.sleep(0.02)


async def test_signing_out_ends_what_an_open_socket_may_spend(
    asgi_server: str, chat: Chat, upstream: Upstream
) -> None:
    async with opened(asgi_server, chat, chat.owner) as socket:
        await database_sync_to_async(Session.objects.all().delete)()
        await socket.say(type="prompt", key=str(uuid4()), text="Hello")
        with pytest.raises(websockets.ConnectionClosed):
            await socket.hear()
        assert socket.connection.close_code == 4401
    assert upstream.chats == []


async def test_the_same_as_server_sent_events(asgi_server: str, chat: Chat) -> None:
    async with opened(asgi_server, chat, chat.owner) as socket:
        await socket.say(type="prompt", key=str(uuid4()), text="Hello")
        turn = (await socket.hear())["turn"]
        heard = await socket.until("verdict")
    path = f"{asgi_server}/playground/chat/turns/{turn}/events"
    headers = {"Cookie": await database_sync_to_async(cookie)(chat.owner), "Last-Event-ID": "1"}
    async with aiohttp.ClientSession() as session:
        async with session.get(path, headers=headers) as answer:
            assert answer.content_type == "text/event-stream"
            events = (await answer.text()).strip().split("\n\n")
        async with session.get(path) as answer:
            assert answer.status == 404
    # Whoever listens for minutes keeps no connection to the database from the others.
    assert await held_while_sent(urlsplit(path).path, headers["Cookie"]) == {False}
    assert [e.split("\n")[0] for e in events] == [f"id: {m['seq']}" for m in heard[1:]]
    assert [json.loads(e.split("data: ", 1)[1]) for e in events] == [
        {k: v for k, v in m.items() if k not in ("turn", "seq")} for m in heard[1:]
    ]


async def test_forms_ask_where_no_script_runs(
    asgi_server: str, upstream: Upstream, chat: Chat
) -> None:
    """A question, and the results of what its answer calls, as a browser sends forms by itself."""
    tool = [{"type": "function", "function": {"name": "get_weather"}}]
    settings = {"max_tokens": "64", "tools": json.dumps(tool), "tool_choice": "auto"}
    jar = {"Cookie": await database_sync_to_async(cookie)(chat.owner) + f"; csrftoken={'c' * 32}"}
    headers = {**jar, "Origin": asgi_server, "Accept": "text/html"}
    path = f"{asgi_server}/playground/chat/{chat.pk}"

    async def send(session: aiohttp.ClientSession, **form: str | list[str]) -> Turn:
        form = {"csrfmiddlewaretoken": "c" * 32, "text": "", **settings, **form}
        given = [(k, x) for k, v in form.items() for x in ([v] if isinstance(v, str) else v)]
        async with session.post(f"{path}/send", data=given, allow_redirects=False) as answer:
            assert (answer.status, answer.headers.get("Location")) == (
                302, f"/playground/chat/{chat.pk}#composer"
            )  # fmt: skip
        asked = await Turn.objects.order_by("-pk").afirst()
        assert asked is not None
        async with asyncio.timeout(20):
            async for _ in turnlog.batches(asked.pk):
                pass
        return await Turn.objects.aget(pk=asked.pk)

    async with aiohttp.ClientSession(headers=headers) as session:
        called = await send(session, text="How is the weather?")
        assert [one.name for one in called.calls] == ["get_weather", "get-time"]
        async with session.get(path) as page:
            assert 'name="result"' in await page.text()
        told = await send(session, called=str(called.pk), result=["rain\r\nall day", "noon"])
        async with session.get(path) as page:
            assert "It rains." in await page.text()
    assert (told.state, told.verdict) == ("answered", "verified")
    said = json.loads(upstream.chats[-1].body)["messages"][-2:]
    assert [(x["role"], x["content"]) for x in said] == [
        ("tool", "rain\nall day"), ("tool", "noon"),
    ]  # fmt: skip


async def test_a_form_that_comes_twice_asks_once(asgi_server: str, chat: Chat) -> None:
    jar = {"Cookie": await database_sync_to_async(cookie)(chat.owner) + f"; csrftoken={'c' * 32}"}
    headers = {**jar, "Origin": asgi_server, "Accept": "text/html"}
    given = {"csrfmiddlewaretoken": "c" * 32, "provider": factories.PETRA, "key": str(uuid4())}
    async with aiohttp.ClientSession(asgi_server, headers=headers) as session:

        async def post(path: str, text: str) -> tuple[int, str]:
            more = {**given, "text": text}
            async with session.post(path, data=more, allow_redirects=False) as answer:
                return answer.status, answer.headers.get("Location", "")

        start = "/playground/chat/start"
        one, other = await asyncio.gather(post(start, "Hello"), post(start, " Hello "))
        assert one == other and one[0] == 302
        assert (await post(f"{one[1]}/send", "Hello"))[0] == 302
        assert (await post(f"{one[1]}/send", "Something else"))[0] == 400  # gone back to
        assert 'name="key" value="' in await (await session.get(one[1])).text()
        given["keep"] = "no"  # another choice there is another conversation
        assert (await post(start, "Hello"))[1] != one[1]
    async for asked in Turn.objects.all():
        async for _ in turnlog.batches(asked.pk):
            pass
    assert await Chat.objects.acount() == 3 and await Turn.objects.acount() == 2


async def test_an_event_stream_ends_with_its_session_and_its_line_stays_open(
    asgi_server: str, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_turns, "QUIET_SECONDS", 0.005)
    monkeypatch.setattr(sessions, "EVERY", 0.2)
    async with opened(asgi_server, chat, chat.owner) as socket:
        await socket.say(type="prompt", key=str(uuid4()), text="slowly")
        turn = (await socket.hear())["turn"]
        header = {"Cookie": await database_sync_to_async(cookie)(chat.owner)}
        path = f"{asgi_server}/playground/chat/turns/{turn}/events"
        async with aiohttp.ClientSession() as http, http.get(path, headers=header) as answer:
            lines = [await answer.content.readline() for _ in range(60)]
            assert b": still being written\n" in lines
            # Whichever comes first: the sign of life waits no longer than the first word.
            assert next(line for line in lines if line.startswith(b"id:")) == b"id: 1\n"
            await Session.objects.all().adelete()
            rest = await asyncio.wait_for(answer.content.read(), 30)
        assert b'"end"' not in rest, "the stream ended before its answer"


async def test_watchers_of_one_answer_are_limited(
    asgi_server: str, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnlog, "MAX_WATCHERS", 2)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(opened(asgi_server, chat, chat.owner)) for _ in range(3)
        ]
        await sockets[0].say(type="prompt", key=str(uuid4()), text="slowly")
        turn = (await sockets[0].hear())["turn"]
        await sockets[1].say(type="resume", turn=turn, after=0)
        assert (await sockets[1].hear())["type"] == "delta"
        await sockets[2].say(type="resume", turn=turn, after=0)
        with pytest.raises(websockets.ConnectionClosed):
            await sockets[2].hear()
        assert sockets[2].connection.close_code == 4429
        # who resumes anew gives its own place back first
        await sockets[1].say(type="resume", turn=turn, after=0)
        assert (await sockets[1].hear())["type"] == "delta"
        await sockets[0].say(type="stop", turn=turn)
        await sockets[1].until("end")


async def test_two_providers_answer_side_by_side(asgi_server: str, chat: Chat) -> None:
    """One question, two turns that share their place; the first goes on unless one chooses."""

    def second() -> None:
        url = Service.objects.get().url
        factories.service(factories.CHARLIE, url=url, tee_signer=SIGNER)
        factories.sub_account(provider=factories.CHARLIE, acknowledged=True)
        make_key(chat.owner, factories.CHARLIE)

    await database_sync_to_async(second)()
    async with opened(asgi_server, chat, chat.owner) as socket:
        key = str(uuid4())
        await socket.say(type="prompt", key=key, text="Both?", also=factories.CHARLIE)
        turns = (await socket.hear())["turns"]
        assert len(turns) == 2
        ends = 0
        while ends < 2:
            ends += (await socket.hear())["type"] == "verdict"
        await socket.say(type="prompt", key=key, text="Both?", also=factories.CHARLIE)
        again = await socket.hear()
        while again["type"] != "turn":
            again = await socket.hear()
        assert again["turns"] == turns, "asked once each"
        # the second cannot be asked: the first answers, and it is said why
        await socket.say(type="prompt", key=str(uuid4()), text="More", also=factories.BOB)
        alone = await socket.hear()
        while alone["type"] != "turn" or alone["turns"] == turns:
            alone = await socket.hear()
        assert len(alone["turns"]) == 1 and "offers no chat service" in alone["refused"]
        await socket.until("verdict")
    # and where no websocket gets through
    path = f"{asgi_server}/playground/chat/{chat.pk}/send"
    jar = await database_sync_to_async(cookie)(chat.owner) + f"; csrftoken={'c' * 32}"
    headers = {"Cookie": jar, "Origin": asgi_server, "Accept": "application/json"}
    form = {"csrfmiddlewaretoken": "c" * 32, "text": "Again", "also": factories.BOB}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(path, data=form) as answer,
    ):
        said = await answer.json()
    assert len(said["turns"]) == 1 and said["refused"] == alone["refused"]
    rows = [row async for row in Turn.objects.order_by("pk")]
    assert [row.provider for row in rows] == [
        factories.PETRA, factories.CHARLIE, factories.PETRA, factories.PETRA,
    ]  # fmt: skip
    assert rows[0].batch == rows[1].batch and rows[0].parent_id is rows[1].parent_id is None
    assert rows[2].parent_id == rows[0].pk, "the conversation went on with the first"
