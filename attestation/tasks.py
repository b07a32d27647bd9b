"""The worker's part: what is due is found by comparing rows, no signal has to be caught.

A service is due when nobody looked at it yet, when the listing differs from what the last run was
about, every six hours with a jitter of its own, and sooner while it cannot be reached.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from celery import shared_task
from django.conf import settings
from django.core.cache import cache
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import JSONObject
from django.utils import timezone

from attestation import findings, leases, services
from attestation.errors import Busy, LineDown, UnknownService
from attestation.models import Request, Standing, Trigger, Verification
from attestation.selectors import BASIS, ServiceKey, listed
from ledger import selectors as ledger
from ledger.models import Service
from ledger.records import Listing

INTERVAL = timedelta(hours=6)
#: Up to so much of the interval earlier, by a number that each service keeps: they spread out.
JITTER = 0.2
#: A listing that changes all the time is looked at no more often than this.
LEAST = timedelta(seconds=30)
#: While nobody answers: first after this, then in doubling steps up to the interval.
FIRST_RETRY = timedelta(minutes=2)
BATCH = 16
#: A request that no worker could answer for so long is given up.
ASKED_FOR = timedelta(minutes=10)
#: Like no listing: were a removed service listed again, it would be due at once, and its verdict
#: would be about another listing.
_GONE = {"removed": True}
#: Beat comes again soon; until then new listings are looked for once more.
WORK_SECONDS = 60

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One run to make. `by` is the primary key of the user who asked, `request` of the row that
    says so, None where nobody did."""

    key: ServiceKey
    trigger: Trigger
    by: int | None = None
    request: int | None = None


@shared_task(name=services.TASK, expires=services.ASKED_EVERY_SECONDS)
def answer() -> int:
    """Look at what visitors asked for, several at once; returns how many."""
    return _work("attestation:answering", _requested)


@shared_task(name="attestation.sweep", expires=14)
def sweep() -> int:
    """Every few seconds by beat: look at what is due, several at once; returns how many."""
    if Request.objects.exists():  # its task was lost, or came while another was ending
        answer.delay()
    _retire(timezone.now())
    findings.vouched(timezone.now())
    return _work("attestation:sweeping", _due)


def _work(slot: str, more: Callable[[set[ServiceKey]], list[Job]]) -> int:
    """Do jobs until there are no more, or for `WORK_SECONDS`; at once only one of each slot.

    So slow providers, however many, keep two of the worker's threads waiting at most. `more` is
    told which services were looked at already.
    """
    lease = leases.take(slot)
    if lease is None:
        return 0
    done, began = set[ServiceKey](), time.monotonic()
    try:
        while time.monotonic() - began < WORK_SECONDS:
            jobs = more(done)
            if not jobs:
                break
            async_to_sync(_kept_busy)(slot, lease, jobs)
            done |= {job.key for job in jobs}
    finally:
        leases.give_back(slot, lease)
    return len(done)


def _due(done: set[ServiceKey]) -> list[Job]:
    found = (Job(key, trigger) for key, trigger in due(timezone.now()) if key not in done)
    return list(islice(found, BATCH))


def _requested(done: set[ServiceKey]) -> list[Job]:
    """The oldest requests. Each goes once it was answered: a worker that dies in the middle leaves
    it to the next one, but not for ever, since it may be what kills them."""
    Request.objects.filter(at__lt=timezone.now() - ASKED_FOR).delete()
    jobs = []
    for row in Request.objects.order_by("at", "pk")[:BATCH]:
        key = ServiceKey.of(row)
        if key not in done:
            jobs.append(Job(key, Trigger.ASKED, row.requested_by, row.pk))
    return jobs


async def _kept_busy(slot: str, lease: str, jobs: list[Job]) -> None:
    async with leases.renewed(slot, lease):
        await _look_at(jobs)


async def _look_at(jobs: list[Job]) -> None:
    async def one(job: Job) -> None:
        try:
            await services.verify_async(job.key, job.trigger, job.by)
        except (Busy, UnknownService):
            pass  # somebody else looks at it, or nobody offers it any more
        except LineDown:
            logger.warning("nobody answers: not a run, it may be our own line")
            await sync_to_async(_failed)(job.key)
        except Exception:
            # One service must not keep the others from being looked at.
            logger.exception("a verification failed", extra={"provider": job.key.provider})
            await sync_to_async(_failed)(job.key)
        if job.request is not None:
            await sync_to_async(Request.objects.filter(pk=job.request).delete)()

    await asyncio.gather(*(one(job) for job in jobs))


