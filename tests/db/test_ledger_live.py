"""Open pages hear about new rows, through the real channel layer."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from celery import Celery
from channels.layers import channel_layers, get_channel_layer
from channels_redis.utils import create_pool
from kombu.exceptions import OperationalError
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from ledger import topics
from net import stores


async def test_pages_hear_of_new_blocks() -> None:
    layer: Any = get_channel_layer()
    pages = [await layer.new_channel() for _ in range(2)]
    for page in pages:
        await layer.group_add(topics.GROUP, page)
    many = {f"0x{i:040x}" for i in range(topics.MAX_ADDRESSES + 5)}
    await sync_to_async(topics.publish_ledger)(7, 5, many, {"0xB"}, {"0xB"})
    for page in pages:
        message = await asyncio.wait_for(layer.receive(page), 5)
        assert (message["type"], message["topic"]) == ("live.message", "ledger")
        assert (message["block"], message["final_block"]) == (7, 5)
        assert len(message["users"]) == topics.MAX_ADDRESSES
        assert message["more"] is True
        assert message["providers"] == message["listings"] == ["0xB"]


async def test_who_listens_goes_on_where_the_server_vanished(settings: Any) -> None:
    """No power, or a cut line: nobody closes the connection, and the system gives it up. To read it
    again at once, for ever, would leave no other task of the process a turn."""
    layer = Redis(connection_pool=create_pool(stores.layer(settings.REDIS_URL)))
    for client in (stores.async_client(settings.REDIS_URL), layer):
        async with client, client.pubsub() as ears:
            await ears.subscribe("vanishing")
            await ears.get_message(timeout=5)
            gone = TimeoutError(errno.ETIMEDOUT, "Connection timed out")
            ears.connection._reader.set_exception(gone)  # as the transport does
            with suppress(ConnectionError):
                await ears.get_message(timeout=5)
            await ears.get_message(timeout=5)
            await client.publish("vanishing", "here")
            heard = [await ears.get_message(timeout=5) for _ in range(2)]
        assert b"here" in [message["data"] for message in heard if message]


def test_a_queue_that_never_answers_keeps_nobody() -> None:
    """A server that takes connections and says nothing: a page asks it whenever it puts a task."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        broker, options = stores.celery(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0")
        app = Celery("deaf", broker=broker)
        # As long as the site waits, only sooner.
        quick = {name: 0.2 if "timeout" in name else value for name, value in options.items()}
        app.conf.broker_transport_options = quick
        refused: list[Exception] = []

        def put() -> None:
            try:
                app.send_task("nobody.hears")
            except OperationalError as error:
                refused.append(error)

        putting = threading.Thread(target=put, daemon=True)
        putting.start()
        putting.join(20)
    assert refused


async def test_publishing_survives_a_missing_broker(settings: Any) -> None:
    """Without Valkey the follower goes on, and soon."""
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [{"address": "redis://127.0.0.1:9/0"}]},
        }
    }
    kept = channel_layers.backends.pop("default", None)
    try:
        start = time.monotonic()
        await asyncio.wait_for(sync_to_async(topics.publish_ledger)(1, 1, set(), set()), 30)
        assert time.monotonic() - start < 10
    finally:
        channel_layers.backends.pop("default", None)
        if kept is not None:
            channel_layers.backends["default"] = kept
