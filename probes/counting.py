"""Derived rows: cells from probes, hours from cells, days from hours, health from all of them.

Any of them can be made again while what it is counted from is kept (`probes.retention`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib.postgres.aggregates import BoolOr
from django.db.models import Sum

from attestation.models import MAX_SERVICE_NAME
from ledger.models import ServiceChange
from ledger.records import Listing
from probes import fold
from probes.fold import CELL, DAY, HOUR, Seen, Tally
from probes.models import Bucket, Health, Probe
from probes.selectors import BAR_CELLS, BAR_SPAN
from probes.stream import tokens_per_10s

Pair = tuple[str, str]
Moment = tuple[str, str, dt.datetime]
_FIELDS = (
    *("probes", "cells", "answered", "good"),
    *("answer_ms", "first_token_ms", "tokens_per_10s", "example"),
)


def recount(cells: Iterable[Moment]) -> None:
    """Make these cells `(serving, provider, start)` anew, with their hours and days (6 queries)."""
    wanted = set(cells)
    if not wanted:
        return
    _write(CELL, _cells(wanted))
    for finer, span in ((CELL, HOUR), (HOUR, DAY)):
        wanted = {(serving, provider, fold.floor(at, span)) for serving, provider, at in wanted}
        _write(span, _sums(wanted, finer, span))


def _cells(wanted: set[Moment]) -> dict[Moment, Tally]:
    starts = [start for *_, start in wanted]
    rows = Probe.objects.filter(
        provider__in={provider for _, provider, _ in wanted},
        at__gte=min(starts),
        at__lt=max(starts) + CELL,
    ).order_by("at", "pk")
    seen: dict[Moment, list[Seen]] = {}
    for row in rows:
        moment = (row.serving, row.provider, fold.floor(row.at, CELL))
        if moment in wanted:
            speed = tokens_per_10s(row.tokens, row.stream_ms)
            seen.setdefault(moment, []).append(
                Seen(row.state, row.answer_ms, row.first_token_ms, speed, row.example)
            )
    return {moment: fold.cell(probes) for moment, probes in seen.items()}


def _sums(wanted: set[Moment], finer: dt.timedelta, span: dt.timedelta) -> dict[Moment, Tally]:
    starts = [start for *_, start in wanted]
    rows = Bucket.objects.filter(
        span=_seconds(finer),
        provider__in={provider for _, provider, _ in wanted},
        start__gte=min(starts),
        start__lt=max(starts) + span,
    ).order_by("start")
    parts: dict[Moment, list[Tally]] = {}
    for row in rows:
        moment = (row.serving, row.provider, fold.floor(row.start, span))
        if moment in wanted:
            parts.setdefault(moment, []).append(tally(row))
    return {moment: fold.together(found) for moment, found in parts.items()}


def _write(span: dt.timedelta, tallies: dict[Moment, Tally]) -> None:
    Bucket.objects.bulk_create(
        [bucket(*moment, span, found) for moment, found in tallies.items()],
        update_conflicts=True,
        unique_fields=["serving", "provider", "span", "start"],
        update_fields=list(_FIELDS),
    )


def bucket(
    serving: str, provider: str, start: dt.datetime, span: dt.timedelta, found: Tally
) -> Bucket:
    """The row of a tally, not saved."""
    return Bucket(
        serving=serving,
        provider=provider,
        span=_seconds(span),
        start=start,
        probes=found.probes,
        cells=found.cells,
        answered=found.answered,
        good=found.good,
        answer_ms=list(found.answer_ms),
        first_token_ms=list(found.first_token_ms),
        tokens_per_10s=list(found.tokens_per_10s),
        example=found.example,
    )


def tally(row: Bucket) -> Tally:
    """The tally of a row."""
    return Tally(
        probes=row.probes,
        cells=row.cells,
        answered=row.answered,
        good=row.good,
        answer_ms=tuple(row.answer_ms),
        first_token_ms=tuple(row.first_token_ms),
        tokens_per_10s=tuple(row.tokens_per_10s),
        example=row.example,
    )


def begin(listings: Iterable[Listing]) -> None:
    """Make the row of each service that has none yet (1 query)."""
    rows = [
        Health(
            serving=listing.serving,
            provider=listing.provider,
            kind=listing.kind,
            service_name=listing.service_name[:MAX_SERVICE_NAME],
        )
        for listing in listings
    ]
    Health.objects.bulk_create(rows, ignore_conflicts=True)


def refresh(rows: Sequence[Health], now: dt.datetime) -> None:
    """Fill in what the windows that end now say, and save (5 queries for any number of rows)."""
    providers = {row.provider for row in rows}
    end = fold.floor(now, CELL) + CELL
    bar_end = fold.floor(now, BAR_SPAN) + BAR_SPAN
    day = _window(providers, CELL, end - DAY)
    quarter = _window(providers, DAY, fold.floor(now, DAY) - 89 * DAY)
    week: dict[Pair, dict[dt.datetime, Tally]] = {}
    hours = Bucket.objects.filter(
        span=_seconds(HOUR), provider__in=providers, start__gte=bar_end - BAR_CELLS * BAR_SPAN
    )
    for found in hours.order_by("start"):
        week.setdefault((found.serving, found.provider), {})[found.start] = tally(found)
    changed = _changed(providers, bar_end - BAR_CELLS * BAR_SPAN)
    for row in rows:
        pair = (row.serving, row.provider)
        kept = week.get(pair, {})
        _fill(row, "24h", day.get(pair))
        _fill(row, "90d", quarter.get(pair))
        whole = fold.together(kept.values())
        _fill(row, "7d", {"share": whole.uptime, "probes": whole.probes, "cells": whole.cells})
        since, model = changed.get(pair), whole
        if since is not None:
            model = fold.together(part for start, part in kept.items() if start >= since)
        _spreads(row, whole, model)
        cells = fold.row(kept, bar_end, BAR_SPAN, BAR_CELLS)
        row.bar, row.bar_end = "".join(fold.LETTERS[found.word] for _, found in cells), bar_end
        row.example = bool((quarter.get(pair) or {}).get("example")) or whole.example
    kept_back = {"id", "serving", "provider"}
    names = [field.name for field in Health._meta.concrete_fields if field.name not in kept_back]
    # One statement for all rows; `bulk_update` would write a CASE for each of them and each field.
    Health.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["serving", "provider"], update_fields=names
    )


def _changed(providers: Iterable[str], since: dt.datetime) -> dict[Pair, dt.datetime]:
    """When services last became others since a moment: how fast one model writes says nothing of
    the next one, which the same lists are asked for (1 query)."""
    rows = ServiceChange.objects.filter(
        provider__in=providers, change__in=("model", "type", "removed"), at__gte=since
    )
    newest = rows.order_by("serving", "provider", "-at").distinct("serving", "provider")
    found = newest.values_list("serving", "provider", "at")
    return {(serving, provider): at for serving, provider, at in found}


def _window(
    providers: set[str], span: dt.timedelta, since: dt.datetime
) -> dict[Pair, dict[str, Any]]:
    """Sums of the buckets of one span since a moment, by service (1 query)."""
    rows = (
        Bucket.objects.filter(span=_seconds(span), provider__in=providers, start__gte=since)
        .values("serving", "provider")
        .annotate(
            answered=Sum("answered"),
            probes=Sum("probes"),
            cells=Sum("cells"),
            example=BoolOr("example"),
        )
    )
    return {
        (row["serving"], row["provider"]): {
            "share": row["answered"] // row["cells"] if row["cells"] else None,
            "probes": row["probes"],
            "cells": row["cells"],
            "example": row["example"],
        }
        for row in rows
    }


def _fill(row: Health, window: str, found: dict[str, Any] | None) -> None:
    found = found or {}
    setattr(row, f"uptime_{window}", found.get("share"))
    setattr(row, f"probes_{window}", found.get("probes", 0))
    setattr(row, f"cells_{window}", found.get("cells", 0))


def _spreads(row: Health, whole: Tally, model: Tally) -> None:
    """`model`: of the hours in which it was the one that is listed."""
    row.answer_p50 = fold.percentile(whole.answer_ms, 50)
    row.answer_p95 = fold.percentile(whole.answer_ms, 95)
    row.answer_n = len(whole.answer_ms)
    row.first_token_p50 = fold.percentile(model.first_token_ms, 50)
    row.first_token_p95 = fold.percentile(model.first_token_ms, 95)
    row.first_token_n = len(model.first_token_ms)
    row.tokens_p50 = fold.percentile(model.tokens_per_10s, 50)
    row.tokens_p5 = fold.percentile(model.tokens_per_10s, 5)
    row.tokens_n = len(model.tokens_per_10s)


def _seconds(span: dt.timedelta) -> int:
    return int(span.total_seconds())
