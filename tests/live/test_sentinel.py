"""A fail-over that real sentinels decide: every kind of connection of the site finds the new
master by itself."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest
import redis
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.core.cache.backends.redis import RedisCache

from net import stores
from runner.processes import die_with_parent, free_port
from runner.valkey import find_binary

PASSWORD = "only-for-this-test"
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str) -> subprocess.Popen[bytes]:
        running.append(
            subprocess.Popen(
                [str(find_binary()), *arguments],
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                preexec_fn=die_with_parent(),
            )
        )
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def within(seconds: float, look: Callable[[], Any]) -> Any:
    end = time.monotonic() + seconds
    while True:
        try:
            if found := look():
                return found
        except (redis.RedisError, OSError, kombu.exceptions.OperationalError):
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_a_fail_over_is_followed_by_every_connection(start: Start, tmp_path: Path) -> None:
    first, second, watch = free_port(), free_port(), free_port()
    common = (
        *("--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD),
        *("--masterauth", PASSWORD, "--dir", str(tmp_path)),
    )
    master = start("--port", str(first), *common)
    start("--port", str(second), "--replicaof", f"127.0.0.1 {first}", *common)
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {watch}\nbind 127.0.0.1\nsentinel monitor market 127.0.0.1 {first} 1\n"
        f"sentinel auth-pass market {PASSWORD}\nsentinel down-after-milliseconds market 300\n"
        "sentinel failover-timeout market 3000\n"
    )

    def direct(port: int) -> redis.Redis:
        return redis.Redis(port=port, password=PASSWORD)

    within(20, lambda: direct(second).info("replication")["master_link_status"] == "up")
    start(str(config), "--sentinel")
    sentinel: Any = redis.Redis(port=watch, decode_responses=True)
    within(20, lambda: sentinel.execute_command("SENTINEL", "REPLICAS", "market"))

    url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{watch}/market/0"
    client = stores.client(url, socket_timeout=1)
    entry = stores.cache(url)
    cache = RedisCache(entry["LOCATION"], {"OPTIONS": entry["OPTIONS"]})
    broker, options = stores.celery(url)

    async def spoken(text: str) -> Any:
        there = stores.async_client(url, socket_timeout=1, max_connections=8)
        await there.set("async", text)
        layer = RedisPubSubChannelLayer(hosts=[stores.layer(url)])
        channel = await layer.new_channel()
        await layer.group_add("g", channel)
        await layer.group_send("g", {"type": "x", "text": text})
        heard = await asyncio.wait_for(layer.receive(channel), 10)
        await layer.flush()
        await there.aclose()
        return heard["text"]

    def works(text: str) -> bool:
        client.set("sync", text)
        cache.set("cached", text)
        with kombu.Connection(broker, transport_options=options) as connection:
            queue = connection.SimpleQueue("q")
            queue.put(text)
            message = queue.get(timeout=5)
            message.ack()
        held = direct(first if text == "before" else second)
        stored = {held.get("sync"), held.get("async")} if asyncio.run(spoken(text)) else set()
        return stored == {text.encode()} and cache.get("cached") == text and message.payload == text

    assert works("before")
    master.kill()
    master.wait()
    assert within(30, lambda: works("after"))
