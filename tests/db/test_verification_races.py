"""Several runs at the same moment, on real connections."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from threading import Barrier, Thread
from time import sleep
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from attestation import asking, leases, services, tasks
from attestation.errors import Busy, LineDown, TooSoon
from attestation.models import (
    Fact,
    Finding,
    Outcome,
    Request,
    Standing,
    Trigger,
    Verification,
)
from attestation.selectors import ServiceKey
from net import stores
from provider.tee.development.report import Machine
from tests.db.api_rows import address
from tests.db.verification_world import KEY, Query, Reply, evidence, listed, provider
from tests.db.verification_world import market as market  # a fixture
from tests.pure.attestation_lab import ADDRESS

pytestmark = pytest.mark.django_db(transaction=True)


def together(*calls: Any) -> list[BaseException]:
    """All calls at once, each in a thread with a connection of its own; what they raised."""
    barrier, raised = Barrier(len(calls)), list[BaseException]()

    def one(call: Any) -> None:
        barrier.wait(20)
        try:
            call()
        except Exception as error:
            raised.append(error)
        finally:
            connection.close()

    threads = [Thread(target=one, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


def fresh(path: str, query: Query) -> Reply:
    return Reply(evidence(Machine(ADDRESS, fresh=True)), wait=0.2)


def test_of_two_runs_of_one_service_the_second_leaves_it_to_the_first() -> None:
    with provider(fresh) as server:
        listed(server.url)
        raised = together(*[lambda: services.verify(KEY, Trigger.COMMAND)] * 3)
        assert [type(error) for error in raised] == [Busy, Busy]
        assert (len(server.asked), Verification.objects.count()) == (1, 1)
        services.verify(KEY, Trigger.COMMAND)


def test_what_two_share_is_seen_though_both_are_new() -> None:
    """The same machine behind six providers, all verified at once: five facts, no deadlock."""
    keys = [ServiceKey("inference", address(n), "inference-v1.0") for n in range(1, 7)]
    with provider(fresh) as server:
        for key in keys:
            listed(server.url, key.provider)
        raised = together(*(lambda key=key: services.verify(key, Trigger.COMMAND) for key in keys))
    assert raised == []
    assert Standing.objects.filter(overall="dev-pass").count() == 6
    for fact in (Fact.SAME_PPID, Fact.SAME_GPU):
        assert Finding.objects.filter(kind=fact, closed_at__isnull=True).count() == 5, fact


def test_of_many_who_ask_at_once_one_is_heard() -> None:
    listed("http://127.0.0.1:9")
    raised = together(*[lambda: services.verify_now(KEY)] * 8)
    assert [type(error) for error in raised] == [TooSoon] * 7


def test_what_a_killed_worker_was_asked_for_is_done_by_the_next(monkeypatch: Any) -> None:
    class Killed(BaseException):
        pass

    async def dies(*_: Any) -> None:
        raise Killed

    with provider(fresh) as server:
        listed(server.url)
        Request.objects.create(**KEY._asdict(), at=timezone.now())
        with monkeypatch.context() as first:
            first.setattr(services, "verify_async", dies)
            with pytest.raises(Killed):
                tasks.answer()
        cache.delete("attestation:answering")
        assert tasks.answer() == 1 and tasks.answer() == 0
    assert Verification.objects.get().trigger == Trigger.ASKED and not Request.objects.exists()
    # What kills every worker is given up.
    Request.objects.create(**KEY._asdict(), at=timezone.now() - tasks.ASKED_FOR)
    assert tasks.answer() == 0 and not Request.objects.exists()


def test_what_a_killed_worker_held_is_free_again_soon_and_not_before(monkeypatch: Any) -> None:
    """A lease lasts as long as its holder renews it, however slow a provider is."""
    monkeypatch.setattr(leases, "SECONDS", 1)
    monkeypatch.setattr(leases, "_RENEWED_EVERY", 0.2)
    slow = Thread(target=together, args=(lambda: services.verify(KEY, Trigger.COMMAND),))

    def answer(path: str, query: Query) -> Reply:
        return Reply(evidence(), wait=2.5)

    with provider(answer) as server:
        listed(server.url)
        slow.start()
        sleep(1.8)
        with pytest.raises(Busy):
            services.verify(KEY, Trigger.COMMAND)
        slow.join(60)
    assert leases.take("killed") is not None
    assert leases.take("killed") is None
    sleep(1.2)
    assert leases.take("killed") is not None


def test_a_broken_line_of_our_own_is_nobodys_silence(monkeypatch: Any) -> None:
    monkeypatch.setattr(asking.ask, "__kwdefaults__", {"pauses": ()})
    keys = [ServiceKey("inference", address(n), "inference-v1.0") for n in range(1, 6)]
    with ExitStack() as online:
        for key in keys[1:]:
            listed(online.enter_context(provider(fresh)).url, key.provider)
        with provider(fresh) as server:
            listed(server.url, keys[0].provider)
            assert tasks.sweep() == len(keys)
        (silent,) = services.verify(keys[0], Trigger.COMMAND)
        assert silent.outcome == Outcome.UNREACHABLE, "the others answer: it is this one"
    made, tried = Verification.objects.count(), timezone.now() - tasks.INTERVAL
    with pytest.raises(LineDown):
        services.verify(keys[1], Trigger.COMMAND)
    Standing.objects.update(tried_at=tried)
    tasks.sweep()
    assert Verification.objects.count() == made
    assert set(Standing.objects.values_list("tried_at", flat=True)) == {tried}, "still due"
    assert Standing.objects.get(unreachable_since__isnull=False).provider == keys[0].provider


def test_work_goes_on_while_nobody_keeps_its_lease(settings: Any, monkeypatch: Any) -> None:
    """Redis goes away under a worker: what it has fetched and judged is not thrown away."""
    monkeypatch.setattr(leases, "_RENEWED_EVERY", 0)
    settings.CACHES = {"default": stores.cache("redis://127.0.0.1:1/0")}

    async def worked() -> bool:
        async with leases.renewed("lease", "token"):
            await asyncio.sleep(0.2)
        return True

    assert asyncio.run(worked())
