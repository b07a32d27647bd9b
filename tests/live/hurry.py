"""A clock that runs faster: what waits a quarter of an hour waits for seconds, with the limits that
are really set.

Everything that measures with `time.monotonic` and every timer of asyncio hurries; sockets,
databases and other processes do not. Nothing of ours is replaced.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def hurry(factor: float) -> Iterator[None]:
    """Let the clock run `factor` times as fast, from now on."""
    real = time.monotonic
    began = real()
    selector: Any = selectors.DefaultSelector
    select = selector.select

    def fast() -> float:
        return began + (real() - began) * factor

    def shorter(self: Any, timeout: float | None = None) -> Any:
        return select(self, timeout / factor if timeout and timeout > 0 else timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", fast)
        patch.setattr(selector, "select", shorter)
        yield
