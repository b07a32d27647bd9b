"""Websockets and `/v1`, the doors beside Django's paths: who gets which answer, by the lines `WS`
and `V1` of tests/db/permissions.txt, and what each socket does with noise."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import unquote

import pytest
import requests
import websockets
from websockets.typing import Origin

from accounts import tokens
from accounts.models import User
from inference.openai import app, asks, choose, listing
from marketplace.logs import WithRequest
from marketplace.routing import websocket_urlpatterns
from tests import factories
from tests.db.permission_world import VISITORS, World
from tests.db.test_permissions import table

#: Longer than any page's message, shorter than what the server lets in (--ws-max-size).
LONG = "x" * 200_000


@pytest.fixture
def world(
    asgi_server: str, settings: Any, monkeypatch: pytest.MonkeyPatch, quick_passwords: None
) -> World:
    settings.CHAIN_RPC_URLS = ("http://127.0.0.1:9",)
    monkeypatch.setattr(listing, "_known", (0.0, []))
    app.relay.forget()
    return World()


def lines(method: str) -> dict[str, tuple[str, ...]]:
    return {route: said for (kind, route), said in table().items() if kind == method}


def wrong(seen: dict[str, list[str]], wanted: dict[str, tuple[str, ...]], method: str) -> str:
    """The lines as they would have to be; "" where they are so."""
    different = [route for route in seen if tuple(seen[route]) != wanted.get(route)]
    gone = [f"gone: {route}" for route in wanted if route not in seen]
    said = {r: seen[r] if len(set(seen[r])) > 1 else seen[r][:1] for r in different}
    return "\n".join([*gone, *(f"{method} {route} {' '.join(said[route])}" for route in said)])


# --- websockets -----------------------------------------------------------------------------------


def sockets(world: World) -> dict[str, str]:
    """Every pattern, and the path of Alice's thing there."""
    given = {"chat": world.given["playground/chat|chat"], "task": world.given["task_id"]}
    found = {}
    for pattern in websocket_urlpatterns:
        route = path = str(pattern.pattern)
        for name, value in given.items():
            path = path.replace(f"<uuid:{name}>", str(value))
        assert "<" not in path, f"no example of {route}"
        found[route] = f"/{path}"
    return found


def opened(server: str, path: str, session: str = "", origin: str = "") -> Any:
    headers = {"Cookie": f"sessionid={session}"} if session else {}
    return websockets.connect(
        server.replace("http", "ws", 1) + path,
        origin=Origin(origin or server),
        additional_headers=headers,
        proxy=None,
    )


async def met(server: str, path: str, session: str = "", origin: str = "") -> str:
    """`open`, the status of a refusal, or the code of a socket that is closed at once."""
    try:
        async with opened(server, path, session, origin) as socket:
            return "open" if await settled(socket) else str(socket.close_code)
    except websockets.InvalidStatus as refused:
        return str(refused.response.status_code)


async def settled(socket: Any) -> bool:
    """Whether it stands: several pings come back, each after whatever the server did before."""
    try:
        for _ in range(5):
            await (await socket.ping())
            await asyncio.sleep(0.02)
    except websockets.ConnectionClosed:
        return False
    return True


async def test_every_socket_opens_for_whom_the_table_says(asgi_server: str, world: World) -> None:
    sessions = {n: c["sessionid"].value for n, c in world.cookies.items() if "sessionid" in c}
    seen: dict[str, list[str]] = {}
    for route, path in sockets(world).items():
        seen[route] = [await met(asgi_server, path, sessions.get(who, "")) for who in VISITORS]
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
            for who in VISITORS:
                assert await met(asgi_server, path, sessions.get(who, ""), origin) == "403", route
    assert not (found := wrong(seen, lines("WS"), "WS")), f"not as in permissions.txt:\n{found}"


async def test_where_no_socket_is_the_door_is_shut(asgi_server: str) -> None:
    for path in ("/", "/ws/", "/ws/nothing", "/ws/chat/1", "/ws/live/", "/v1/models"):
        assert await met(asgi_server, path) == "403", path


@pytest.mark.parametrize("noise", [LONG, b"\x00" * 200_000, "\x00", "[" * 50_000])
async def test_noise_closes_every_socket(
    asgi_server: str, world: World, noise: str | bytes
) -> None:
    session = world.cookies["user"]["sessionid"].value
    for route, path in sockets(world).items():
        async with opened(asgi_server, path, session) as socket:
            await socket.send(noise)
            await socket.wait_closed()
            assert socket.close_code == 4400, route


