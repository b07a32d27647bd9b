"""Counts over whole tables, kept while what was counted has not changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

#: Different questions remembered per state; a stranger's filters must not fill our memory.
MOST = 256
#: Windows that end now move on, and an operator's replay shows, after this many seconds at most.
SECONDS = 30.0


class Memo:
    """What was computed from rows in one state of them, in this process.

    `state` names it: rows that differ must have another one. Without a state (nothing indexed
    yet) nothing is kept.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.state = ""
        self.since = 0.0
        self.held: dict[Hashable, Any] = {}

    def get(self, state: str, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key` in this state: kept, or made now."""
        if not state:
            return make()
        now = time.monotonic()
        with self.lock:
            if state != self.state or now - self.since > SECONDS:
                self.state, self.since, self.held = state, now, {}
            if key in self.held:
                kept: T = self.held[key]
                return kept
        made = make()
        with self.lock:
            if state == self.state and len(self.held) < MOST:
                self.held[key] = made
        return made


#: By the hash of the indexed block: rows and the head row change in one transaction.
at_block = Memo()
#: By `ledger.selectors.listings_version`: few blocks change a listing.
at_listing = Memo()
