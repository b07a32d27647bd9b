"""How many requests were answered, how, and how fast, for `/metrics`.

A process counts in its memory, some microseconds of a request, and adds to Redis every few
seconds what came since; so one process answers a scrape for all, and the sums outlive each of them.
What an ending process had not told yet is lost, and an empty Redis begins again at zero, as
Prometheus expects of counters.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from threading import Lock
from typing import TYPE_CHECKING, Any

import redis
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from accounts import limits
from inference import turnlog
from marketplace import presence

if TYPE_CHECKING:
    from inference.hub import Hub

KEY = "presence:traffic"
#: Refusals by a limit, for each hour (unix hours) of the last day.
HITS, HITS_HOURS = "presence:limits:", 24
#: Upper ends of a histogram's steps (seconds), to the first byte of an answer.
STEPS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: By how the path begins; everything else is `page`. Nothing that a stranger chooses is a label.
DOORS = (
    ("/api/", "api"),
    ("/v1/", "relay"),
    ("/ops", "staff"),
    ("/admin", "staff"),
    ("/freshness", "poll"),
    ("/healthz", "poll"),
    ("/readyz", "poll"),
    ("/metrics", "poll"),
)

_lock = Lock()
#: `door|status|2xx`, `door|step|3` and `door|microseconds`, since they were last told.
_since: Counter[str] = Counter()


def door(path: str) -> str:
    return next((name for start, name in DOORS if path.startswith(start)), "page")


def count(path: str, status: int, began: float) -> None:
    """One answer; `began` on the clock of `time.perf_counter`, `status` 0 for who left before."""
    took, name = time.perf_counter() - began, door(path)
    word = f"{status // 100}xx" if status else "gone"
    with _lock:
        _since[f"{name}|status|{word}"] += 1
        _since[f"{name}|step|{bisect_left(STEPS, took)}"] += 1
        _since[f"{name}|microseconds"] += round(took * 1_000_000)


async def tell(hub: Hub) -> None:
    """One of `inference.hub.CHORES`: what came since the last time."""
    global _since
    with _lock:
        told, _since = _since, Counter()
    hits = limits.take_hits()
    told.update({f"limit|hit|{name}": number for name, number in hits.items()})
    if not told:
        return
    client: Any = turnlog.client()
    hour = f"{HITS}{int(time.time()) // 3600}"
    try:
        async with client.pipeline(transaction=True) as pipe:
            for name, number in told.items():
                pipe.hincrby(KEY, name, number)
            pipe.expire(KEY, presence.KEPT_SECONDS)
            for name, number in hits.items():
                pipe.hincrby(hour, name, number)
            if hits:
                pipe.expire(hour, (HITS_HOURS + 1) * 3600)
            await pipe.execute()
    except redis.RedisError:
        with _lock:
            _since.update(told)
        raise


def limits_hit() -> dict[str, int]:
    """Refusals of the last day by the limit's name, the most first. Raises RedisError."""
    now = int(time.time()) // 3600
    with presence.client().pipeline(transaction=False) as pipe:
        for hour in range(now - HITS_HOURS + 1, now + 1):
            pipe.hgetall(f"{HITS}{hour}")
        found: Counter[str] = Counter()
        for hours in pipe.execute():
            found.update({name.decode(): int(number) for name, number in hours.items()})
    return dict(found.most_common())


def sums() -> tuple[int, int]:
    """(answered requests, those that failed here), of all doors but the relay's, whose failures
    are mostly its providers'. Raises RedisError."""
    raw: Any = presence.client().hgetall(KEY)
    kept = {name.decode(): int(number) for name, number in raw.items() if b"|status|" in name}
    own = {name: number for name, number in kept.items() if not name.startswith("relay|")}
    return sum(own.values()), sum(n for name, n in own.items() if name.endswith("|5xx"))


def families() -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
    """What all processes counted. Raises RedisError."""
    raw: Any = presence.client().hgetall(KEY)
    kept = {tuple(name.decode().split("|")): int(number) for name, number in raw.items()}
    answered = CounterMetricFamily("http_requests", "Requests answered", labels=["door", "status"])
    for (name, kind, *word), number in sorted(kept.items()):
        if kind == "status":
            answered.add_metric([name, *word], number)
    yield answered
    refused = CounterMetricFamily("limits_hit", "Refusals by a limit", labels=["limit"])
    for (_, kind, *word), number in sorted(kept.items()):
        if kind == "hit":
            refused.add_metric(word, number)
    yield refused
    took = HistogramMetricFamily(
        "http_request_seconds", "Time to the beginning of an answer", labels=["door"]
    )
    for name in sorted({name for name, kind, *_ in kept if kind == "step"}):
        buckets, sofar = [], 0
        for step, end in enumerate((*map(str, STEPS), "+Inf")):
            sofar += kept.get((name, "step", str(step)), 0)
            buckets.append((end, sofar))
        took.add_metric([name], buckets, kept.get((name, "microseconds"), 0) / 1_000_000)
    yield took
