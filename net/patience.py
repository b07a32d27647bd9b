"""How long is waited for what a stranger says: the limits of one exchange, on the loop's clock."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from net.errors import BadAnswer, BrokenOff, Stage, TimedOut
from net.limits import Limits

NO_HTTP = "the answer is not valid HTTP"
ENDED = "the connection ended before the answer did"


@asynccontextmanager
async def within(
    stage: Stage, seconds: float, deadline: float | None, total: float | None
) -> AsyncIterator[None]:
    """Raise TimedOut(stage) after `seconds`, or TimedOut("total") at `deadline` (loop time, `total`
    seconds after the beginning) when that comes first.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    if deadline is not None and total is not None and deadline < until:
        stage, seconds, until = "total", total, deadline
    try:
        async with asyncio.timeout_at(until):
            yield
    except TimeoutError as error:
        if isinstance(error, aiohttp.ClientError):
            raise
        raise TimedOut(stage, seconds) from None


@contextmanager
def noticed_end(raw: aiohttp.ClientResponse) -> Iterator[None]:
    """Let a body end with its connection: aiohttp forgets a reader where the parser failed in the
    middle of a body, and it would wait to the end of its patience for what nobody reads any more.
    """
    protocol: Any = raw.connection.protocol if raw.connection is not None else None
    reading = protocol is not None

    def end(closed: asyncio.Future[None] | None) -> None:
        if closed is not None and not closed.cancelled():
            closed.exception()  # looked at, or asyncio complains
        if not reading or raw.content.is_eof() or raw.content.exception() is not None:
            return
        broken = isinstance(protocol.exception(), HttpProcessingError)
        raw.content.set_exception(BadAnswer(NO_HTTP) if broken else BrokenOff(ENDED))

    if protocol is not None:
        closed = protocol.closed
        if closed is None:
            end(None)
        else:
            closed.add_done_callback(end)
    try:
        yield
    finally:
        reading = False


@dataclass
class Progress:
    """The reader's own limit: bytes that say nothing are none. It moves `until` (monotonic seconds)
    as it gets on; whoever waits then for more bytes gets TimedOut(stage, seconds).
    """

    stage: Stage = "between"
    seconds: float = math.inf
    until: float = math.inf


class Patience:
    """Time limits of many reads with one timer: a timeout for each read would cost more than the
    read. Only waiting counts, not what the caller does in between.
    """

    def __init__(
        self,
        content: aiohttp.StreamReader,
        limits: Limits,
        deadline: float | None,
        progress: Progress | None = None,
    ) -> None:
        self._content = content
        self._progress = progress or Progress()
        self._between = limits.between
        self._total = limits.total or 0.0
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def waits(self) -> None:
        self._since = self._loop.time()
        if self._progress.until < self._looks_at:
            self._look_at(self._progress.until)

    def rests(self) -> None:
        self._since = None

    def _look(self) -> None:
        """End the read that waits too long, or look again when it could have."""
        now = self._loop.time()
        if self._deadline is not None and now >= self._deadline:
            self._content.set_exception(TimedOut("total", self._total))
            return
        until = (now if self._since is None else self._since) + self._between
        progress = self._progress
        if self._since is not None and now >= until:
            self._content.set_exception(TimedOut("between", self._between))
            return
        if self._since is not None and now >= progress.until:
            self._content.set_exception(TimedOut(progress.stage, progress.seconds))
            return
        until = until if self._deadline is None else min(until, self._deadline)
        # Where it is over while nobody waits, the next wait looks again.
        self._look_at(min(until, progress.until) if now < progress.until else until)

    def _look_at(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = moment
        self._timer = self._loop.call_at(moment, self._look)
