"""Reads of what was measured: lists ask `health_of`, pages ask for windows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.db.models import (
    Count,
    Exists,
    F,
    IntegerField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.utils import timezone
from django.utils.translation import gettext as _

from attestation.selectors import ServiceKey
from ledger import tags
from probes import fold
from probes.bars import NO_BAR, Bar, bar_of
from probes.models import Health, Sharer, State

#: Without a probe for so long nothing is said about the present.
STALE_AFTER = dt.timedelta(hours=2)
BAR_SPAN, BAR_CELLS = dt.timedelta(hours=6), 28
#: How long after the last probe a window's numbers, which end with it, are told: an eighth of the
#: window. Later they would be of an older one, so they are no data.
TOLD_FOR: Mapping[str, dt.timedelta] = {
    "24h": dt.timedelta(hours=24) / 8,
    "7d": dt.timedelta(days=7) / 8,
    "90d": dt.timedelta(days=90) / 8,
}


@dataclass(frozen=True)
class Uptime:
    """`share`: 1/10000 of the measured quarters of an hour (`cells`), from `probes` probes."""

    share: int
    probes: int
    cells: int

    @property
    def percent(self) -> str:
        """`99.31`, cut and never rounded up."""
        return fold.percent(self.share)

    @property
    def text(self) -> str:
        return f"{self.percent} %"


@dataclass(frozen=True)
class Spread:
    """Percentiles of `n` samples: milliseconds, or tokens per 10 s. `edge` is p95, of speeds p5:
    what 19 of 20 answers were better than."""

    p50: int
    edge: int
    n: int


@dataclass(frozen=True)
class HealthView:
    """What our probes say about one service. `state`: up, degraded, down or none (no data).

    `uptime` has the windows that have recent data; spreads are of the last 7 days. `example`: made
    by `seed_demo --history`; say so wherever a number of it is shown.
    """

    state: str = fold.NO_DATA
    since: dt.datetime | None = None
    checked_at: dt.datetime | None = None
    failure: str = ""
    note: str = ""
    uptime: Mapping[str, Uptime] | None = None
    answer: Spread | None = None
    first_token: Spread | None = None
    tokens: Spread | None = None
    tls_days: int | None = None
    cors: bool | None = None
    model_listed: bool | None = None
    usage_last: bool | None = None
    bar: Bar = NO_BAR
    opted_out: bool = False
    example: bool = False

    @property
    def uptime_7d(self) -> Uptime | None:
        return (self.uptime or {}).get("7d")


#: What is said about a service that was never probed.
UNKNOWN = HealthView(bar=bar_of("-" * BAR_CELLS, BAR_SPAN))


def health_of(
    services: Iterable[ServiceKey], now: dt.datetime | None = None
) -> dict[ServiceKey, HealthView]:
    """What is known about each of a page's services (1 query); every key is in the answer."""
    wanted = dict.fromkeys(services, UNKNOWN)
    if not wanted:
        return {}
    now = now or timezone.now()
    wanted = {key: unseen(key.provider) for key in wanted}
    for row in Health.objects.filter(provider__in={key.provider for key in wanted}):
        key = ServiceKey.of(row)
        if key in wanted:
            wanted[key] = view(row, now)
    return wanted


def view(row: Health, now: dt.datetime) -> HealthView:
    """A row as it is to be read at `now`."""
    if row.checked_at is None or row.bar_end is None:
        return replace(UNKNOWN, opted_out=_opted_out(row))
    silent = now - row.checked_at
    recent = silent <= TOLD_FOR["7d"]
    return HealthView(
        state=(row.state if silent <= STALE_AFTER else "") or fold.NO_DATA,
        since=row.since,
        checked_at=row.checked_at,
        failure=row.failure,
        note=_(row.note) if row.note else "",
        uptime={name: found for name in TOLD_FOR if (found := _uptime(row, name, silent))},
        answer=_spread(row, "answer", "p95") if recent else None,
        first_token=_spread(row, "first_token", "p95") if recent else None,
        tokens=_spread(row, "tokens", "p5") if recent else None,
        tls_days=tls_days(row, now),
        cors=row.cors,
        model_listed=row.model_listed,
        usage_last=row.usage_last,
        bar=bar_of(fold.moved(row.bar, row.bar_end, now, BAR_SPAN), BAR_SPAN),
        opted_out=_opted_out(row),
        example=row.example,
    )


def tls_days(row: Health, now: dt.datetime) -> int | None:
    """Days left of the certificate, by the look that saw it last: while it is down none does."""
    seen = row.since if row.state == State.DOWN and row.since else row.checked_at
    return None if row.tls_days is None or seen is None else row.tls_days - (now - seen).days


def unseen(provider: str) -> HealthView:
    """What is said about a service that was never probed."""
    return replace(UNKNOWN, opted_out=True) if provider in settings.PROBE_OPT_OUT else UNKNOWN


