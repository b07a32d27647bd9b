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
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Voice]] = WeakKeyDictionary()


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
        self._loop = asyncio.get_running_loop()
        self._held: list[Entry] = []
        self._waiting: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

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

    def close(self) -> None:
        """Nobody listens any more."""
        if self._timer is not None:
            self._timer.cancel()

    async def _wait(self, seconds: float) -> None:
        # `asyncio.timeout` would cost a context manager for each token. One timer serves many
        # waits: where it runs out early, the stream is read once for nothing.
        self._waiting = self._loop.create_future()
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._over)
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _over(self) -> None:
        self._timer = None
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Voice:
    """What a turn's writer tells, and who listens to it in its process. `told`: the last number
    that was told; None: no writer is here.
    """

    def __init__(self, turn: int, among: dict[int, Voice]) -> None:
        self.ears: set[Ear] = set()
        self.told: int | None = None
        self._turn = turn
        self._among = among

    def tell(self, entries: list[Entry]) -> None:
        """What its writer has written."""
        if self.told is not None:
            self.told = entries[-1].seq
        for ear in self.ears:
            ear.hear(*entries)

    def lose(self) -> None:
        """Its writer could not write."""
        for ear in self.ears:
            ear.lose()
        self.end()

    def end(self) -> None:
        """Its writer writes nothing more."""
        self.told = None
        self.tidy()

    def tidy(self) -> None:
        """Nobody needs to find it where nobody listens or tells."""
        if not self.ears and self.told is None and self._among.get(self._turn) is self:
            del self._among[self._turn]


def _of(turn: int) -> Voice:
    among = _turns.setdefault(asyncio.get_running_loop(), {})
    if turn not in among:
        among[turn] = Voice(turn, among)
    return among[turn]


@contextmanager
def listening(turn: int, after: int = 0) -> Iterator[Ear]:
    """An ear for one turn of this event loop, of which entries up to `after` are known."""
    voice = _of(turn)
    ear = Ear(voice.told is not None, voice.told is not None and voice.told > after)
    voice.ears.add(ear)
    try:
        yield ear
    finally:
        ear.close()
        voice.ears.discard(ear)
        voice.tidy()


def begin(turn: int) -> Voice:
    """A turn's writer is here, from the first entry on."""
    voice = _of(turn)
    voice.told = 0
    return voice
