"""Was this site well? Every few minutes somebody looks at its parts and writes down what it saw:
a worker by the timetable, and each web process by itself, so that one sees the other missing.

The first who comes to a period writes it. While the database is away looks are held in memory and
written when it is back. A period that nobody looked at stays empty: no data counts neither way.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock

import redis
from channels.db import database_sync_to_async
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F, Max
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_noop as N_

from alerts.models import Delivery
from alerts.models import State as DeliveryState
from attestation.models import Standing
from chain import selectors as chain
from ledger.models import Service
from marketplace import presence, timetable, traffic
from marketplace.models import ComponentDay, Look
from probes import selectors as probes
from probes.bars import Bar, bar
from probes.fold import NO_DATA
from probes.models import State

log = logging.getLogger(__name__)

PERIOD = dt.timedelta(minutes=5)
DAY = dt.timedelta(days=1)
SHOWN_DAYS = 90
#: A look is news for this long.
FRESH = 3 * PERIOD
#: Looks that wait for the database, the oldest go first: a day of them.
HELD = 288
#: More failures among at least so many requests of one period are trouble.
FAILED_PERCENT, FAILED_OF = 5, 20
#: Probes and verifications are due far more often than this.
MEASURED_LATELY, VERIFIED_LATELY = dt.timedelta(hours=1), dt.timedelta(hours=13)
#: An alert that should have left this long ago waits for us, not for its receiver.
DELIVERED_LATELY = dt.timedelta(minutes=10)

#: Name -> (what it is called, what is looked at); both translated where they are shown.
COMPONENTS: dict[str, tuple[str, str]] = {
    "site": (
        N_("Pages, playground and API"),
        N_("A web process is there, and fewer than one request in twenty fails."),
    ),
    "index": (N_("Index of the chain"), N_("Agrees with the chain’s head; late is degraded.")),
    "worker": (N_("Background work"), N_("Tasks of the timetable run in time.")),
    "probes": (N_("Measurements"), N_("A service was probed within the hour.")),
    "verification": (N_("Verification"), N_("Evidence was fetched within half a day.")),
    "alerts": (N_("Alerts"), N_("Nothing waits to be sent longer than ten minutes.")),
    "database": (N_("Database"), N_("It answers.")),
    "cache": (N_("Queue and cache"), N_("They answer.")),
}


@dataclass
class Seen:
    """What one look found; a component that cannot be judged right now is left out."""

    at: dt.datetime
    states: dict[str, str] = field(default_factory=dict)
    answered: int = 0
    failed: int = 0
    database: int | None = None


def period(now: dt.datetime) -> dt.datetime:
    """The beginning of the period that `now` is in."""
    return now - (now - dt.datetime.min.replace(tzinfo=dt.UTC)) % PERIOD


def look(now: dt.datetime) -> Seen:
    """Every component as it is now. Never raises for one that is away."""
    seen = Seen(period(now))
    try:
        seen.states["cache"] = State.UP
        _through_redis(seen, now)
    except redis.RedisError:
        seen.states = {"cache": State.DOWN}
    try:
        with transaction.atomic():
            _through_database(seen, now)
        seen.states["database"] = State.UP
    except DatabaseError:
        seen.states["database"] = State.DOWN
    return seen


def _through_redis(seen: Seen, now: dt.datetime) -> None:
    found = timetable.read(now)
    # What never ran is new, or Redis is: no lateness can be told.
    late = any(task.overdue and task.at is not None for task in found.tasks)
    seen.states["worker"] = _state(down=found.silent, degraded=late)
    seen.answered, seen.failed = traffic.sums()
    seen.states["site"] = _state(down=not presence.web())


def _through_database(seen: Seen, now: dt.datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        seen.database = cursor.fetchone()[0]
    head = chain.head(now)
    down = head.state in ("stale", "never", "halted")
    seen.states["index"] = _state(down=down, degraded=head.state == "late" or head.catching_up)
    if Service.current.filter(removed=False).exists():  # else there is nothing to look at
        if (probed := probes.totals(now).newest) is not None:
            seen.states["probes"] = _state(down=now - probed > MEASURED_LATELY)
        tried = Standing.objects.aggregate(newest=Max("tried_at"))["newest"]
        if tried is not None:
            seen.states["verification"] = _state(down=now - tried > VERIFIED_LATELY)
    waiting = Delivery.objects.filter(
        state=DeliveryState.WAITING, due_at__lt=now - DELIVERED_LATELY
    )
    seen.states["alerts"] = _state(degraded=waiting.exists())
    _judge_answers(seen)


def _judge_answers(seen: Seen) -> None:
    """Failures since the look before; without one, or where counting began again, none."""
    last = Look.objects.filter(at__lt=seen.at, at__gte=seen.at - FRESH).order_by("-at").first()
    if last is None or seen.answered < last.answered or "site" not in seen.states:
        return
    answered, failed = seen.answered - last.answered, seen.failed - last.failed
    if answered >= FAILED_OF and failed * 100 > answered * FAILED_PERCENT:
        seen.states["site"] = max(seen.states["site"], State.DEGRADED, key=_WORSE.index)


def _state(*, down: bool = False, degraded: bool = False) -> str:
    return State.DOWN if down else State.DEGRADED if degraded else State.UP


_WORSE = (State.UP, State.DEGRADED, State.DOWN)
_lock = Lock()
_held: dict[dt.datetime, Seen] = {}


def watch(now: dt.datetime | None = None) -> bool:
    """Look once in each period, and write what is not written yet; whether this wrote anything."""
    now = now or timezone.now()
    with _lock:
        try:
            if Look.objects.filter(at=period(now)).exists() and not _held:
                return False
        except DatabaseError:
            pass
        if period(now) not in _held:
            _held[period(now)] = look(now)
            while len(_held) > HELD:
                del _held[min(_held)]
        try:
            wrote = [_write(seen) for seen in list(_held.values())]
            return any(wrote)
        except DatabaseError as error:
            log.warning("what was seen of this site waits for the database: %s", error)
            return False


def _write(seen: Seen) -> bool:
    """Once for each period: of two who looked the first is believed."""
    try:
        with transaction.atomic():
            Look.objects.create(
                at=seen.at,
                states=seen.states,
                answered=seen.answered,
                failed=seen.failed,
                database=seen.database,
            )
            for component, state in seen.states.items():
                day, _ = ComponentDay.objects.get_or_create(component=component, day=seen.at.date())
                ComponentDay.objects.filter(pk=day.pk).update(**{state: F(state) + 1})
        wrote = True
    except IntegrityError:
        wrote = False
    _held.pop(seen.at, None)
    return wrote


async def keep_watch() -> None:
    """A web process looks at each period, a little after it began; until cancelled."""
    while True:
        now = timezone.now()
        wait = period(now) + PERIOD - now + dt.timedelta(seconds=random.uniform(1, 20))
        await asyncio.sleep(wait.total_seconds())
        try:
            await database_sync_to_async(watch)()
        except Exception as error:  # outermost frame of the loop
            log.warning("the site was not looked at: %s", error)


# --- what a page shows ----------------------------------------------------------------------------


TONES: dict[str, str] = {State.UP: "ok", State.DEGRADED: "warn", State.DOWN: "bad"}


@dataclass(frozen=True)
class Line:
    """One component: `state` at the last look, `at` (empty and None: nobody looked lately), and its
    last days."""

    name: str
    label: str
    what: str
    state: str
    at: dt.datetime | None
    days: tuple[ComponentDay | None, ...]

    @cached_property
    def bar(self) -> Bar:
        return bar([state_of(day) for day in self.days], DAY)

    @property
    def looks(self) -> int:
        return sum(day.up + day.degraded + day.down for day in self.days if day)

    @property
    def well(self) -> int | None:
        """Looks at which it was not down, in 1/10000, cut; None without any."""
        down = sum(day.down for day in self.days if day)
        return (self.looks - down) * 10_000 // self.looks if self.looks else None

    @property
    def tone(self) -> str:
        return TONES.get(self.state, "")


def state_of(day: ComponentDay | None) -> str:
    """A day in a word: down from half of its looks on, degraded from the first that was not up."""
    if day is None or not (total := day.up + day.degraded + day.down):
        return NO_DATA
    if day.down * 2 >= total:
        return State.DOWN
    return State.UP if day.up == total else State.DEGRADED


@dataclass(frozen=True)
class Trouble:
    """A day on which a component was not well at every look; minutes are looks times `PERIOD`."""

    day: dt.date
    label: str
    state: str
    down: int
    degraded: int


def lines(now: dt.datetime) -> tuple[Line, ...]:
    """SQL: two queries."""
    last = Look.objects.filter(at__gt=now - FRESH).order_by("-at").first()
    states = last.states if last is not None else {}
    today = now.date()
    days = [today - number * DAY for number in reversed(range(SHOWN_DAYS))]
    rows = ComponentDay.objects.filter(day__gte=days[0], day__lte=today)
    found = {(row.component, row.day): row for row in rows}
    return tuple(
        Line(
            name,
            *words,
            state=states.get(name, ""),
            at=last.at if last is not None and name in states else None,
            days=tuple(found.get((name, day)) for day in days),
        )
        for name, words in COMPONENTS.items()
    )


def troubles(shown: Iterable[Line]) -> tuple[Trouble, ...]:
    """The newest day first; days that were well throughout are left out."""
    minutes = int(PERIOD.total_seconds()) // 60
    found = [
        Trouble(day.day, line.label, state_of(day), day.down * minutes, day.degraded * minutes)
        for line in shown
        for day in line.days
        if day and (day.down or day.degraded)
    ]
    return tuple(sorted(found, key=lambda one: one.day, reverse=True))


def growth(now: dt.datetime, days: int) -> int | None:
    """Bytes by which the database grew in so many days; None where nobody looked so long ago."""
    looks = Look.objects.filter(database__isnull=False)
    before = looks.filter(at__lte=now - days * DAY).order_by("-at").first()
    last = looks.order_by("-at").first()
    if before is None or last is None or before.at < now - (days + 1) * DAY:
        return None
    return int(last.database or 0) - int(before.database or 0)
