"""The worker's part: beat comes every few seconds, each service says itself when it is due."""

from __future__ import annotations

from collections import Counter

from asgiref.sync import async_to_sync
from celery import shared_task
from django.utils import timezone

from attestation import leases
from ledger.records import Listing
from probes import services
from probes.asking import Found, Target

#: Services of one sweep, and of one host in it: the rest come next, the longest waiting first.
BATCH, PER_HOST = 96, 3
_SLOT = "probes:sweeping"


@shared_task(name="probes.sweep", ignore_result=True, expires=14)
def sweep() -> int:
    """Look at what is due; returns how many were. At once only one sweep runs."""
    lease = leases.take(_SLOT)
    if lease is None:
        return 0
    try:
        targets = services.targets(_few_of_a_host(services.due(timezone.now(), 10 * BATCH)))
        found = async_to_sync(_kept_busy)(lease, targets)
        services.store(found)
        return len(found)
    finally:
        leases.give_back(_SLOT, lease)


async def _kept_busy(lease: str, targets: list[Target]) -> tuple[Found, ...]:
    async with leases.renewed(_SLOT, lease):
        return await services.look_at(targets)


def _few_of_a_host(listings: list[Listing]) -> list[Listing]:
    taken = Counter[str]()
    chosen = []
    for listing in listings:
        host = Target(listing).host
        taken[host] += 1
        if taken[host] <= PER_HOST:
            chosen.append(listing)
    return chosen[:BATCH]
