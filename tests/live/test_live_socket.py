"""`/ws/live` over real sockets: what a page missed, and how many may stay open."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
import websockets
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from websockets.typing import Origin

from accounts.sockets import TOO_MANY, Doors
from alerts.consumers import InboxConsumer
from inference import turnlog
from ledger import topics
from marketplace import consumers, limits
from tests import factories
from tests.factories import ALICE, BOB, PETRA

PAUL = factories.address("paul")


def opened(url: str, **headers: str) -> Any:
    return websockets.connect(
        url.replace("http", "ws", 1) + "/ws/live", origin=Origin(url), additional_headers=headers
    )


def world(block: int) -> None:
    """Petra's listing and Alice's ledger changed at block 100, Paul's and Bob's at 50."""
    factories.head(indexed_block=block, head_block=block, final_block=block - 1)
    factories.contract()
    for provider, user, changed in ((PETRA, ALICE, 100), (PAUL, BOB, 50)):
        factories.service(provider=provider, block=changed)
        factories.purse(user=user, block=changed)


async def told(socket: Any, **said: Any) -> dict[str, Any] | None:
    """What the server answers to the page's message; None where it has nothing to say."""
    await socket.send(json.dumps({"block": 0, "providers": [], "users": [], **said}))
    try:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 1))
    except TimeoutError:
        return None
    return message


#: What a page says, and what it hears: providers, users and listings.
Heard = tuple[list[str], list[str], list[str]]
SAID: tuple[tuple[dict[str, Any], Heard | None], ...] = (
    ({"block": 99, "providers": [PETRA, PAUL]}, ([PETRA], [], [])),
    (
        {"block": 49, "providers": [PETRA, PAUL], "users": [BOB]},
        (sorted([PAUL, PETRA]), [BOB], []),
    ),
    ({"block": 49, "users": [ALICE]}, ([], [ALICE], [])),
    ({"block": 60, "providers": [PAUL], "users": [BOB]}, None),
    ({"block": 100, "providers": [PETRA]}, None),
    ({"block": 300, "providers": [PETRA]}, None),
    ({"block": -1}, None),
    ({"block": 99, "listings": True}, ([], [], [PETRA])),
    ({"block": 100, "listings": True}, None),
)


async def test_a_page_hears_what_changed_since_its_block(asgi_server: str) -> None:
    await database_sync_to_async(world)(120)

    async def heard(said: dict[str, Any]) -> dict[str, Any] | None:
        async with opened(asgi_server) as socket:
            return await told(socket, **said)

    answers = await asyncio.gather(*(heard(said) for said, _ in SAID))
    for (said, wanted), answer in zip(SAID, answers, strict=True):
        if wanted is None:
            assert answer is None, said
            continue
        assert answer is not None, said
        assert (answer["topic"], answer["block"], answer["more"]) == ("ledger", 120, False), said
        assert (answer["providers"], answer["users"], answer["listings"]) == wanted, said


async def test_a_program_that_names_no_page_hears_the_same(asgi_server: str) -> None:
    await database_sync_to_async(world)(120)
    address = asgi_server.replace("http", "ws", 1)
    async with websockets.connect(f"{address}/ws/live") as socket:
        answer = await told(socket, block=99, providers=[PETRA])
    assert answer is not None and answer["providers"] == [PETRA]
    # The sockets of persons, and other pages, stay refused.
    for path, origin in (("/ws/inbox", None), ("/ws/live", Origin("https://elsewhere.example"))):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(address + path, origin=origin)
        assert refused.value.response.status_code == 403


NONSENSE: tuple[str | bytes, ...] = (
    "",
    "{}",
    "[]",
    "null",
    '{"block": 1',
    '{"block": "1", "providers": [], "users": []}',
    '{"block": true, "providers": [], "users": []}',
    '{"block": 1e3, "providers": [], "users": []}',
    '{"block": 9223372036854775808, "providers": [], "users": []}',
    '{"block": -2, "providers": [], "users": []}',
    '{"block": 1, "providers": {}, "users": []}',
    '{"block": 1, "providers": ["0x"], "users": []}',
    json.dumps({"block": 1, "providers": [PETRA.lower()], "users": []}),
    json.dumps({"block": 1, "providers": [PETRA], "users": [], "more": 1}),
    json.dumps({"block": 1, "providers": [PETRA], "users": [], "listings": 1}),
    json.dumps({"block": 1, "providers": [PETRA] * 201, "users": []}),
    json.dumps({"block": 1, "providers": [], "users": [ALICE, None]}),
    "[" * 10_000,
    " " * 20_000,
    b"\x00\x01",
)


async def test_anything_else_closes_the_socket(asgi_server: str) -> None:
    for text in NONSENSE:
        async with opened(asgi_server) as socket:
            await socket.send(text)
            assert await closed_with(socket) == consumers.NOT_UNDERSTOOD, text[:60]


async def test_a_page_speaks_once(asgi_server: str) -> None:
    await database_sync_to_async(world)(120)
    async with opened(asgi_server) as socket:
        assert await told(socket, block=99, providers=[PETRA])
        await told_again(socket)
    assert socket.close_code == consumers.NOT_UNDERSTOOD


async def told_again(socket: Any) -> None:
    await socket.send(json.dumps({"block": 99, "providers": [PETRA], "users": []}))
    await asyncio.wait_for(socket.wait_closed(), 5)


