"""How probes are counted: pure, data in, data out.

A cell is a quarter of an hour. Uptime is the mean share of probes that were answered, over the
cells that have any: a provider that does not answer is asked less often (`probes.tasks`), and
that must not flatter it. A cell without a probe is no data: it counts neither way.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CELL = dt.timedelta(minutes=15)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
WHOLE = 10_000
#: At least this share of good probes is up, at most this share of answered ones is down.
UP, DOWN = 9_900, 500
NO_DATA = "none"
#: One letter per cell in `Health.bar`.
LETTERS = {"up": "u", "degraded": "g", "down": "d", NO_DATA: "-"}
WORDS = {letter: word for word, letter in LETTERS.items()}


@dataclass(frozen=True)
class Seen:
    """What counting needs of a probe; None where it was not measured."""

    state: str
    answer_ms: int | None = None
    first_token_ms: int | None = None
    tokens_per_10s: int | None = None
    example: bool = False


@dataclass(frozen=True)
class Tally:
    """Counts of one cell or of many; the fields are those of `probes.models.Bucket`."""

    probes: int = 0
    cells: int = 0
    answered: int = 0
    good: int = 0
    answer_ms: tuple[int, ...] = ()
    first_token_ms: tuple[int, ...] = ()
    tokens_per_10s: tuple[int, ...] = ()
    example: bool = False

    @property
    def uptime(self) -> int | None:
        """1/10000 of the measured cells, cut; None without any."""
        return self.answered // self.cells if self.cells else None

    @property
    def word(self) -> str:
        """up, degraded, down or none."""
        if not self.cells:
            return NO_DATA
        if self.good >= UP * self.cells:
            return "up"
        return "down" if self.answered <= DOWN * self.cells else "degraded"


def cell(probes: Sequence[Seen]) -> Tally:
    """The probes of one quarter of an hour, counted."""
    if not probes:
        return Tally()
    number = len(probes)
    answered = sum(probe.state != "down" for probe in probes)
    good = sum(probe.state == "up" for probe in probes)
    times = [probe.answer_ms for probe in probes if probe.answer_ms is not None]
    middle = percentile(times, 50)
    return Tally(
        probes=number,
        cells=1,
        answered=answered * WHOLE // number,
        good=good * WHOLE // number,
        answer_ms=() if middle is None else (middle,),
        first_token_ms=tuple(p.first_token_ms for p in probes if p.first_token_ms is not None),
        tokens_per_10s=tuple(p.tokens_per_10s for p in probes if p.tokens_per_10s is not None),
        example=any(probe.example for probe in probes),
    )


def together(parts: Iterable[Tally]) -> Tally:
    """Several cells, hours or days as one."""
    tallies = tuple(parts)
    return Tally(
        probes=sum(part.probes for part in tallies),
        cells=sum(part.cells for part in tallies),
        answered=sum(part.answered for part in tallies),
        good=sum(part.good for part in tallies),
        answer_ms=tuple(value for part in tallies for value in part.answer_ms),
        first_token_ms=tuple(value for part in tallies for value in part.first_token_ms),
        tokens_per_10s=tuple(value for part in tallies for value in part.tokens_per_10s),
        example=any(part.example for part in tallies),
    )


def percentile(values: Sequence[int], percent: int) -> int | None:
    """The smallest value that at least `percent` of all do not exceed (nearest rank): always one
    that was measured."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(1, -(-percent * len(ordered) // 100)) - 1]


def floor(moment: dt.datetime, span: dt.timedelta) -> dt.datetime:
    """The beginning of the cell, hour or day (UTC) that `moment` is in."""
    seconds = int(span.total_seconds())
    unix = int(moment.timestamp())
    return dt.datetime.fromtimestamp(unix - unix % seconds, dt.UTC)


def row(
    tallies: dict[dt.datetime, Tally], end: dt.datetime, span: dt.timedelta, count: int
) -> tuple[tuple[dt.datetime, Tally], ...]:
    """`count` spans up to `end`, oldest first, of finer or equal tallies by their start; a span
    that nobody measured is an empty tally."""
    first = end - count * span
    kept: dict[int, list[Tally]] = {}
    for start, tally in tallies.items():
        if first <= start < end:
            kept.setdefault((start - first) // span, []).append(tally)
    return tuple((first + n * span, together(kept.get(n, ()))) for n in range(count))


def percent(share: int) -> str:
    """`99.31` of a share in 1/10000."""
    return f"{share // 100}.{share % 100:02d}"


def moved(bar: str, bar_end: dt.datetime, now: dt.datetime, span: dt.timedelta) -> str:
    """A stored bar as it stands `now`: what passed since it was made is no data."""
    passed = max(0, -((bar_end - now) // span)) if now > bar_end else 0
    return (bar + LETTERS[NO_DATA] * min(passed, len(bar)))[-len(bar) :] if bar else ""
