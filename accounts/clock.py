"""What time it is for the contracts: their clock is the newest block's, which may run ahead of
ours (on a devnet by days).
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from django.utils import timezone

from chain import selectors as chain
from chain.selectors import Freshness

#: Seconds by which the newest block is behind the clock at most; a clock further ahead is wrong.
_LONGEST_BLOCK = 60


def lead_seconds(head: Freshness | None = None) -> int:
    """How far the newest indexed block is ahead of this machine's clock, never negative; whole
    seconds, and not one too few: what is due at that block is due.

    A chain that merely stands still is not behind: its next block will carry the time of then.
    """
    head = head or chain.head()
    if head.indexed_at is None:
        return 0
    return max(0, math.ceil((head.indexed_at - timezone.now()).total_seconds()))


def now(head: Freshness | None = None) -> datetime:
    """The moment by which a transaction sent now would be judged; no movement is later."""
    return timezone.now() + timedelta(seconds=lead_seconds(head))


def now_unix(head: Freshness | None = None) -> int:
    """The same in Unix seconds."""
    return int(now(head).timestamp())


def judged_at(newest: int, ours: int) -> int:
    """The earliest second of a block that takes what is sent now, from that of the node's `newest`
    block and our clock: a refund that unlocked since that block is paid out by it.
    """
    return max(newest + 1, min(ours, newest + _LONGEST_BLOCK))