def _opted_out(row: Health) -> bool:
    return row.opted_out or row.provider in settings.PROBE_OPT_OUT


def _uptime(row: Health, window: str, silent: dt.timedelta) -> Uptime | None:
    share = getattr(row, f"uptime_{window}")
    if share is None or silent > TOLD_FOR[window]:
        return None
    return Uptime(share, getattr(row, f"probes_{window}"), getattr(row, f"cells_{window}"))


def _spread(row: Health, name: str, edge: str) -> Spread | None:
    middle, number = getattr(row, f"{name}_p50"), getattr(row, f"{name}_n")
    return None if middle is None else Spread(middle, getattr(row, f"{name}_{edge}"), number)


def shares(user: int) -> bool:
    """Whether this user lets the times of their answers count (1 query)."""
    return Sharer.objects.filter(user=user).exists()


@dataclass(frozen=True)
class Totals:
    """Services by what their newest probe said (`none`: nothing recent), and when the newest of
    all probes was."""

    states: Mapping[str, int]
    newest: dt.datetime | None


def totals(now: dt.datetime | None = None) -> Totals:
    """Over all services that were ever probed; example data is not counted (1 query)."""
    now = now or timezone.now()
    fresh = Q(checked_at__gt=now - STALE_AFTER)
    found = Health.objects.filter(example=False, checked_at__isnull=False).aggregate(
        newest=Max("checked_at"),
        none=Count("pk", filter=~fresh),
        **{state: Count("pk", filter=fresh & Q(state=state)) for state in State.values},
    )
    newest = found.pop("newest")
    return Totals(found, newest)


# --- for lists of services ------------------------------------------------------------------------

#: `sort=` values of lists and the column of `Health` behind them.
SORTS: Mapping[str, str] = {
    "uptime": "uptime_7d",
    "ttft": "first_token_p50",
    "speed": "tokens_p50",
}


def week_told() -> dt.datetime:
    """The numbers of 7 days are told of services that were probed after this moment."""
    return timezone.now() - TOLD_FOR["7d"]


def measured(name: str) -> Subquery:
    """A key of `SORTS` as a column to annotate `ledger.Service` rows with; NULL without data."""
    rows = Health.objects.filter(serving=OuterRef("serving"), provider=OuterRef("provider"))
    rows = rows.filter(checked_at__gt=week_told())
    return Subquery(rows.values(found=F(SORTS[name]))[:1], output_field=IntegerField(null=True))


@dataclass(frozen=True)
class Reliable:
    """`uptime=` as a `ledger.selectors.Condition`: at least this share (1/10000) of the last 7
    days; `state` as in `attestation.selectors.Verified`."""

    share: int
    state: tuple[Any, ...]

    def q(self) -> Q:
        rows = Health.objects.filter(
            serving=OuterRef("serving"),
            provider=OuterRef("provider"),
            uptime_7d__gte=self.share,
            checked_at__gt=week_told(),
        )
        return Q(Exists(rows))


@dataclass(frozen=True)
class Answering:
    """`answers=` as a `ledger.selectors.Condition`: up or degraded at the last probe, which is not
    older than STALE_AFTER; `state` as above."""

    state: tuple[Any, ...]

    def q(self) -> Q:
        rows = Health.objects.filter(
            serving=OuterRef("serving"),
            provider=OuterRef("provider"),
            state__in=(State.UP, State.DEGRADED),
            checked_at__gt=timezone.now() - STALE_AFTER,
        )
        return Q(Exists(rows))


def answering() -> Answering:
    """The condition "answered our last probe" (1 query)."""
    return Answering(state())


def reliable(share: int) -> Reliable:
    """The condition "up at least `share`/10000 of the last 7 days" (1 query)."""
    return Reliable(share, state())


def state(now: dt.datetime | None = None) -> tuple[Any, ...]:
    """Changes whenever what `health_of` says changes (1 query): for ETags and kept lists."""
    return tuple(Health.objects.aggregate(**_counted(now or timezone.now())).values())


def state_within(now: tags.Moment | None = None) -> QuerySet[Any, Any]:
    """The same as one value, for a statement that reads more (0 queries)."""
    return tags.within(Health.objects.all(), **_counted(now or timezone.now()))


def _counted(now: tags.Moment) -> dict[str, Any]:
    fresh = Q(checked_at__gt=now - STALE_AFTER)
    cell = tags.made_of(now, lambda at: fold.floor(at, fold.CELL))
    return {
        "written": tags.moments("updated_at"),
        "fresh": Count("pk", filter=fresh),
        "rows": Count("pk"),
        # Windows end with the cell of now, whether anybody probes or not; bars move less often.
        "cell": Max(cell, default=cell),
    }
