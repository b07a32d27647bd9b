"""Watchers in the process that writes an answer hear each entry as it is written, without asking
Redis for it: that is most of them, and half of what a token costs.

An ear may miss entries (it was made late, somebody else wrote, it fell too far behind). Then the
watcher reads the stream, whose numbers say what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

#: A watcher who is further behind reads the stream again: a slow browser must not fill memory.
MOST_HELD = 512
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _Turn]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Entry:
    """One thing that happened to a turn. `event` has a `type`: delta, reasoning, block (the answer
    up to `upto` characters, as HTML from the block before), end, verdict, or fence (the turn
    changed hands; nothing to show). `raw` is the event as JSON.
    """

    seq: int
    event: dict[str, Any]
    raw: bytes = field(compare=False, repr=False)


class Ear:
    """`live` while its turn's writer is in this process and can write; `behind`: what that told
    before has to be read from the stream.
    """

    def __init__(self, live: bool = False, behind: bool = False) -> None:
        self.live, self.behind = live, behind
        self._held: list[Entry] = []
        self._waiting: asyncio.Future[None] | None = None

    def hear(self, *entries: Entry) -> None:
        self.live = True
        if len(self._held) >= MOST_HELD:
            self._held.clear()
        self._held += entries
        self._wake()

    def lose(self) -> None:
        """The writer could not write: what comes now comes from elsewhere."""
        self.live = False
        self._wake()

    async def after(self, seq: int, seconds: float) -> list[Entry]:
        """Entries that follow number `seq` without a gap, waited for at most `seconds`; [] where
        nothing was heard, or not what comes next.
        """
        if not self._held:
            await self._wait(seconds)
        found, self._held = self._held, []
        if found and found[0].seq <= seq:
            found = [entry for entry in found if entry.seq > seq]
        # With a gap in front they are read from the stream, all together.
        return found if found and found[0].seq == seq + 1 else []

    async def _wait(self, seconds: float) -> None:
        # One is spared a task and a context manager for each token.
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


@dataclass
class _Turn:
    """Who listens to a turn, and the last number that its writer told; None: none is here."""

    ears: set[Ear] = field(default_factory=set)
    told: int | None = None


def _of(turn: int) -> _Turn:
    return _turns.setdefault(asyncio.get_running_loop(), {}).setdefault(turn, _Turn())


def _tidy(turn: int) -> None:
    known = _of(turn)
    if not known.ears and known.told is None:
        del _turns[asyncio.get_running_loop()][turn]


@contextmanager
def listening(turn: int, after: int = 0) -> Iterator[Ear]:
    """An ear for one turn of this event loop, of which entries up to `after` are known."""
    known = _of(turn)
    ear = Ear(known.told is not None, known.told is not None and known.told > after)
    known.ears.add(ear)
    try:
        yield ear
    finally:
        _of(turn).ears.discard(ear)
        _tidy(turn)


def begin(turn: int) -> None:
    """A turn's writer is here, from the first entry on."""
    _of(turn).told = 0


def tell(turn: int, entries: list[Entry]) -> None:
    """What its writer has written."""
    known = _of(turn)
    if known.told is not None:
        known.told = entries[-1].seq
    for ear in known.ears:
        ear.hear(*entries)
    _tidy(turn)


def lose(turn: int) -> None:
    """Its writer could not write."""
    known = _of(turn)
    known.told = None
    for ear in known.ears:
        ear.lose()
    _tidy(turn)


def end(turn: int) -> None:
    """Its writer writes nothing more."""
    _of(turn).told = None
    _tidy(turn)
