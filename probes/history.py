"""What was measured of one service in a window: the reads of its page, API and CSV."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from ledger.records import Listing
from probes import counting, fold, selectors
from probes.bars import Bar, bar
from probes.fold import CELL, DAY, HOUR, Tally
from probes.models import Bucket, Health
from probes.selectors import HealthView, Spread, Uptime


@dataclass(frozen=True)
class Window:
    """`count` cells of `span` each, read from stored buckets of `source`."""

    name: str
    said: str
    span: dt.timedelta
    count: int
    source: dt.timedelta

    @property
    def label(self) -> str:
        """Its length in the reader's language."""
        return _(self.said)


WINDOWS: Mapping[str, Window] = {
    window.name: window
    for window in (
        Window("24h", N_("24 hours"), CELL, 96, CELL),
        Window("7d", N_("7 days"), 2 * HOUR, 84, HOUR),
        Window("90d", N_("90 days"), DAY, 90, DAY),
    )
}
DEFAULT = "24h"


@dataclass(frozen=True)
class Cell:
    """One cell of a window. `uptime` in 1/10000, None without a probe; spreads as in
    `selectors.HealthView`."""

    start: dt.datetime
    state: str
    uptime: int | None
    probes: int
    answer: Spread | None
    first_token: Spread | None
    tokens: Spread | None
    example: bool


@dataclass(frozen=True)
class History:
    """A window that ends now, and what is known of the service at this moment."""

    window: Window
    now: HealthView
    cells: tuple[Cell, ...]
    bar: Bar
    uptime: Uptime | None
    answer: Spread | None
    first_token: Spread | None
    tokens: Spread | None
    example: bool


def history(listing: Listing, name: str = DEFAULT, now: dt.datetime | None = None) -> History:
    """What was measured of a service in `WINDOWS[name]` (2 queries)."""
    now = now or timezone.now()
    window = WINDOWS[name]
    end = fold.floor(now, window.span) + window.span
    rows = Bucket.objects.filter(
        serving=listing.serving,
        provider=listing.provider,
        span=int(window.source.total_seconds()),
        start__gte=end - window.count * window.span,
    )
    tallies = {row.start: counting.tally(row) for row in rows.order_by("start")}
    cells = fold.row(tallies, end, window.span, window.count)
    whole = fold.together(tally for _, tally in cells)
    health = Health.objects.filter(serving=listing.serving, provider=listing.provider).first()
    return History(
        window=window,
        now=selectors.view(health, now) if health else selectors.unseen(listing.provider),
        cells=tuple(_cell(start, tally) for start, tally in cells),
        bar=bar([tally.word for _, tally in cells], window.span),
        uptime=None if whole.uptime is None else Uptime(whole.uptime, whole.probes, whole.cells),
        answer=spread(whole.answer_ms),
        first_token=spread(whole.first_token_ms),
        tokens=spread(whole.tokens_per_10s, edge=5),
        example=whole.example,
    )


def spread(values: tuple[int, ...], edge: int = 95) -> Spread | None:
    """Median and `edge` percentile of samples, None without any."""
    middle, outer = fold.percentile(values, 50), fold.percentile(values, edge)
    return None if middle is None or outer is None else Spread(middle, outer, len(values))


def _cell(start: dt.datetime, found: Tally) -> Cell:
    return Cell(
        start=start,
        state=found.word,
        uptime=found.uptime,
        probes=found.probes,
        answer=spread(found.answer_ms),
        first_token=spread(found.first_token_ms),
        tokens=spread(found.tokens_per_10s, edge=5),
        example=found.example,
    )
