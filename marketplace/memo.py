"""Counts over whole tables, kept while the index stands where it stood."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

#: Different questions remembered per block; a stranger's filters must not fill our memory.
MOST = 256
#: Windows that end now move on, and an operator's replay shows, after this many seconds at most.
SECONDS = 30.0


class Memo:
    """What was computed from ledger rows at one indexed block, in this process.

    Rows and the head row change in one transaction, so a value of the same head is of the same
    rows. Without a block hash (nothing indexed yet) nothing is kept.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.block_hash = ""
        self.since = 0.0
        self.held: dict[Hashable, Any] = {}

    def get(self, block_hash: str, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key` at this block: kept, or made now."""
        if not block_hash:
            return make()
        now = time.monotonic()
        with self.lock:
            if block_hash != self.block_hash or now - self.since > SECONDS:
                self.block_hash, self.since, self.held = block_hash, now, {}
            if key in self.held:
                kept: T = self.held[key]
                return kept
        made = make()
        with self.lock:
            if block_hash == self.block_hash and len(self.held) < MOST:
                self.held[key] = made
        return made


at_block = Memo()