async def test_no_socket_listens_for_ever(asgi_server: str, world: World) -> None:
    """Messages that each would be all right, one after the other."""
    session = world.cookies["user"]["sessionid"].value
    chat = f'{{"type":"stop","turn":{world.given["turn"]}}}'
    harmless = {"ws/chat/<uuid:chat>": chat}
    live = '{"block":-1,"providers":[],"users":[]}'
    for route, path in sockets(world).items():
        async with opened(asgi_server, path, session) as socket:
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    await socket.send(harmless.get(route, live))
                    await asyncio.sleep(0)
            assert socket.close_code in (4400, 4429), route


# --- /v1 ------------------------------------------------------------------------------------------


def doors(world: World) -> dict[str, str]:
    """Every endpoint of `/v1` as the table has it, with Alice's request in it."""
    turn = world.turn_of(choose.relay_chat(world.alice)).pk
    return {
        **{f"POST:{endpoint}": endpoint for endpoint in asks.ENDPOINTS},
        "GET:models": "models",
        "GET:models/{id}": f"models/{world.given['model']}@{factories.PETRA}",
        "GET:verifications/{id}": f"verifications/{turn}",
    }


def secret(user: User) -> str:
    wanted = {"label": "job", "scopes": ["inference", "read"], "per_minute": 600}
    return tokens.create(user, tokens.Wanted.of(wanted)).secret


def test_every_door_of_the_relay_answers_as_the_table_says(asgi_server: str, world: World) -> None:
    keys = {name: secret(user) for name, user in world.users.items()}
    seen: dict[str, list[str]] = {}
    for name, path in doors(world).items():
        method, seen[name] = name.partition(":")[0], []
        for who in VISITORS:
            headers = {"Authorization": f"Bearer {keys[who]}"} if who in keys else {}
            answer = requests.request(
                method, f"{asgi_server}/v1/{path}", headers=headers, data=b"", timeout=20
            )
            seen[name].append(str(answer.status_code))
            assert answer.headers["x-request-id"] and answer.headers["cache-control"] == "no-store"
            other = "GET" if method == "POST" else "POST"
            turned = requests.request(other, f"{asgi_server}/v1/{path}", timeout=20)
            assert turned.status_code == 405, name
            assert turned.headers["allow"] == method.replace("GET", "GET, HEAD")
            if method == "GET":  # HEAD is the same without a body (RFC 9110, 9.3.2)
                url = f"{asgi_server}/v1/{path}"
                head = requests.head(url, headers=headers, timeout=20)
                assert (head.status_code, head.content) == (answer.status_code, b""), name
            # A session is nobody's here, and no page of another site may read an answer.
            cookie = {"sessionid": world.cookies["user"]["sessionid"].value}
            asked = requests.request(method, f"{asgi_server}/v1/{path}", cookies=cookie, timeout=20)
            assert asked.status_code == 401, name
            assert "access-control-allow-origin" not in asked.headers
    assert not (found := wrong(seen, lines("V1"), "V1")), f"not as in permissions.txt:\n{found}"


def test_what_the_relay_writes_into_the_log_carries_the_id_of_its_answer(
    asgi_server: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Also lines of the task that goes on behind the request."""
    caplog.handler.addFilter(WithRequest())
    headers = {"Authorization": f"Bearer {secret(world.alice)}", "X-Request-ID": "mine-and-only"}
    body = {
        "model": f"{unquote(world.given['model'])}@{factories.PETRA}",
        "messages": [{"role": "user", "content": "hi"}],
    }
    with caplog.at_level("INFO", logger="site.requests"):
        answer = requests.post(
            f"{asgi_server}/v1/chat/completions", json=body, headers=headers, timeout=20
        )
        line = f"POST /v1/chat/completions {answer.status_code}"
        deadline = time.monotonic() + 20  # it is written when the answer is out
        while line not in caplog.messages and time.monotonic() < deadline:
            time.sleep(0.01)
    assert answer.headers["x-request-id"] == "mine-and-only"
    said = {r.getMessage(): vars(r)["request_id"] for r in caplog.records}
    assert said[line] == "mine-and-only"
    assert not any("Bearer" in line or "zgm_" in line for line in said)
