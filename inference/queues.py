"""One at a time for each name. Of many who want the same at once, the first asks for all: whoever
comes after looks first whether it is known by now.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Queues:
    """Of one event loop."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        #: How many have a turn or wait for one, by name.
        self.waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait until nobody who came before has one of this name."""
        self.waiting[name] += 1
        try:
            async with self._locks.setdefault(name, asyncio.Lock()):
                yield
        finally:
            # Not by whether the lock is free: it is for a moment while it goes to whoever waits.
            self.waiting[name] -= 1
            if not self.waiting[name]:
                del self.waiting[name], self._locks[name]
