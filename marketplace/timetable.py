"""Which tasks of the timetable ran, and which should have."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass

import redis
from django.conf import settings

from marketplace import presence

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scheduled:
    """A task of the timetable; `every` in seconds, `at` None where no run is known."""

    name: str
    every: int
    at: dt.datetime | None
    milliseconds: int
    ok: bool
    overdue: bool


@dataclass(frozen=True)
class Background:
    """The queue and the timetable."""

    queued: int
    taken: int
    tasks: tuple[Scheduled, ...]

    @property
    def silent(self) -> bool:
        """Nothing ran for so long that worker or beat are down, or stuck."""
        return all(task.overdue for task in self.tasks)


#: A task is overdue after so many of its periods, but never before LEAST (a worker restarts).
PERIODS, LEAST = 3, 120.0


def background(now: dt.datetime) -> Background | None:
    """None while Redis does not answer."""
    try:
        return read(now)
    except redis.RedisError as error:
        log.warning("the queue cannot be read: %s", error)
        return None


def read(now: dt.datetime) -> Background:
    """Raises RedisError."""
    queued, taken = presence.waiting()
    ran = presence.tasks()
    tasks = []
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        name, every = str(entry["task"]), round(float(entry["schedule"]))
        last = ran.get(name)
        at = dt.datetime.fromtimestamp(last.at, dt.UTC) if last else None
        age = (now - at).total_seconds() if at else None
        tasks.append(
            Scheduled(
                name=name,
                every=every,
                at=at,
                milliseconds=last.milliseconds if last else 0,
                ok=last.ok if last else True,
                overdue=age is None or age > max(LEAST, PERIODS * every),
            )
        )
    return Background(queued, taken, tuple(sorted(tasks, key=lambda task: task.name)))
