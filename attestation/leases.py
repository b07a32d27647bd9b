"""Who works on something now, over all processes: held while its holder lives, free soon after.

A holder that is killed cannot give anything back, so a lease is short and its holder renews it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from django.core.cache import cache
from redis.exceptions import RedisError

#: A lease that nobody renews ends after so long.
SECONDS = 90
_RENEWED_EVERY = 15


def take(name: str) -> str | None:
    """A token for `give_back`, or None while somebody else holds it."""
    token = uuid.uuid4().hex
    return token if cache.add(name, token, timeout=SECONDS) else None


def give_back(name: str, token: str) -> None:
    """Free at once, unless it ended meanwhile and another took it."""
    if cache.get(name) == token:
        cache.delete(name)


@asynccontextmanager
async def renewed(name: str, token: str) -> AsyncIterator[None]:
    """Keep the lease while the block runs."""
    beat = asyncio.create_task(_renew(name, token))
    try:
        yield
    finally:
        beat.cancel()
        with suppress(asyncio.CancelledError):
            await beat


async def _renew(name: str, token: str) -> None:
    while True:
        await asyncio.sleep(_RENEWED_EVERY)
        with suppress(OSError, RedisError):  # it ends by itself then; the work goes on
            if await cache.aget(name) == token:
                await cache.atouch(name, SECONDS)
