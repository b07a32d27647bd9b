"""Example data for a demonstration: buckets that nobody measured, and that say so.

Each service gets a character of its own (how often it fails, how fast it is) that depends on its
address alone, and outages that are the same in every span: cells, hours and days tell one story.
Stored measurements are never overwritten.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.utils import timezone

from ledger.records import Listing
from probes import counting, fold
from probes.fold import CELL, DAY, HOUR, WHOLE, Tally
from probes.models import Bucket, Health, State

#: How far back each span goes: what the windows of a page show.
REACH = {CELL: 100 * CELL, HOUR: 9 * DAY, DAY: 90 * DAY}
_BATCH = 2_000
#: Of one bucket: a day of a real one has more.
MOST_SAMPLES = 24
#: (share of services, outages in 90 days, their longest in hours, share of good cells in between)
_CHARACTERS = ((0.55, 2, 3, 0.999), (0.3, 8, 10, 0.99), (0.1, 40, 20, 0.93), (0.05, 60, 60, 0.8))


@dataclass(frozen=True)
class Character:
    """How one service behaves: outages as (start, end), and its usual speeds."""

    outages: tuple[tuple[dt.datetime, dt.datetime], ...]
    good: float
    answer_ms: int
    first_token_ms: int
    tokens_per_10s: int
    speaks: bool


def seed(listings: Iterable[Listing], now: dt.datetime | None = None) -> int:
    """Give these services 90 days of example buckets up to now; returns how many rows are new."""
    now = now or timezone.now()
    wanted = tuple(listings)
    before = Bucket.objects.count()
    rows: list[Bucket] = []
    for listing in wanted:
        rows += _buckets(listing, now)
        if len(rows) >= _BATCH:
            Bucket.objects.bulk_create(rows, batch_size=_BATCH, ignore_conflicts=True)
            rows = []
    Bucket.objects.bulk_create(rows, batch_size=_BATCH, ignore_conflicts=True)
    _refresh(wanted, now)
    return Bucket.objects.count() - before


def _refresh(listings: tuple[Listing, ...], now: dt.datetime) -> None:
    """The present of services that nobody has probed is that of their newest example cell."""
    for first in range(0, len(listings), 100):
        part = listings[first : first + 100]
        counting.begin(part)
        rows = list(Health.objects.filter(provider__in={listing.provider for listing in part}))
        urls = {(listing.serving, listing.provider): listing.url for listing in part}
        for row in rows:
            if row.checked_at is None or row.example:
                _pretend(row, urls.get((row.serving, row.provider), row.url), now)
        counting.refresh(rows, now)


def _pretend(row: Health, url: str, now: dt.datetime) -> None:
    # Nobody is there: looking for real would end the example within a minute.
    row.url, row.next_at = url, now + DAY
    rng = _rng(row.provider, "now")
    newest = (
        Bucket.objects.filter(
            serving=row.serving, provider=row.provider, span=int(CELL.total_seconds())
        )
        .order_by("-start")
        .first()
    )
    word = counting.tally(newest).word if newest else fold.NO_DATA
    row.state = word if word in State.values else ""
    row.checked_at, row.since = now, newest.start if newest else now
    row.tls_days, row.cors = rng.randint(3, 90), rng.random() < 0.9
    row.model_listed, row.usage_last = True, rng.random() < 0.9


def _rng(provider: str, what: str) -> random.Random:
    return random.Random(hashlib.sha256(f"{provider} {what}".encode()).digest())


def _character(listing: Listing, now: dt.datetime) -> Character:
    rng = _rng(listing.provider, listing.serving)
    place, outages, longest, good = rng.random(), 0, 1, 1.0
    for share, *rest in _CHARACTERS:
        outages, longest, good = int(rest[0]), int(rest[1]), float(rest[2])
        if place < share:
            break
        place -= share
    times = []
    for _ in range(rng.randint(0, outages)):
        # By whole days before today, so that a later run of the command tells the same story.
        begin = fold.floor(now, DAY) - dt.timedelta(hours=rng.uniform(-24, 89 * 24))
        times.append((begin, begin + dt.timedelta(hours=rng.uniform(0.3, longest))))
    return Character(
        outages=tuple(times),
        good=good,
        answer_ms=rng.randint(25, 400),
        first_token_ms=rng.randint(180, 2_500),
        tokens_per_10s=rng.randint(150, 1_400),
        speaks=listing.service_type == "chatbot",
    )


def _buckets(listing: Listing, now: dt.datetime) -> Iterator[Bucket]:
    character = _character(listing, now)
    rng = _rng(listing.provider, "noise")
    for span, reach in REACH.items():
        start = fold.floor(now - reach, span) + span
        while start + span <= now:
            found = _tally(character, start, span, rng)
            yield counting.bucket(listing.serving, listing.provider, start, span, found)
            start += span


def _tally(
    character: Character, start: dt.datetime, span: dt.timedelta, rng: random.Random
) -> Tally:
    cells = span // CELL
    down = sum(
        (max(min(end, start + span) - max(begin, start), dt.timedelta()) for begin, end in
         character.outages),
        dt.timedelta(),
    )  # fmt: skip
    away = min(1.0, down / span)
    answered = round((1 - away) * cells * WHOLE)
    lame = 0 if rng.random() < character.good else rng.uniform(0.02, 0.5)
    up = round(cells * (1 - away))
    hours = max(1, round(span / HOUR)) if span >= HOUR else int(rng.random() < 0.25)
    spoken = min(MOST_SAMPLES, round(hours * (1 - away))) if character.speaks else 0

    def around(usual: int) -> int:
        return max(1, round(usual * rng.lognormvariate(0, 0.25)))

    return Tally(
        probes=3 * up + (cells - up),
        cells=cells,
        answered=answered,
        good=round(answered * (1 - lame)),
        answer_ms=tuple(around(character.answer_ms) for _ in range(min(up, MOST_SAMPLES))),
        first_token_ms=tuple(around(character.first_token_ms) for _ in range(spoken)),
        tokens_per_10s=tuple(around(character.tokens_per_10s) for _ in range(spoken)),
        example=True,
    )
