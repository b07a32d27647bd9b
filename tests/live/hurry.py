"""A clock that runs faster: what waits a quarter of an hour waits for seconds, with the limits that
are really set.

Everything that measures with `time.monotonic` and every timer of asyncio hurries; sockets,
databases and other processes do not. So while somebody waits for Redis, which is ours and has its
second only, or for a connection, which nobody here refuses, the clock does not hurry: on a busy
machine they take their time. Nothing of ours is replaced.
"""

from __future__ import annotations

import selectors
import threading
import time
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis.asyncio


class _Clock:
    """`time.monotonic`, `factor` times as fast while nobody waits for what is ours."""

    def __init__(self, factor: float) -> None:
        self._real = time.monotonic
        self._factor = factor
        self._waiting = 0
        self._mark = self._shown = self._real()
        self._lock = threading.Lock()

    @property
    def rate(self) -> float:
        return 1.0 if self._waiting else self._factor

    def now(self) -> float:
        with self._lock:
            return self._shown + (self._real() - self._mark) * self.rate

    def _count(self, change: int) -> None:
        with self._lock:
            at = self._real()
            self._shown += (at - self._mark) * self.rate
            self._mark = at
            self._waiting += change

    def counted(self, what: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """An asynchronous method, during which the clock does not hurry."""

        async def call(*arguments: Any, **named: Any) -> Any:
            self._count(1)
            try:
                return await what(*arguments, **named)
            finally:
                self._count(-1)

        return call


@contextmanager
def hurry(factor: float) -> Iterator[None]:
    """Let the clock run `factor` times as fast, from now on."""
    clock = _Clock(factor)
    selector: Any = selectors.DefaultSelector
    select = selector.select

    def shorter(self: Any, timeout: float | None = None) -> Any:
        return select(self, timeout / clock.rate if timeout and timeout > 0 else timeout)

    redis_ = redis.asyncio
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", clock.now)
        patch.setattr(selector, "select", shorter)
        for owner, name in (
            (redis_.Redis, "execute_command"),
            (redis_.client.Pipeline, "execute"),
            (BaseSelectorEventLoop, "sock_connect"),
            (BaseSelectorEventLoop, "create_connection"),
        ):
            patch.setattr(owner, name, clock.counted(getattr(owner, name)))
        yield
