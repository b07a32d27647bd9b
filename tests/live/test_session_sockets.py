"""An open websocket ends with its session: signed out here or elsewhere, replaced, blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import websockets
from channels.db import database_sync_to_async
from django.contrib.sessions.models import Session
from django.test import Client
from websockets.typing import Origin

from accounts import sockets
from accounts.models import User
from accounts.session_store import name_of
from devnet import accounts as cast
from net import layer
from tests.db.test_keys_lasting import sign_again, signed_in

ALICE, BOB = cast.user(1), cast.user(2)


def cookie(client: Client) -> str:
    return f"sessionid={client.cookies['sessionid'].value}"


def opened(url: str, client: Client | None) -> Any:
    headers = {"Cookie": cookie(client)} if client else {}
    return websockets.connect(
        url.replace("http", "ws", 1) + "/ws/live", origin=Origin(url), additional_headers=headers
    )


async def code_of(connection: Any, seconds: float = 5.0) -> int:
    """The code with which the server closes it in time."""
    await asyncio.wait_for(connection.wait_closed(), seconds)
    return int(connection.close_code)


async def stays(connection: Any) -> None:
    await asyncio.sleep(0.3)
    await asyncio.wait_for(await connection.ping(), 5)


async def test_signing_out_everywhere_closes_every_socket_of_that_person_and_no_other(
    asgi_server: str,
) -> None:
    here, there, bob = [await database_sync_to_async(signed_in)(who) for who in (ALICE, ALICE, BOB)]
    async with (
        opened(asgi_server, here) as first,
        opened(asgi_server, there) as second,
        opened(asgi_server, there) as third,
        opened(asgi_server, bob) as other,
        opened(asgi_server, None) as nobody,
    ):
        await stays(first)
        await database_sync_to_async(here.post)("/account/sign-out-everywhere")
        codes = [await code_of(connection) for connection in (first, second, third)]
        assert codes == [sockets.SIGNED_OUT] * 3  # told: none of them looks by itself so soon
        await stays(other)
        await stays(nobody)
    # The old cookie opens a public socket only: nobody is signed in by it.
    async with opened(asgi_server, there) as again:
        await stays(again)


def sign_out(client: Client) -> None:
    client.post("/account/sign-out")


def end_from_elsewhere(client: Client) -> None:
    other = signed_in(ALICE)
    name = name_of(client.cookies["sessionid"].value)
    row = User.objects.get().sign_ins.get(session_key=name)
    other.post(f"/account/sessions/{row.pk}/end")


def become_another(client: Client) -> None:
    sign_again(client, BOB)


@pytest.mark.parametrize("act", [sign_out, end_from_elsewhere, become_another])
async def test_each_way_to_end_a_session_closes_its_socket(
    asgi_server: str, act: Callable[[Client], None]
) -> None:
    client = await database_sync_to_async(signed_in)(ALICE)
    async with opened(asgi_server, client) as connection:
        await stays(connection)
        await database_sync_to_async(act)(client)
        assert await code_of(connection) == sockets.SIGNED_OUT


async def test_a_fresh_signature_leaves_open_sockets_alone(asgi_server: str) -> None:
    client = await database_sync_to_async(signed_in)(ALICE)
    async with opened(asgi_server, client) as connection:
        await database_sync_to_async(sign_again)(client, ALICE)
        await stays(connection)


def block(client: Client) -> None:
    User.objects.update(is_active=False)


def expire(client: Client) -> None:
    Session.objects.all().delete()


@pytest.mark.parametrize("act", [block, expire])
async def test_an_end_that_nobody_announced_is_noticed(
    asgi_server: str, monkeypatch: pytest.MonkeyPatch, act: Callable[[Client], None]
) -> None:
    for wait in ("FIRST_CHECK", "CHECK_EVERY"):
        monkeypatch.setattr(sockets, wait, 0.2)
    client = await database_sync_to_async(signed_in)(ALICE)
    async with opened(asgi_server, client) as connection:
        await stays(connection)
        await database_sync_to_async(act)(client)
        assert await code_of(connection) == sockets.SIGNED_OUT


async def test_sockets_leave_nothing_behind(asgi_server: str) -> None:
    """Ten sockets that came and went are ten subscriptions less."""
    client = await database_sync_to_async(signed_in)(ALICE)
    for _ in range(10):
        async with opened(asgi_server, client) as connection:
            await stays(connection)
    async with opened(asgi_server, client) as connection:
        await database_sync_to_async(sign_out)(client)
        assert await code_of(connection) == sockets.SIGNED_OUT


async def test_a_socket_ends_whatever_swallows_that_it_was_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A layer that is still connecting does: the place of its person stayed taken."""
    monkeypatch.setattr(layer, "CANCEL_AGAIN", 0.01)

    class Guard(sockets._Guard):
        async def _listen(self) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
            await asyncio.sleep(3600)

    async def leaves(*_: Any) -> Any:
        await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await Guard("a session", 1, leaves, leaves).run(leaves, {})