async def closed_with(socket: Any) -> int:
    await asyncio.wait_for(socket.wait_closed(), 5)
    return int(socket.close_code)


async def settled(expected: int) -> None:
    for _ in range(100):
        if consumers.doors.open.total() == expected:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(dict(consumers.doors.open))


async def test_an_address_and_all_together_may_hold_so_many(
    asgi_server: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Counted by the visitor and not by the proxy; whoever leaves makes room."""
    monkeypatch.setattr(consumers, "doors", Doors(2, 3))
    settings.TRUSTED_PROXIES = type(settings.TRUSTED_PROXIES).parse("1")
    one, other = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "198.51.100.9"}
    async with opened(asgi_server, **one), opened(asgi_server, **one) as second:
        await settled(2)
        async with opened(asgi_server, **one) as third:
            assert await closed_with(third) == TOO_MANY
        async with opened(asgi_server, **other):
            await settled(3)
            async with opened(asgi_server, **other) as fifth:
                assert await closed_with(fifth) == TOO_MANY
        await settled(2)
        await second.close()
        await settled(1)
        async with opened(asgi_server, **one):
            await settled(2)
    await settled(0)


async def test_whoever_is_gone_when_a_message_comes_makes_room(
    asgi_server: str,
) -> None:
    """A message that finds nobody any more ends the consumer before it hears of the end."""
    scope = {
        "type": "websocket", "path": "/ws/live", "headers": [], "client": ("192.0.2.1", 1),
    }  # fmt: skip
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said.put_nowait({"type": "websocket.connect"})

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            raise OSError("the client is gone")  # as uvicorn says it

    before = consumers.doors.open.total()
    running = asyncio.create_task(consumers.LiveConsumer.as_asgi()(scope, said.get, send))
    await settled(before + 1)
    layer: Any = get_channel_layer()
    await layer.group_send(topics.GROUP, {"type": "live.message", "block": 7})
    with pytest.raises(OSError, match="gone"):
        await asyncio.wait_for(running, 5)
    assert consumers.doors.open.total() == before
    assert not consumers.watch._sockets
    kept = layer._get_layer()
    assert not kept.channels, "what nobody reads would be kept for ever"
    assert not kept.groups


async def test_a_message_that_comes_while_somebody_leaves_is_kept_for_nobody(
    asgi_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving takes a moment: what comes meanwhile has been read, and nobody waits any more."""
    scope = {"type": "websocket", "path": "/ws/inbox", "headers": [], "url_route": {}}
    layer: Any = get_channel_layer()
    kept = layer._get_layer()

    async def disconnect(self: Any, code: int) -> None:
        kept.channels[self.channel_name].put_nowait(layer.serialize({"type": "inbox.changed"}))
        for _ in range(3):  # until its reader has taken it
            await asyncio.sleep(0)

    monkeypatch.setattr(InboxConsumer, "disconnect", disconnect)
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said.put_nowait({"type": "websocket.connect"})
    said.put_nowait({"type": "websocket.disconnect", "code": 1001})

    async def send(message: dict[str, Any]) -> None:
        pass

    await asyncio.wait_for(InboxConsumer.as_asgi()(scope, said.get, send), 5)
    assert not kept.channels
    assert not kept.groups


async def test_all_are_told_that_redis_is_away_though_some_are_gone(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(consumers, "WATCH_SECONDS", 0.01)
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    monkeypatch.setattr(turnlog, "_clients", {})
    told: list[int] = []

    def socket() -> consumers.LiveConsumer:
        async def send(message: dict[str, Any]) -> None:
            told.append(message["code"])
            raise OSError("the client is gone")

        made = consumers.LiveConsumer()
        made.base_send = send
        return made

    watch = consumers.Watch()
    for _ in range(3):
        watch.enter(socket())
    assert watch._task is not None
    async with asyncio.timeout(5):
        while len(told) < 3:
            await asyncio.sleep(0.01)
    watch._task.cancel()  # it looks until Redis answers
    assert told == [consumers.TRY_AGAIN] * 3


async def test_a_redis_that_hangs_lets_nobody_in_until_it_answers(
    asgi_server: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """A page shows its banner where connections fail: one that opens each time, hears nothing and
    is closed again would look as if all were well."""
    monkeypatch.setattr(consumers, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(consumers, "watch", consumers.Watch())
    hangs = True

    class Silent:
        async def ping(self) -> None:
            await asyncio.Event().wait()

    found = SimpleNamespace(client=lambda: Silent() if hangs else turnlog.client())
    monkeypatch.setattr(consumers, "turnlog", found)
    async with opened(asgi_server) as socket:
        assert await closed_with(socket) == consumers.TRY_AGAIN
    for _ in range(2):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await opened(asgi_server)
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"]
    hangs = False
    monkeypatch.setattr(consumers, "WATCH_SECONDS", 2.0)  # what answers may be slow to
    async with asyncio.timeout(10):
        while consumers.watch._away:
            await asyncio.sleep(0.02)
    async with opened(asgi_server) as socket:
        assert await told(socket) is None


async def test_sockets_are_opened_only_so_often_and_live_only_so_long(
    asgi_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "LIFETIME", 0.2)
    monkeypatch.setattr(limits, "LIVE", limits.Limit("live-test", per_minute=1, burst=2))
    for expected in (consumers.COME_BACK, consumers.COME_BACK, TOO_MANY):
        async with opened(asgi_server) as socket:
            assert await closed_with(socket) == expected
    await settled(0)
