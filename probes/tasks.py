"""The worker's part: beat comes every few seconds, each service says itself when it is due."""

from __future__ import annotations

import logging
import time
from collections import Counter

from asgiref.sync import async_to_sync
from celery import shared_task
from django.utils import timezone

from attestation import leases
from ledger.records import Listing
from probes import exchange, services
from probes.asking import Found, Target

log = logging.getLogger(__name__)

#: Services of one round, and of one host in it: the rest come next, the longest waiting first.
BATCH, PER_HOST = 96, 3
#: Beat comes again soon.
WORK_SECONDS = 45
_SLOT = "probes:sweeping"


@shared_task(name="probes.sweep", expires=14)
def sweep() -> int:
    """Look at what is due, round by round; returns how many were. At once only one sweep runs."""
    lease = leases.take(_SLOT)
    if lease is None:
        return 0
    done, began = 0, time.monotonic()
    try:
        while time.monotonic() - began < WORK_SECONDS:
            targets = services.targets(_few_of_a_host(services.due(timezone.now(), 10 * BATCH)))
            found = async_to_sync(_kept_busy)(lease, targets)
            if found and all(item.mute for item in found):
                well, asked = services.well(), {item.target.host for item in found}
                others = [well[host] for host in well if host not in asked][: services.WITNESSES]
                found += async_to_sync(_kept_busy)(lease, services.targets(others))
                silent = well.keys() & {item.target.host for item in found if item.mute}
                if len(silent) >= services.WITNESSES and all(item.mute for item in found):
                    log.warning("nobody answers: probes are not counted, it may be our own line")
                    break
            services.store(found)
            done += len(found)
            if not found:  # nothing is due, or others are asking the hosts that are
                break
    finally:
        leases.give_back(_SLOT, lease)
    return done


async def _kept_busy(lease: str, targets: list[Target]) -> tuple[Found, ...]:
    async with leases.renewed(_SLOT, lease):
        return await services.look_at(targets)


@shared_task(name="probes.exchange", expires=60)
def ask_exchange() -> bool:
    """The price of 0G in dollars, when it is due."""
    return exchange.ask()


def _few_of_a_host(listings: list[Listing]) -> list[Listing]:
    taken = Counter[str]()
    chosen = []
    for listing in listings:
        host = Target(listing).host
        taken[host] += 1
        if taken[host] <= PER_HOST:
            chosen.append(listing)
    return chosen[:BATCH]
