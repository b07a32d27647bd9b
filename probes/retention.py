"""How long measurements are kept: finer rows go first, days stay for years."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from ledger.models import Service
from probes.fold import CELL, DAY, HOUR
from probes.models import Bucket, Health, Probe

#: Pages show single probes of a day, cells of two, hours of a week and days of a quarter.
KEPT_PROBES = dt.timedelta(days=8)
KEPT: dict[dt.timedelta, dt.timedelta] = {
    CELL: dt.timedelta(days=9),
    HOUR: dt.timedelta(days=35),
    DAY: dt.timedelta(days=3 * 365),
}


def old(now: dt.datetime | None = None) -> Iterator[tuple[str, QuerySet[Any]]]:
    """What may go, by name: probes and buckets past their time, health of services that are gone
    and were not probed for 90 days."""
    now = now or timezone.now()
    yield "probes", Probe.objects.filter(at__lt=now - KEPT_PROBES)
    past = Q(pk__in=())
    for span, kept in KEPT.items():
        past |= Q(span=int(span.total_seconds()), start__lt=now - kept)
    yield "buckets of probes", Bucket.objects.filter(past)
    listed = Service.current.filter(
        removed=False, serving=OuterRef("serving"), provider=OuterRef("provider")
    )
    silent = Health.objects.filter(updated_at__lt=now - dt.timedelta(days=90))
    yield "health of removed services", silent.exclude(Exists(listed))