def _failed(key: ServiceKey) -> None:
    """Something of ours is broken: the service is due again after `FIRST_RETRY`, not at once."""
    cache.set(_name(key), 1, timeout=round(FIRST_RETRY.total_seconds()))


def due(now: datetime) -> Iterator[tuple[ServiceKey, Trigger]]:
    """Services to look at now, new and changed ones first (3 queries; 4 with a wallet)."""
    known = ledger.contracts()
    for row in _unlike(now)[: 10 * BATCH]:
        trigger = Trigger.CHANGED if row.looked else Trigger.LISTED
        key = ServiceKey.of(Listing.of(row, known))
        if cache.get(_name(key)) is None:
            yield key, trigger
    silent = Q(unreachable_since__isnull=False, tried_at__lte=now - FIRST_RETRY)
    # By a clock that was wrong: its verdict would last too long.
    ahead = Q(tried_at__gt=now + LEAST)
    maybe = ahead | silent | Q(tried_at__lte=now - INTERVAL * (1 - JITTER))
    waiting = Standing.objects.filter(maybe).filter(Exists(listed())).order_by("tried_at")
    for standing in waiting.defer("endpoints", "questions").iterator():
        key = ServiceKey.of(standing)
        if (
            not (standing.tried_at or now) <= now < next_run(standing)
            and cache.get(_name(key)) is None
        ):
            yield key, Trigger.SCHEDULE
    for standing in _unpaid(now) if settings.SITE_WALLET_KEY else ():
        key = ServiceKey.of(standing)
        if cache.get(_name(key)) is None:
            yield key, Trigger.SCHEDULE


def _unpaid(now: datetime) -> QuerySet[Standing]:
    """Services whose key the site's wallet may challenge, and that nobody but visitors had looked
    at for the whole interval: their runs, which spend nothing, must not put ours off for ever."""
    own = Verification.objects.filter(
        provider=OuterRef("provider"),
        kind=OuterRef("kind"),
        service_name=OuterRef("service_name"),
        started_at__gt=now - INTERVAL,
    ).exclude(trigger=Trigger.ASKED)
    rows = Standing.objects.filter(Exists(listed()), provider__in=settings.SITE_WALLET_PROVIDERS)
    return rows.exclude(Exists(own)).filter(tried_at__lte=now - LEAST).order_by("tried_at")


def next_run(standing: Standing) -> datetime:
    """When a service is due again though nothing about it changed."""
    tried = standing.tried_at
    assert tried is not None
    if standing.unreachable_since is not None:
        silent = tried - standing.unreachable_since
        return tried + min(max(silent, FIRST_RETRY), INTERVAL)
    seed = f"{standing.provider}|{standing.kind}|{standing.service_name}".encode()
    share = int.from_bytes(hashlib.sha256(seed).digest()[:4], "big") / 2**32
    return tried + INTERVAL * (1 - JITTER * share)


def _unlike(now: datetime) -> QuerySet[Any]:
    """Listed services whose standing was made of another listing, or that have none."""
    standing = Standing.objects.filter(serving=OuterRef("serving"), provider=OuterRef("provider"))
    same = standing.filter(basis=JSONObject(**{name: OuterRef(name) for name in BASIS}))
    return (
        Service.current.filter(removed=False)
        .annotate(looked=Exists(standing))
        .exclude(Exists(same))
        .exclude(Exists(standing.filter(tried_at__gt=now - LEAST)))
        .order_by(F("created_block").desc(), "pk")
    )


def _retire(now: datetime) -> None:
    """What removed services shared with others they share no more."""
    gone = Standing.objects.exclude(Exists(listed())).exclude(basis=_GONE)
    for row in gone[:BATCH]:
        findings.retire(ServiceKey.of(row), now)
        Standing.objects.filter(pk=row.pk).update(basis=_GONE, updated_at=now)


def _name(key: ServiceKey) -> str:
    return f"attestation:failed:{services.fingerprint(key)}"
