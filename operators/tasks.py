"""Background work for operators: gas from receipts, what their brokers share, and checks that they
ask for."""

from __future__ import annotations

import logging
import time

from asgiref.sync import async_to_sync
from celery import shared_task
from django.utils import timezone

from accounts.errors import NodeError
from ledger import selectors
from net import queue
from net.cache import first
from operators import debts, gas, profile, profile_domain, selftest, setup, wallets
from operators.models import Profile

logger = logging.getLogger(__name__)
#: One provider is looked after at most so often, seconds.
EVERY = 15


@shared_task(name="operators.refresh", expires=60)
def refresh(provider: str) -> int:
    """What an operator's pages miss; returns how many receipts were read."""
    debts.keep(async_to_sync(debts.ask)(selectors.services_of(provider)))
    try:
        wallets.look(provider)
        return gas.read(provider)
    except NodeError as error:
        logger.warning("gas not read", extra={"reason": str(error)[:200]})
        return 0


def refresh_soon(provider: str) -> None:
    """Have the worker do it, unless it did a moment ago. Nothing depends on it being done: without
    a queue a page says what it does not know yet."""
    if first(f"operators:refresh:{provider}", EVERY):
        queue.put(refresh, provider)


@shared_task(name=setup.SETUP_TASK)
def check_setup(identifier: str) -> None:
    """One pass of the setup checker that an operator asked for."""
    setup.run(identifier)


@shared_task(name=setup.SELF_TEST_TASK)
def judge_evidence(identifier: str) -> None:
    """One private run of the attestation engine."""
    selftest.run(identifier)


#: Domains of one round, and seconds after which it begins no other: a worker is killed at
#: CELERY_TASK_TIME_LIMIT, and a silent host takes 12 s. The rest come with the next.
DOMAINS, ROUND_SECONDS = 50, 200


@shared_task(name=profile.PROVE_TASK)
def prove_domain(pk: int) -> None:
    """Look at the domain of one profile, because it was just published or its owner asks."""
    row = Profile.objects.filter(pk=pk, withdrawn_at=None).exclude(domain="").first()
    if row is not None:
        profile_domain.prove(row)


@shared_task(name="operators.prove_domains", expires=500)
def prove_domains() -> int:
    """Every ten minutes by beat: the domains that nobody looked at for a day; returns how many."""
    began, done = time.monotonic(), 0
    for row in profile.due(timezone.now())[:DOMAINS]:
        if time.monotonic() - began > ROUND_SECONDS:
            break
        profile_domain.prove(row)
        done += 1
    return done
