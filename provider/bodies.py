"""Bodies in memory: requests, all of them together and every user's share, and what others answer.

Of requests that counts which has arrived, for as long as it is held: whoever sends slowly holds
little, and nobody can hold more than a share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from provider.errors import Refused
from provider.http import Request

MAX_BODY_BYTES = 32 * 1024 * 1024
TOO_LARGE = "Request body size exceeds the maximum allowed size of 32MB"
ALL_BYTES = 6 * MAX_BODY_BYTES
USER_BYTES = 2 * MAX_BODY_BYTES
USER_BODIES = 8


class Bodies:
    """Keeps count of the bodies being read and used."""

    def __init__(self) -> None:
        self._bytes: Counter[str] = Counter()
        self._open: Counter[str] = Counter()

    @asynccontextmanager
    async def read(self, request: Request, user: str) -> AsyncIterator[bytes]:
        """The whole body, counted until the block ends.

        Raises Refused: 413 beyond 32 MiB, 408 for one that does not arrive, 503 beyond a share.
        """
        if self._open[user] >= USER_BODIES:
            raise _full(f"{user} has {USER_BODIES} bodies open")
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if self._bytes[user] + size > USER_BYTES or self._bytes.total() + size > ALL_BYTES:
                raise _full(f"{user}: no room for another {size} bytes")
            self._bytes[user] += size
            taken += size

        self._open[user] += 1
        try:
            yield await request.body(MAX_BODY_BYTES, TOO_LARGE, take)
        finally:
            self._bytes[user] -= taken
            self._open[user] -= 1
            for counter in (self._bytes, self._open):
                if not counter[user]:
                    del counter[user]


async def beginning(reply: aiohttp.ClientResponse, limit: int) -> bytes:
    """A reply's body, which may come in pieces; at most `limit` bytes of it."""
    raw = bytearray()
    while len(raw) < limit and (part := await reply.content.read(limit - len(raw))):
        raw += part
    return bytes(raw)


def _full(text: str) -> Refused:
    return Refused(503, text, {"Retry-After": "1"})
