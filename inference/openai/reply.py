"""Answers of `/v1` as ASGI messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from inference.openai.errors import ApiError
from net.client import printable

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


class Reply:
    """One answer. `started` once its status has gone out."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = dict(headers)
        self.started = False
        self.ended = False

    def add(self, headers: Mapping[str, str]) -> None:
        """Headers of this answer, whatever it will be."""
        self._headers.update(headers)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        given = {**self._headers, **headers}
        pairs = [
            (n.lower().encode("latin-1"), printable(v).encode("latin-1", "replace"))
            for n, v in given.items()
        ]
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*_ALWAYS, *pairs]}
        )

    async def data(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        self.ended = True
        await self._send({"type": "http.response.body", "body": data})

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        await self.start(status, {**headers, "content-length": str(len(body))})
        await self.end(body)

    async def error(self, error: ApiError) -> None:
        """The whole answer; nothing where one has begun."""
        if self.started:
            return
        headers = {**error.headers, "content-type": "application/json"}
        await self.whole(error.status, headers, error.body)
