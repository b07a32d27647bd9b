"""Dataset uploads as they arrive: cut anywhere they mean the same, and garbage is refused."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from provider import http
from provider.errors import Refused
from provider.http import Answer, ClientGone, Request
from provider.tuning import uploads
from provider.tuning.endpoints import UPLOADS_AT_ONCE, Endpoints
from provider.tuning.files import Folders

MARK = "lines"


def form(data: bytes, **fields: str) -> bytes:
    """The form that the official client sends: the file first."""
    parts = [b'name="file"; filename="d.jsonl"\r\nContent-Type: application/octet-stream']
    values = [data]
    for name, value in fields.items():
        parts.append(f'name="{name}"'.encode())
        values.append(value.encode())
    head = b"\r\n--" + MARK.encode()
    raw = b"".join(
        head + b"\r\nContent-Disposition: form-data; " + part + b"\r\n\r\n" + value
        for part, value in zip(parts, values, strict=True)
    )
    return raw[2:] + head + b"--\r\n"


def receive(pieces: list[bytes], *, whole: bool = True) -> tuple[str, dict[str, str], bytes]:
    """What is made of a body that arrives in these pieces."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    last = {"type": "http.request", "body": b"", "more_body": False}
    messages.append(last if whole else {"type": "http.disconnect"})

    async def run() -> tuple[str, dict[str, str], bytes]:
        async def following() -> Any:
            return messages.pop(0)

        scope = {
            "method": "POST",
            "path": "/",
            "headers": [(b"content-type", f"multipart/form-data; boundary={MARK}".encode())],
        }
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "file"
            hash_, fields = await uploads.receive(Request(scope, following), target)
            return hash_, fields, target.read_bytes()

    return asyncio.run(run())


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.binary(min_size=1, max_size=400), st.just(b"\r\n--line\r\n--lines \r\n-" * 9)),
    st.lists(st.integers(1, 40), max_size=60),
)
def test_where_a_body_is_cut_does_not_matter(data: bytes, cuts: list[int]) -> None:
    if b"\r\n--" + MARK.encode() in data:
        data = data.replace(b"lines", b"Lines")
    raw, pieces = form(data, signature="0x12", timestamp="7"), []
    for cut in cuts:
        pieces.append(raw[:cut])
        raw = raw[cut:]
    hash_, fields, kept = receive([*pieces, raw])
    assert kept == data and hash_ == "0x" + keccak(data).hex()
    assert fields == {"signature": "0x12", "timestamp": "7"}


@pytest.mark.parametrize(
    ("peer", "told", "sender"),
    [
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("172.17.0.1", "10.0.0.1, 203.0.113.7", "203.0.113.7"),  # the last is its own word
        ("127.0.0.1", "2001:db8::1", "2001:db8::/64"),  # one customer owns them all
        ("2a00:1450::a:2", "203.0.113.9", "2a00:1450::/64"),
        ("127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("8.8.8.8", "203.0.113.9", "8.8.8.8"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "me", "127.0.0.1"),
        ("", "203.0.113.9", ""),
    ],
)
def test_behind_a_proxy_each_client_has_limits_of_its_own(
    peer: str, told: str, sender: str
) -> None:
    headers = [(b"x-forwarded-for", told.encode())]
    scope = {"method": "POST", "path": "/", "client": (peer, 1), "headers": headers}
    assert Request(scope, None).sender == sender  # type: ignore[arg-type]


@pytest.mark.parametrize("piece", ["http.response.start", "http.response.body"])
def test_a_reader_who_takes_nothing_is_written_off(
    monkeypatch: pytest.MonkeyPatch, piece: str
) -> None:
    """Whoever left an earlier answer on this connection unread does not take a beginning either."""
    monkeypatch.setattr(http, "SLOW_READER_SECONDS", 0.01)

    async def send(message: Any) -> None:
        if message["type"] == piece:
            await asyncio.Event().wait()

    async def run() -> bool:
        answer = Answer(send, {})
        await asyncio.wait_for(answer.whole(200, b"x", "text/plain"), 5)
        return answer.lost

    assert asyncio.run(run())


def test_no_upload_is_begun_where_the_disk_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is owed is written down there as well."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=uploads.LEAST_FREE - 1))
    with pytest.raises(Refused) as refused:
        receive([form(b"data")])
    assert refused.value.status == 503 and "/" not in str(refused.value)  # a path is the host's


async def test_no_ipv6_network_holds_all_places_for_uploads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Four addresses of a /48, which costs nothing, had four each."""
    monkeypatch.setattr(uploads, "LEAST_FREE", 0)
    nobody: Any = None
    doors = Endpoints(nobody, tasks=nobody, folders=Folders(tmp_path), chain=nobody, work=nobody)

    async def never() -> Any:
        await asyncio.sleep(3600)

    def asked(client: str) -> asyncio.Task[None]:
        headers = [(b"content-type", b"multipart/form-data; boundary=x")]
        scope = {"method": "POST", "path": "/", "headers": headers, "client": (client, 1)}
        return asyncio.create_task(doors.upload("0xuser", Request(scope, never), nobody))

    under_way = [asked(f"2a00:1450:4001:{n // 4}::{n + 1}") for n in range(UPLOADS_AT_ONCE)]
    others = [asked("2a00:1450:4002::1"), asked("8.8.8.8")]
    for _ in range(5):
        await asyncio.sleep(0)
    refused = [task.done() and isinstance(task.exception(), Refused) for task in under_way]
    assert refused == [False] * (UPLOADS_AT_ONCE // 2) + [True] * (UPLOADS_AT_ONCE // 2)
    assert not any(task.done() for task in others)
    for task in (*under_way, *others):
        task.cancel()
    await asyncio.gather(*under_way, *others, return_exceptions=True)
    assert not doors._uploading


def test_the_last_line_needs_no_end() -> None:
    assert receive([form(b"data")[:-2]])[2] == b"data"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10**6), st.booleans())
def test_anything_else_is_refused(noise: bytes, at: int, whole: bool) -> None:
    raw = form(b"data", signature="0x12")
    cut = at % (len(raw) - 2)  # the end of the last line is not the form's (RFC 2046, 5.1.1)
    with pytest.raises((Refused, ClientGone)):
        receive([raw[:cut]], whole=whole)
    try:
        receive([raw[:cut] + noise + raw[cut:]], whole=whole)
    except Refused as refused:
        assert refused.status == 400
    except ClientGone:
        assert not whole


@pytest.mark.parametrize(
    "raw",
    [
        form(b""),
        form(b"x", colour="red"),
        form(b"x", signature="s" * 600),
        form(b"x").replace(b'"file"', b'"other"'),
        form(b"x")[:-4] + form(b"y"),
        b"--" + MARK.encode() + b"\r\n" + b"a" * 5000,
    ],
)
def test_forms_that_are_not_this_one(raw: bytes) -> None:
    with pytest.raises(Refused) as caught:
        receive([raw])
    assert caught.value.status == 400
