"""Watchers in the process that writes an answer get each entry as it is written, without asking
Redis for it: that is most of them, and half of what a token costs.

A subscriber may miss entries (it was made late, somebody else wrote, it fell too far behind). Then
the watcher reads the stream, whose numbers say what is missing.
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
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Publisher]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Entry:
    """One thing that happened to a turn. `event` has a `type`: delta, reasoning, block (the answer
    up to `upto` characters, as HTML from the block before), end, verdict, or fence (the turn
    changed hands; nothing to show). `raw` is the event as JSON.
    """

    seq: int
    event: dict[str, Any]
    raw: bytes = field(compare=False, repr=False)


class Subscriber:
    """`live` while its turn's writer is in this process and can write; `behind`: what was published
    before has to be read from the stream.
    """

    def __init__(self, live: bool = False, behind: bool = False) -> None:
        self.live, self.behind = live, behind
        self._loop = asyncio.get_running_loop()
        self._held: list[Entry] = []
        self._waiting: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, *entries: Entry) -> None:
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
        nothing was received, or not what comes next.
        """
        if not self._held:
            await self._wait(seconds)
        found, self._held = self._held, []
        if found and found[0].seq <= seq:
            found = [entry for entry in found if entry.seq > seq]
        # With a gap in front they are read from the stream, all together.
        return found if found and found[0].seq == seq + 1 else []

    def close(self) -> None:
        """Nobody waits any more."""
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


class Publisher:
    """A turn's writer, for those who watch it in its process. `published`: the last number that was
    published; None: no writer is here.
    """

    def __init__(self, turn: int, among: dict[int, Publisher]) -> None:
        self.subscribers: set[Subscriber] = set()
        self.published: int | None = None
        self._turn = turn
        self._among = among

    def publish(self, entries: list[Entry]) -> None:
        """What its writer has written."""
        if self.published is not None:
            self.published = entries[-1].seq
        for subscriber in self.subscribers:
            subscriber.receive(*entries)

    def lose(self) -> None:
        """Its writer could not write."""
        for subscriber in self.subscribers:
            subscriber.lose()
        self.end()

    def end(self) -> None:
        """Its writer writes nothing more."""
        self.published = None
        self.tidy()

    def tidy(self) -> None:
        """Nobody needs to find it where nobody publishes or subscribes."""
        if not self.subscribers and self.published is None and self._among.get(self._turn) is self:
            del self._among[self._turn]


def _of(turn: int) -> Publisher:
    among = _turns.setdefault(asyncio.get_running_loop(), {})
    if turn not in among:
        among[turn] = Publisher(turn, among)
    return among[turn]


@contextmanager
def subscribed(turn: int, after: int = 0) -> Iterator[Subscriber]:
    """A subscriber to one turn of this event loop, of which entries up to `after` are known."""
    publisher = _of(turn)
    published = publisher.published
    subscriber = Subscriber(published is not None, published is not None and published > after)
    publisher.subscribers.add(subscriber)
    try:
        yield subscriber
    finally:
        subscriber.close()
        publisher.subscribers.discard(subscriber)
        publisher.tidy()


def begin(turn: int) -> Publisher:
    """A turn's writer is here, from the first entry on."""
    publisher = _of(turn)
    publisher.published = 0
    return publisher
