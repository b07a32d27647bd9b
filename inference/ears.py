"""Watchers in the process that writes an answer hear each entry as it is written, without asking
Redis for it: that is most of them, and half of what a token costs.

An ear may miss entries (it was made late, somebody else wrote, it fell too far behind). Then the
watcher reads the stream, whose numbers say what is missing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

#: A watcher who is further behind reads the stream again: a slow browser must not fill memory.
MOST_HELD = 512
_ears: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, set[Ear]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Entry:
    """One thing that happened to a turn. `event` has a `type`: delta, reasoning, block (the answer
    up to `upto` characters, as HTML from the block before), end, verdict, or fence (the turn
    changed hands; nothing to show).
    """

    seq: int
    event: dict[str, Any]


class Ear:
    """`live` once its turn's writer was heard in this process, until that could not write."""

    def __init__(self) -> None:
        self.live = False
        self._held: deque[Entry] = deque()
        self._heard = asyncio.Event()

    def hear(self, entry: Entry) -> None:
        self.live = True
        if len(self._held) >= MOST_HELD:
            self._held.clear()
        self._held.append(entry)
        self._heard.set()

    def lose(self) -> None:
        """The writer could not write: what comes now comes from elsewhere."""
        self.live = False
        self._heard.set()

    async def after(self, seq: int, seconds: float) -> list[Entry]:
        """Entries that follow number `seq` without a gap, waited for at most `seconds`; [] where
        nothing was heard, or not what comes next.
        """
        if not self._held:
            self._heard.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._heard.wait()
            except TimeoutError:
                return []
        while self._held and self._held[0].seq <= seq:
            self._held.popleft()
        found, self._held = list(self._held), deque()
        # With a gap in front they are read from the stream, all together.
        return found if found and found[0].seq == seq + 1 else []


@contextmanager
def listening(turn: int) -> Iterator[Ear]:
    """An ear for one turn of this event loop."""
    ears = _ears.setdefault(asyncio.get_running_loop(), {})
    ear = Ear()
    ears.setdefault(turn, set()).add(ear)
    try:
        yield ear
    finally:
        ears[turn].discard(ear)
        if not ears[turn]:
            del ears[turn]


def of(turn: int) -> set[Ear]:
    return _ears.get(asyncio.get_running_loop(), {}).get(turn, set())
