"""How fast we go and how long it will take, from what was done lately. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

#: Rates are those of the last so many seconds.
WINDOW = 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Rates per second over the window; `eta_seconds` None when nothing moves."""

    indexed_block: int
    head_block: int
    blocks_per_second: float
    events_per_second: float

    @property
    def eta_seconds(self) -> float | None:
        left = self.head_block - self.indexed_block
        if left <= 0:
            return 0.0
        return left / self.blocks_per_second if self.blocks_per_second > 0 else None


class Meter:
    """Fed with every step; `now` in seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque()
        self._logs = 0

    def add(self, now: float, indexed_block: int, head_block: int, logs: int) -> Progress:
        """The progress after a step that took in `logs` events up to `indexed_block`."""
        self._logs += logs
        self._samples.append((now, indexed_block, self._logs))
        while len(self._samples) > 2 and self._samples[0][0] < now - WINDOW:
            self._samples.popleft()
        then, block, events = self._samples[0]
        seconds = now - then
        if seconds <= 0:
            return Progress(indexed_block, head_block, 0.0, 0.0)
        return Progress(
            indexed_block,
            head_block,
            max(0.0, (indexed_block - block) / seconds),
            (self._logs - events) / seconds,
        )
