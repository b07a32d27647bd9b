"""The worker's part: what is due is found by comparing rows, no signal has to be caught.

A service is due when nobody looked at it yet, when the listing differs from what the last run was
about, every six hours with a jitter of its own, and sooner while it cannot be reached.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from asgiref.sync import async_to_sync
from celery import shared_task
from django.core.cache import cache
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import JSONObject
from django.utils import timezone

from attestation import findings, services
from attestation.errors import Busy, UnknownService
from attestation.models import Standing, Trigger
from attestation.selectors import ServiceKey
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
BATCH = 40
AT_ONCE = 8
SWEEPS = 2
#: What a sweep that died holds is free again after so long; longer than any sweep takes.
SLOT_SECONDS = 600
_SLOTS = tuple(f"attestation:sweep:{number}" for number in range(SWEEPS))

logger = logging.getLogger(__name__)


@shared_task(name=services.TASK, ignore_result=True)
def verify(kind: str, provider: str, service_name: str, trigger: str, by: int | None) -> str:
    """Verify one service because somebody asked; a run under way is answer enough."""
    key = ServiceKey(kind, provider, service_name)
    try:
        stored = services.verify(key, Trigger(trigger), by)
    except (Busy, UnknownService) as error:
        return str(error)
    return ", ".join(f"{run.endpoint}: {run.overall or run.outcome}" for run in stored)


@shared_task(name="attestation.sweep", ignore_result=True, expires=14)
def sweep() -> int:
    """Every few seconds by beat: look at what is due, several at once; returns how many.

    Slow providers keep at most `SWEEPS` of the worker's threads waiting, whatever their number.
    """
    slot = next((name for name in _SLOTS if cache.add(name, 1, timeout=SLOT_SECONDS)), None)
    if slot is None:
        return 0
    now = timezone.now()
    try:
        _retire(now)
        free = (pair for pair in due(now) if cache.add(_taken(pair[0]), 1, SLOT_SECONDS))
        taken = list(islice(free, BATCH))
        async_to_sync(_look_at)(taken)
        cache.delete_many([_taken(key) for key, _ in taken])
        return len(taken)
    finally:
        cache.delete(slot)


async def _look_at(taken: list[tuple[ServiceKey, Trigger]]) -> None:
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(key: ServiceKey, trigger: Trigger) -> None:
        async with at_once:
            try:
                await services.verify_async(key, trigger)
            except (Busy, UnknownService):
                pass  # somebody else looks at it, or nobody offers it any more
            except Exception:
                # One service must not keep the others from being looked at.
                logger.exception("a verification failed", extra={"provider": key.provider})

    await asyncio.gather(*(one(key, trigger) for key, trigger in taken))


def due(now: datetime) -> Iterator[tuple[ServiceKey, Trigger]]:
    """Services to look at now, new and changed ones first (3 queries)."""
    known = ledger.contracts()
    for row in _unlike(now)[: 10 * BATCH]:
        trigger = Trigger.CHANGED if row.looked else Trigger.LISTED
        yield ServiceKey.of(Listing.of(row, known)), trigger
    silent = Q(unreachable_since__isnull=False, tried_at__lte=now - FIRST_RETRY)
    maybe = silent | Q(tried_at__lte=now - INTERVAL * (1 - JITTER))
    waiting = Standing.objects.filter(maybe).filter(_listed()).order_by("tried_at")
    for standing in waiting.defer("endpoints", "questions").iterator():
        if standing.tried_at is not None and next_run(standing) <= now:
            key = ServiceKey(standing.kind, standing.provider, standing.service_name)
            yield key, Trigger.SCHEDULE


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
    same = standing.filter(
        basis=JSONObject(
            url=OuterRef("url"),
            model=OuterRef("model"),
            verifiability=OuterRef("verifiability"),
            additional_info=OuterRef("additional_info"),
            tee_signer=OuterRef("tee_signer"),
            tee_signer_acknowledged=OuterRef("tee_signer_acknowledged"),
        )
    )
    return (
        Service.current.filter(removed=False)
        .annotate(looked=Exists(standing))
        .exclude(Exists(same))
        .exclude(Exists(standing.filter(tried_at__gt=now - LEAST)))
        .order_by(F("created_block").desc(), "pk")
    )


def _listed() -> Exists:
    return Exists(
        Service.current.filter(
            removed=False, serving=OuterRef("serving"), provider=OuterRef("provider")
        )
    )


def _retire(now: datetime) -> None:
    """What removed services shared with others they share no more."""
    gone = Standing.objects.exclude(_listed()).exclude(basis={})
    for row in gone[:BATCH]:
        findings.retire(ServiceKey(row.kind, row.provider, row.service_name), now)
        # An empty basis is like no listing: were it listed again, it would be due at once.
        Standing.objects.filter(pk=row.pk).update(basis={}, updated_at=now)


def _taken(key: ServiceKey) -> str:
    return f"attestation:taken:{services.fingerprint(key)}"
