"""How long measurements are kept: finer rows go first, days stay for years."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db.models import Exists, Q, QuerySet

from attestation.selectors import listed
from probes.fold import CELL, DAY, HOUR
from probes.models import Bucket, ExchangeRate, Health, Probe

#: Pages show single probes of a day, cells of two, hours of a week and days of a quarter.
KEPT_PROBES = dt.timedelta(days=8)
#: Only the newest is shown; the others say where a wrong one came from.
KEPT_RATES = dt.timedelta(days=30)
KEPT: dict[dt.timedelta, dt.timedelta] = {
    CELL: dt.timedelta(days=9),
    HOUR: dt.timedelta(days=35),
    DAY: dt.timedelta(days=3 * 365),
}


def probes(now: dt.datetime) -> QuerySet[Any]:
    """Single looks past their time."""
    return Probe.objects.filter(at__lt=now - KEPT_PROBES)


def buckets(now: dt.datetime) -> QuerySet[Any]:
    """Cells, hours and days past their time."""
    past = Q(pk__in=())
    for span, kept in KEPT.items():
        past |= Q(span=int(span.total_seconds()), start__lt=now - kept)
    return Bucket.objects.filter(past)


def health(now: dt.datetime) -> QuerySet[Any]:
    """Of services that are gone and were not probed for 90 days."""
    silent = Health.objects.filter(updated_at__lt=now - dt.timedelta(days=90))
    return silent.exclude(Exists(listed()))


def rates(now: dt.datetime) -> QuerySet[Any]:
    """Prices of 0G past their time; what is that old is not shown any more."""
    return ExchangeRate.objects.filter(at__lt=now - KEPT_RATES)
