"""Reads for every page's footer, `/status` and the health checks: where the follower stands."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.db import connection
from django.utils import timezone

from chain import models, ranges
from chain.models import Head, NodeState, RawBlock

#: design.md: amber above 30 s, red above 5 min since we last agreed with the node's head.
LATE_SECONDS = 30
STALE_SECONDS = 300
#: An index that is further back is catching up, however recently it heard from the node.
BEHIND_BLOCKS = 50


@dataclass(frozen=True, slots=True)
class Freshness:
    """Where the index stands, and the only judgement of how old that is: pages, the API and the
    health checks put it in their own words. Blocks are -1 before the first one was indexed.

    `lag_seconds` is the time since we last agreed with the node's head, not the age of the last
    block (an idle chain is not stale); None before the first agreement. `state` is one of
    `never` (nothing indexed), `fresh`, `late` (> 30 s, or longer while the follower is at work
    catching up), `stale` (> 5 min), `halted`.
    """

    chain_id: int
    head_block: int
    indexed_block: int
    final_block: int
    lag_blocks: int
    lag_seconds: float | None
    indexed_at: datetime | None
    checked_at: datetime | None
    state: str
    error: str
    halted: bool
    blocks_per_second: float = 0.0
    events_per_second: float = 0.0
    indexed_hash: str = ""

    @property
    def unreachable(self) -> bool:
        """Stopped, or without an answer for long enough that it shows.

        One failed poll is not yet news; it becomes so when the last agreement is getting old.
        """
        return self.halted or bool(self.error and self.state != "fresh")

    @property
    def catching_up(self) -> bool:
        """At work, and so far back that newer changes are missing."""
        return self.lag_blocks > BEHIND_BLOCKS

    @property
    def eta_seconds(self) -> int | None:
        """Until the head is reached at the present rate; None when nothing moves."""
        if not self.lag_blocks:
            return 0
        rate = self.blocks_per_second
        return round(self.lag_blocks / rate) if rate > 0 else None


# Every page asks: Django takes longer to write this than the database to answer.
_HEAD = "SELECT * FROM chain_head WHERE chain_id = %s"


def head(now: datetime | None = None) -> Freshness:
    """The freshness of the configured chain. SQL: one query."""
    now = now or timezone.now()
    row = next(iter(Head.objects.raw(_HEAD, [settings.CHAIN_ID])), None)
    if row is None:
        return Freshness(settings.CHAIN_ID, -1, -1, -1, 0, None, None, None, "never", "", False)
    lag = max(0.0, (now - row.checked_at).total_seconds()) if row.checked_at else None
    indexed = row.indexed_block >= 0
    return Freshness(
        chain_id=row.chain_id,
        head_block=row.head_block,
        indexed_block=row.indexed_block,
        final_block=row.final_block,
        lag_blocks=max(0, row.head_block - row.indexed_block),
        lag_seconds=lag,
        indexed_at=datetime.fromtimestamp(row.indexed_timestamp, UTC) if indexed else None,
        checked_at=row.checked_at,
        state=_state(row, lag, now),
        error=row.error,
        halted=row.halted,
        blocks_per_second=row.blocks_per_second,
        events_per_second=row.events_per_second,
        indexed_hash=row.indexed_hash,
    )


def times_of(numbers: Collection[int]) -> dict[int, datetime]:
    """When blocks were mined, of those whose header is held: each that has a fact of ours (1
    query)."""
    rows = RawBlock.objects.filter(number__in=numbers).values_list("number", "timestamp")
    return {number: datetime.fromtimestamp(at, UTC) for number, at in rows}


#: Headers that the pace of blocks is read from, how long it is believed, and from which pace on
#: blocks come when there is something in them, so that none can be told; seconds.
_PACED, _PACE_BELIEVED, _IDLE = 20, 60.0, 60
_pace: tuple[float, int | None] = (0.0, None)


def block_seconds() -> int | None:
    """About how many seconds the newest blocks are apart, at least 1; None where none are usual.
    SQL: one query a minute in each process."""
    global _pace
    since, pace = _pace
    if not since or time.monotonic() - since > _PACE_BELIEVED:
        newest = RawBlock.objects.order_by("-number").values_list("number", "timestamp")[:_PACED]
        rows = list(newest)
        blocks = rows[0][0] - rows[-1][0] if rows else 0
        found = max(1, round((rows[0][1] - rows[-1][1]) / blocks)) if blocks else None
        pace = found if found is not None and found <= _IDLE else None
        _pace = (time.monotonic(), pace)
    return pace


def _state(row: Head, lag: float | None, now: datetime) -> str:
    if row.halted:
        return "halted"
    if row.indexed_block < 0:
        return "never"
    if lag is not None and lag <= LATE_SECONDS:
        return "fresh"
    at_work = (now - row.updated_at).total_seconds() <= LATE_SECONDS
    return "late" if at_work or (lag is not None and lag <= STALE_SECONDS) else "stale"


#: Up to so many rows are counted; of more the database's own estimate is given.
COUNTED = 50_000

#: The estimate alone where it is above that: counting would read so many rows at each look.
_LOG_COUNT = """
SELECT guess.rows, CASE WHEN guess.rows <= %(most)s
    THEN (SELECT count(*) FROM (SELECT FROM chain_rawlog LIMIT %(most)s + 1) AS l) END
FROM (SELECT reltuples::bigint FROM pg_class WHERE oid = 'chain_rawlog'::regclass) AS guess (rows)
"""


@dataclass(frozen=True, slots=True)
class LogCount:
    """`rows` is exact, or an estimate that is kept by the database's own upkeep."""

    rows: int
    about: bool


def log_count() -> LogCount:
    """How many logs the raw store holds. SQL: one query, whatever the size of the store."""
    with connection.cursor() as cursor:
        cursor.execute(_LOG_COUNT, {"most": COUNTED})
        guess, seen = cursor.fetchone()
    if seen is None:
        return LogCount(guess, True)
    return LogCount(max(seen, guess), True) if seen > COUNTED else LogCount(seen, False)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many final blocks of a contract are stored, and how many are still missing."""

    done: int
    missing: int

    @property
    def share(self) -> float:
        whole = self.done + self.missing
        return self.done / whole if whole else 1.0


def coverage(starts: dict[str, int], final_block: int) -> dict[str, Coverage]:
    """By address, from its first block (`starts`) to `final_block`. SQL: one query."""
    held: dict[str, list[ranges.Range]] = {}
    rows = models.Coverage.objects.filter(source__in=list(starts))
    for source, first, last in rows.values_list("source", "from_block", "to_block"):
        held.setdefault(source, []).append((first, last))
    found = {}
    for address, start in starts.items():
        if final_block < start:
            found[address] = Coverage(0, 0)
            continue
        missing = ranges.blocks(ranges.gaps((start, final_block), held.get(address, [])))
        found[address] = Coverage(final_block - start + 1 - missing, missing)
    return found


def nodes() -> tuple[NodeState, ...]:
    """The state of each RPC URL as the follower last wrote it, in their order. SQL: one query."""
    rows = NodeState.objects.filter(chain_id=settings.CHAIN_ID)
    return tuple(rows.order_by("position"))
