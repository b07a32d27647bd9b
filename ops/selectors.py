"""What `/ops` reads. Each part says None where it cannot be known right now: a page about what is
broken must not break with it."""

from __future__ import annotations

import datetime as dt
import logging
import platform
from dataclasses import dataclass
from typing import Any

import celery
import django
import redis
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Count, Max, Min, Q
from django.utils.translation import gettext as _

from attestation.models import Finding, Outcome, Standing, Verification
from ledger.project import VERSION
from marketplace import presence, releases, traffic
from marketplace.disk import DiskSpace, space
from ops.failures import retriable
from ops.models import FailedTask, FailureState, Job
from probes import exchange
from probes import selectors as probes
from probes.dollars import Price
from probes.models import Probe

log = logging.getLogger(__name__)

TABLES_SHOWN = 8
FAILURES_SHOWN = 50
JOBS_SHOWN = 10
HOUR = dt.timedelta(hours=1)


def web() -> tuple[presence.Web, ...] | None:
    """Web processes; None while Redis does not answer."""
    try:
        return presence.web()
    except redis.RedisError as error:
        log.warning("web processes cannot be read: %s", error)
        return None


def limits_hit() -> dict[str, int] | None:
    """Refusals of the last day by limit; None while Redis does not answer."""
    try:
        return traffic.limits_hit()
    except redis.RedisError as error:
        log.warning("refusals cannot be read: %s", error)
        return None


@dataclass(frozen=True)
class Measuring:
    """What was probed and verified in the last hour, and the newest of each."""

    probed: int
    probes_failed: int
    probed_at: dt.datetime | None
    probes_of: probes.Totals
    verified: int
    unjudged: int
    verified_at: dt.datetime | None
    standings: int
    findings: int


def measuring(now: dt.datetime) -> Measuring:
    """SQL: five queries."""
    lately = Q(at__gt=now - HOUR)
    looks = Probe.objects.filter(example=False).filter(lately)
    seen = looks.aggregate(number=Count("pk"), bad=Count("pk", filter=~Q(failure="")))
    runs = Verification.objects.filter(started_at__gt=now - HOUR).aggregate(
        number=Count("pk"), bad=Count("pk", filter=~Q(outcome=Outcome.JUDGED))
    )
    totals = probes.totals(now)
    standing = Standing.objects.aggregate(number=Count("pk"), newest=Max("tried_at"))
    return Measuring(
        probed=seen["number"],
        probes_failed=seen["bad"],
        probed_at=totals.newest,
        probes_of=totals,
        verified=runs["number"],
        unjudged=runs["bad"],
        verified_at=standing["newest"],
        standings=standing["number"],
        findings=Finding.objects.filter(closed_at=None).count(),
    )


@dataclass(frozen=True)
class Dollars:
    """The host's source of the price in US dollars: what it said last, and why it did not since."""

    source: str
    price: Price | None
    problem: str


def in_dollars() -> Dollars | None:
    """None without a source. SQL: one query a minute at most."""
    if not (source := exchange.source()):
        return None
    return Dollars(source, exchange.newest(), exchange.problem())


@dataclass(frozen=True)
class Table:
    """`rows` is the database's own estimate; None before it made one."""

    name: str
    size: int
    rows: int | None


@dataclass(frozen=True)
class Storage:
    """Sizes in bytes; `redis` None while it does not answer."""

    database: int
    tables: tuple[Table, ...]
    connections: int
    connections_most: int
    redis: int | None
    disk: DiskSpace


_SIZES = """
SELECT pg_database_size(current_database()),
    (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),
    current_setting('max_connections')::int
"""
_TABLES = """
SELECT relname, pg_total_relation_size(oid) AS size, reltuples::bigint
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
ORDER BY size DESC LIMIT %s
"""


def storage() -> Storage:
    """SQL: two queries over the catalogue, not over rows."""
    database, used, most = _sizes()
    with connection.cursor() as cursor:
        cursor.execute(_TABLES, [TABLES_SHOWN])
        tables = tuple(Table(n, size, rows if rows >= 0 else None) for n, size, rows in cursor)
    return Storage(database, tables, used, most, _redis("used_memory"), space())


@dataclass(frozen=True)
class RoomLeft:
    """What runs out some day: bytes, connections, and failures that nobody handled."""

    failed: int
    database: int
    connections: int
    connections_most: int
    disk: DiskSpace


def room_left() -> RoomLeft:
    """SQL: two queries."""
    failed = FailedTask.objects.filter(state=FailureState.OPEN).count()
    return RoomLeft(failed, *_sizes(), space())


def _sizes() -> tuple[int, int, int]:
    with connection.cursor() as cursor:
        cursor.execute(_SIZES)
        database, used, most = cursor.fetchone()
    return database, used, most


def _redis(field: str) -> Any:
    try:
        info: Any = presence.client().info()
    except redis.RedisError:
        return None
    return info.get(field)


def versions() -> tuple[tuple[str, str], ...]:
    """What runs here, by name."""
    return (
        (_("Site"), releases.version()),
        (_("Rules of the index"), str(VERSION)),
        ("Python", platform.python_version()),
        ("Django", django.get_version()),
        ("Celery", str(celery.__version__)),
        ("PostgreSQL", _postgres()),
        (_("Redis or Valkey"), str(_redis("redis_version") or _("does not answer"))),
    )


def _postgres() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(cursor.fetchone()[0])


def set_up(now: dt.datetime) -> dt.datetime:
    """When this site's tables were made: since then something can be overdue. SQL: one query."""
    found = MigrationRecorder.Migration.objects.aggregate(first=Min("applied"))["first"]
    return found or now


def failures() -> tuple[tuple[FailedTask, ...], int, int]:
    """(the newest open failures, how many are open, how many of them `retry_all` takes). SQL: two
    queries."""
    rows = FailedTask.objects.filter(state=FailureState.OPEN).order_by("-last_at", "-pk")
    counts = rows.aggregate(all=Count("pk"), whole=Count("pk", filter=retriable()))
    return tuple(rows[:FAILURES_SHOWN]), counts["all"], counts["whole"]


def jobs() -> tuple[Job, ...]:
    """The newest jobs. SQL: one query."""
    rows = Job.objects.select_related("started_by").order_by("-created_at")
    return tuple(rows.defer("output")[:JOBS_SHOWN])
