"""Whether the broker takes new work; what is under way is finished and settled either way."""

from __future__ import annotations

from provider.errors import Refused
from provider.store import Store

NOTE = "paused"
RETRY_AFTER_SECONDS = 60
DISK_PAUSE_SECONDS = 1


class Switch:
    """The operator's pause, which survives restarts; `full` while the disk takes no charges: what
    is answered then would be nobody's debt."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.paused = store.note(NOTE) == "yes"
        self.full = False

    def set(self, paused: bool) -> None:
        """Pause or resume; on disk when this returns."""
        self._store.set_note(NOTE, "yes" if paused else "no")
        self.paused = paused

    def check(self) -> None:
        """Raises Refused 503 while paused, or while the disk is full."""
        if self.paused:
            raise Refused(503, "paused by the operator", {"Retry-After": str(RETRY_AFTER_SECONDS)})
        if self.full:
            wait = {"Retry-After": str(DISK_PAUSE_SECONDS)}
            raise Refused(503, "the disk takes no charges", wait)
