"""Memory for what `/v1` holds whole: requests, and answers that are checked before they go out.

Of a request counts what has arrived, for as long as it is held: whoever sends slowly, or only says
that much will come, holds little. No person and no network address holds more than a share, and no
IPv6 network more than half of all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from inference.openai.errors import ApiError

ALL_BYTES = 256 << 20
SHARE_BYTES = 64 << 20
#: Answers larger than this are read so many at a time for one person; the others wait at their
#: providers.
SMALL_BYTES = 1 << 20
MOST_LARGE = 4


class Room:
    """Of one process."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._all = 0
        self._large: dict[int, asyncio.Semaphore] = {}
        self._reading: Counter[int] = Counter()

    @contextmanager
    def held(self, *whose: str, network: str = "") -> Iterator[Callable[[int], None]]:
        """Take bytes for all of `whose`, and the IPv6 `network` around them, by calling what this
        gives; they are free again at the end of the block. The call raises ApiError 503 where there
        is no room."""
        everybody = (*whose, network)
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            most = max(self._held[name] for name in whose)
            if most + size > SHARE_BYTES or self._all + size > ALL_BYTES:
                raise full()
            if network and self._held[network] + size > ALL_BYTES // 2:
                raise full()
            taken += size
            self._add(size, everybody)

        try:
            yield take
        finally:
            self._add(-taken, everybody)

    def _add(self, size: int, whose: tuple[str, ...]) -> None:
        self._all += size
        for name in whose:
            self._held[name] += size
            if not self._held[name]:
                del self._held[name]

    @asynccontextmanager
    async def large(self, owner: int) -> AsyncIterator[None]:
        """A place for a large answer to this person; waits for one."""
        places = self._large.setdefault(owner, asyncio.Semaphore(MOST_LARGE))
        self._reading[owner] += 1
        try:
            async with places:
                yield
        finally:
            self._reading[owner] -= 1
            if not self._reading[owner]:
                del self._reading[owner], self._large[owner]


def full() -> ApiError:
    return ApiError(
        503, "busy", "Too many requests are open. Nothing was sent.", retry=True, retry_after=1
    )
