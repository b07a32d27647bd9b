"""The guarded client against a server that misbehaves in every way HTTP allows."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import zlib
from dataclasses import replace
from typing import Any

import pytest

from net.addresses import Policy
from net.client import Client
from net.decoding import Inflate
from net.errors import (
    BadAnswer,
    BadRedirect,
    BadStatus,
    BrokenOff,
    NetError,
    Refused,
    TimedOut,
    TooLarge,
    Unreachable,
)
from net.limits import JsonLimits, Limits
from tests.live.chat_upstream import Asked, Reply, Upstream

DEVNET = Policy(allow_private=True)
SMALL = Limits(connect=5, first_byte=8, between=8, total=20, max_bytes=10_000)
IMPATIENT = Limits(connect=1, first_byte=0.5, between=0.5, total=2, max_bytes=10_000)
BOMB = gzip.compress(b"\0" * 50_000_000)


async def fetch(
    upstream: Upstream, path: str = "/", policy: Policy = DEVNET, limits: Limits = SMALL
) -> bytes:
    async with (
        Client(policy) as client,
        client.open("GET", upstream.url + path, limits=limits) as a,
    ):
        return await a.read()


async def failure(script: Any, path: str = "/", limits: Limits = SMALL) -> NetError:
    async with Upstream(script) as upstream:
        with pytest.raises(NetError) as caught:
            await fetch(upstream, path, limits=limits)
        return caught.value


async def test_a_plain_answer_and_what_was_asked() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.whole(b"hello", Set_Cookie="a=b", X_Odd="a\x1b[2J\u202eb", X_Plain="a b")

    async with Upstream(script) as upstream, Client(DEVNET) as client:
        for _ in range(2):
            async with client.open("GET", upstream.url + "/x?y=1") as answer:
                assert await answer.read() == b"hello"
                assert [answer.header(f"X-{name}") for name in ("Odd", "Plain", "None")] == [
                    "a[2Jb",
                    "a b",
                    "",
                ]
    assert [a.path for a in upstream.asked] == ["/x?y=1"] * 2
    for asked in upstream.asked:
        assert asked.headers["accept-encoding"] == "identity"
        assert "cookie" not in asked.headers


async def test_a_public_policy_never_connects_to_this_machine(monkeypatch: Any) -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        await reply.whole(b"secret")

    async with Upstream(script) as upstream:
        port = upstream.url.rsplit(":", 1)[-1]
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]"):
            async with Client(Policy()) as client:
                with pytest.raises(Refused):
                    async with client.open("GET", f"http://{host}:{port}/"):
                        pass
        assert upstream.asked == []


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["169.254.169.254"], ["::ffff:10.0.0.1"]],
)
async def test_a_name_that_leads_inside_is_refused(monkeypatch: Any, answers: list[str]) -> None:
    """The name service is the stranger's: replaced at the system boundary."""

    def getaddrinfo(host: str, port: int, *_: Any) -> list[Any]:
        kinds = [socket.AF_INET6 if ":" in a else socket.AF_INET for a in answers]
        return [
            (k, socket.SOCK_STREAM, 6, "", (a, port)) for k, a in zip(kinds, answers, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with Client(Policy()) as client:
        with pytest.raises(Refused):
            async with client.open("GET", "http://rebind.example:8080/"):
                pass


async def test_the_judged_address_is_the_one_connected_to(monkeypatch: Any) -> None:
    """A second lookup would be the rebinding hole: the name is asked exactly once."""
    asked_names: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *more: Any) -> Any:
        if host == "provider.example":
            asked_names.append(host)
            if len(asked_names) > 1:
                raise AssertionError("asked twice")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        return real(host, port, *more)

    async def script(reply: Reply, asked: Asked) -> None:
        await reply.whole(asked.headers["host"].encode())

    async with Upstream(script) as upstream:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        port = upstream.url.rsplit(":", 1)[-1]
        url = f"http://provider.example:{port}/"
        async with Client(DEVNET) as client, client.open("GET", url) as answer:
            assert await answer.read() == f"provider.example:{port}".encode()
    assert asked_names == ["provider.example"]


async def test_names_that_never_resolve_keep_nobody_waiting(monkeypatch: Any) -> None:
    """The system's lookup cannot be ended: names of strangers must not take the few threads in
    which asyncio looks up everybody's, nor more than one thread each."""
    silent, asked_names, real = threading.Event(), [], socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *more: Any) -> Any:
        if not str(host).endswith(".example"):
            return real(host, port, *more)
        asked_names.append(host)
        if host != "provider.example":
            silent.wait(20)
            raise socket.gaierror("no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def script(reply: Reply, asked: Asked) -> None:
        await reply.whole(b"here")

    async def given_up(client: Client, number: int) -> None:
        with pytest.raises(TimedOut):
            url = f"http://{number % 40}.example:8080/"
            async with client.open("GET", url, limits=replace(IMPATIENT, connect=0.2)):
                pass

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with Upstream(script) as upstream, Client(DEVNET) as client:
        try:
            await asyncio.gather(*(given_up(client, number) for number in range(80)))
            port = upstream.url.rsplit(":", 1)[-1]
            async with client.open("GET", f"http://provider.example:{port}/") as answer:
                assert await answer.read() == b"here"
        finally:
            silent.set()
    assert sorted(asked_names) == sorted([*(f"{n}.example" for n in range(40)), "provider.example"])


async def test_nobody_listens() -> None:
    async def script(reply: Reply, asked: Asked) -> None: ...

    async with Upstream(script) as upstream:
        url = upstream.url
    async with Client(DEVNET) as client:
        with pytest.raises(Unreachable):
            async with client.open("GET", url):
                pass
        with pytest.raises(Unreachable):
            async with client.open("GET", "http://no-such-name.invalid/"):
                pass


async def test_redirects_stay_on_the_host() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        targets = {
            "/same": "/end",
            "/loop": "/loop",
            "/other": "http://127.0.0.2:1234/",
            "/scheme": "file:///etc/passwd",
            "/inside": "http://169.254.169.254/",
        }
        if asked.path in targets:
            await reply.whole(b"", 302, Location=targets[asked.path])
        else:
            await reply.whole(b"end")

    async with Upstream(script) as upstream:
        assert await fetch(upstream, "/same") == b"end"
    for path in ("/loop", "/other", "/scheme", "/inside"):
        assert isinstance(await failure(script, path), BadRedirect), path


async def test_time_limits_are_told_apart() -> None:
    async def silent(reply: Reply, asked: Asked) -> None:
        await asyncio.sleep(5)

    async def half_a_head(reply: Reply, asked: Asked) -> None:
        await reply.raw(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n")
        await asyncio.sleep(5)

    async def stalls(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.send(b"x")
        await asyncio.sleep(5)

    async def drips(reply: Reply, asked: Asked) -> None:
        await reply.start()
        for _ in range(100):
            await reply.send(b"x")
            await asyncio.sleep(0.1)

    for script, stage in (
        (silent, "first_byte"),
        (half_a_head, "first_byte"),
        (stalls, "between"),
        (drips, "total"),
    ):
        error = await failure(script, limits=IMPATIENT)
        assert isinstance(error, TimedOut), error
        assert error.stage == stage


async def test_size_limits() -> None:
    async def long_body(reply: Reply, asked: Asked) -> None:
        await reply.start()
        for _ in range(100):
            await reply.send(b"x" * 1000)

    async def announced(reply: Reply, asked: Asked) -> None:
        await reply.head(Content_Length="99999999999")
        await reply.raw(b"x" * 20_000)
        await asyncio.sleep(2)

    async def long_header(reply: Reply, asked: Asked) -> None:
        await reply.raw(b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 20_000 + b"\r\n\r\n")

    async def many_headers(reply: Reply, asked: Asked) -> None:
        await reply.raw(b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 5000 + b"\r\n")

    async def gzip_bomb(reply: Reply, asked: Asked) -> None:
        await reply.whole(BOMB, Content_Encoding="gzip")

    for script in (long_body, announced, long_header, many_headers, gzip_bomb):
        assert isinstance(await failure(script), TooLarge | BadAnswer), script.__name__


async def test_compression_that_was_not_asked_for() -> None:
    async def zipped(reply: Reply, asked: Asked) -> None:
        bodies = {
            "/gzip": (gzip.compress(b"hello" * 100), "gzip"),
            "/deflate": (zlib.compress(b"hello" * 100), "deflate"),
            "/cut": (gzip.compress(b"hello" * 100)[:-9], "gzip"),
            "/trailing": (gzip.compress(b"hello") + b"x", "gzip"),
            "/garbage": (b"hello", "gzip"),
            "/br": (b"hello", "br"),
        }
        body, encoding = bodies[asked.path]
        await reply.whole(body, Content_Encoding=encoding)

    async with Upstream(zipped) as upstream:
        assert await fetch(upstream, "/gzip") == b"hello" * 100
        assert await fetch(upstream, "/deflate") == b"hello" * 100
    for path in ("/cut", "/trailing", "/garbage", "/br"):
        assert isinstance(await failure(zipped, path), BadAnswer | BrokenOff), path


def test_a_compression_bomb_is_undone_in_small_pieces() -> None:
    pieces = (len(piece) for piece in Inflate(16 + zlib.MAX_WBITS)(BOMB))
    assert sum(size for size in pieces if size <= 64 << 10) == 50_000_000


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: Any, free_port: int) -> None:
    """It would resolve names itself, and reach what the policy forbids."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def script(reply: Reply, asked: Asked) -> None:
        await reply.whole(b"straight")

    async with Upstream(script) as upstream:
        assert await fetch(upstream) == b"straight"


async def test_broken_http() -> None:
    async def cut_short(reply: Reply, asked: Asked) -> None:
        await reply.head(Content_Length="100")
        await reply.raw(b"abc")

    async def cut_chunk(reply: Reply, asked: Asked) -> None:
        await reply.start()
        await reply.send(b"abc")
        reply.abort()

    async def no_head(reply: Reply, asked: Asked) -> None:
        reply.writer.close()

    async def garbage(reply: Reply, asked: Asked) -> None:
        await reply.raw(b"\x00\x01\x02 not http\r\n\r\n")

    async def smuggled(reply: Reply, asked: Asked) -> None:
        await reply.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")

    for script, kind in (
        (cut_short, BrokenOff),
        (cut_chunk, BrokenOff),
        (no_head, BrokenOff),
        (garbage, BadAnswer),
        (smuggled, BadAnswer),
    ):
        error = await failure(script)
        assert isinstance(error, kind), (script.__name__, error)


async def test_statuses_and_json() -> None:
    async def script(reply: Reply, asked: Asked) -> None:
        if asked.path == "/busy":
            await reply.whole(b'{"error":"slow down"}', 429, Retry_After="8")
        elif asked.path == "/deep":
            await reply.whole(b"[" * 5000)
        else:
            await reply.whole(b'{"a": [1]}')

    error = await failure(script, "/busy")
    assert isinstance(error, BadStatus)
    assert (error.status, error.body, error.retry_after) == (429, b'{"error":"slow down"}', 8)
    async with Upstream(script) as upstream, Client(DEVNET) as client:
        assert await client.get_json(upstream.url + "/x") == {"a": [1]}
        with pytest.raises(BadAnswer):
            await client.get_json(upstream.url + "/deep")
        with pytest.raises(TooLarge):
            await client.get_json(upstream.url + "/x", shape=JsonLimits(max_bytes=5))
