"""Runs of the setup checker and of the private self-test: asked for by an operator, made by a
worker, seen by nobody else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.db.models import Q
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import crypto, limits
from accounts.errors import Problem
from accounts.models import User
from chain import selectors as chain
from ledger import selectors as ledger
from ledger.records import Contract, Listing, Quota
from net import callers, locks, queue
from net.cache import first
from operators import listing, listing_state, setup_checks
from operators.listing import FINE_TUNING, Values
from operators.models import SelfTest, SetupRun
from operators.models_listing import Job, JobState
from operators.setup_results import Subject
from protocol import keys

SETUP_TASK, SELF_TEST_TASK = "operators.setup", "operators.selftest"
#: A run that has not ended so long after it began never will: its worker is gone.
GIVEN_UP_AFTER = dt.timedelta(minutes=5)
#: Runs of one person that are kept.
KEPT = 20
#: A person's own runs, all together: each asks strangers and Intel.
LIMIT, SECONDS = 8, 600
#: Runs of all people and sorts that may be under way: wallets are free, workers are not. So many
#: more may wait, in the order in which they came; one person has one, under way or waiting.
MOST_AT_ONCE, MOST_WAITING = 3, 6
#: Of these places so many are for one network address, whoever signs in there.
MOST_FROM_ONE = 3
#: Whoever waits longer waits for nobody, even behind runs that all take as long as they may; the
#: minute is for telling the next.
WAITS_AT_MOST = GIVEN_UP_AFTER * MOST_WAITING / MOST_AT_ONCE + dt.timedelta(minutes=1)
_LASTS = {JobState.QUEUED: WAITS_AT_MOST, JobState.RUNNING: GIVEN_UP_AFTER}
#: How often pages of runs that wait remind workers of them, all together; seconds.
REMINDED_EVERY = 10
#: PostgreSQL advisory lock of one asking or beginning at a time: "0G check" in bytes.
_LOCK = 0x3047_2063_6865_636B
Run = TypeVar("Run", bound=Job)


def subject_values(values: Values) -> dict[str, Any]:
    """Values of a listing as JSON holds them and programs give them: amounts as texts, since huge
    numbers are no JSON integers."""
    return {
        name: str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in values.items()
    }


def listing_of(contract: Contract, provider: str, values: Mapping[str, Any]) -> Listing:
    """A listing that stands nowhere yet, made of a form's values."""
    quota = values.get("quota")
    return Listing(
        kind=contract.kind,
        provider=provider,
        service_name=contract.service_name,
        serving=contract.address,
        recommended=contract.recommended,
        service_type=str(values.get("service_type", "")),
        url=str(values.get("url", "")),
        model=str(values.get("model", "")),
        verifiability=str(values.get("verifiability", "")),
        input_price=int(values.get("input_price", 0)),
        output_price=int(values.get("output_price", 0)),
        additional_info=str(values.get("additional_info", "")),
        updated_at_unix=0,
        quota=Quota.of(quota) if quota and contract.kind == FINE_TUNING else None,
        price_per_token=int(values.get("price_per_token", 0)),
        occupied=bool(values.get("occupied", False)),
        models=tuple(values.get("models", ())),
        tee_signer=str(values.get("tee_signer", "")),
        tee_signer_acknowledged=False,
        stake=0,
        created_block=0,
        position=0,
        removed=False,
        block=0,
        pending=False,
    )


def wanted(user: User, kind: str, service_name: str, *, draft: bool) -> tuple[Contract, Values]:
    """The contract and the values that a run is about. Raises Problem where there is nothing."""
    contract = listing_state.contract_of(kind, user.address, service_name)
    if contract is None or kind not in listing.KINDS:
        raise Problem("unknown_service", _("This network has no contract for such services."))
    now = listing_state.published(contract, user.address)
    if not draft:
        if now.listing is None:
            raise Problem(
                "not_listed",
                _("This wallet has published no such service."),
                _("Check your draft instead, or register first."),
            )
        return contract, listing_state.of_listing(now.listing)
    typed = {**now.texts, **listing_state.draft(user, now)}
    parsed = listing.parse(kind, typed, listing_state.policy())
    if parsed.errors:
        fields = ", ".join(map(listing.inside, parsed.errors))
        raise Problem(
            "draft_incomplete",
            _("The draft cannot be checked yet: %(fields)s.") % {"fields": fields},
            _("Complete it in the form of the listing."),
        )
    return contract, parsed.values


def start(
    user: User, kind: str, service_name: str, *, draft: bool, key: str = "", caller: str = ""
) -> SetupRun:
    """Queue a pass over one's own listing or draft; `key`: an `app-sk-…` of a customer of it, which
    pays one small question; `caller`: the network address. Raises Problem."""
    contract, values = wanted(user, kind, service_name, draft=draft)
    if key:
        _require_own(key, user)
    row = SetupRun(
        user=user,
        kind=kind,
        service_name=contract.service_name,
        url=values["url"],
        model=str(values.get("model", "")),
        published=not draft,
        values=subject_values(values),
    )
    if key:  # for its worker alone, sealed, and no longer than it may take
        cache.set(_key_of(row), crypto.seal(key), timeout=int(WAITS_AT_MOST.total_seconds()))
    try:
        return queued(row, SETUP_TASK, caller)
    except Exception:  # no worker will come for it
        cache.delete(_key_of(row))
        raise


def _key_of(row: SetupRun) -> str:
    return f"operators:setup:key:{row.pk}"


def _taken_key(row: SetupRun) -> str:
    """The key that was given with a run, once."""
    sealed = cache.get(_key_of(row), "")
    cache.delete(_key_of(row))
    try:
        return crypto.unseal(sealed) if sealed else ""
    except crypto.Unreadable:
        return ""


def _require_own(key: str, user: User) -> None:
    """A key spends a whole sub-account: one for another provider has no business here."""
    try:
        named = keys.parse(key).fields.provider
    except keys.KeyRejected:
        raise Problem("invalid_key", _("This is no provider key (app-sk-…).")) from None
    if named.lower() != user.address.lower():
        raise Problem("foreign_key", _("This key is for another provider, not for yours."))


def queued(row: Run, task: str, caller: str = "") -> Run:
    """Store a run and have a worker make it; one at a time and person, and few at a time from one
    network address (`caller`): wallets are free. Raises Problem."""
    tag = callers.tag(caller, settings.SECRET_KEY)
    limits.spend("operator-checks", row.user.address, limit=LIMIT, seconds=SECONDS)
    with transaction.atomic():
        locks.in_turn(_LOCK)
        opened = _opened(JobState.QUEUED, JobState.RUNNING)
        if any(one.user_id == row.user.pk for one in opened):
            raise Problem(
                "already_running",
                _("A check of yours is under way."),
                _("Wait until it has ended."),
            )
        tags = cache.get_many([_from(one) for one in opened]) if caller else {}
        theirs = list(tags.values()).count(tag)
        if len(opened) >= MOST_AT_ONCE + MOST_WAITING or theirs >= MOST_FROM_ONE:
            raise Problem(
                "busy", _("Many checks are under way."), _("Try again in a minute."), status=503
            )
        row.save(force_insert=True)
        if caller:
            longest = WAITS_AT_MOST + GIVEN_UP_AFTER
            cache.set(_from(row), tag, timeout=int(longest.total_seconds()))
    if not queue.put(task, str(row.pk), expires=WAITS_AT_MOST.total_seconds()):
        row.delete()
        raise Problem(
            "queue_down",
            _("Background work cannot be queued at the moment."),
            _("Try again in a minute."),
            status=503,
        )
    rows = type(row)._default_manager
    old = rows.filter(user=row.user).order_by("-created_at").values_list("pk", flat=True)
    rows.filter(pk__in=list(old[KEPT : KEPT + 100])).delete()
    return row


def _from(row: Job) -> str:
    return f"operators:checks:from:{row.pk}"


def _opened(*states: JobState) -> list[Job]:
    """Runs of all people and sorts at these states, the oldest first, without those that never
    will end."""
    now, found = timezone.now(), list[Job]()
    lasting = [Q(state=state, created_at__gt=now - _LASTS[state]) for state in states]
    for sort in (SetupRun, SelfTest):
        found += sort._default_manager.filter(reduce(or_, lasting))
    return sorted(found, key=lambda one: (one.created_at, str(one.pk)))


def _next() -> list[Job]:
    """Those whose turn it is, while others wait for theirs. In a transaction that has the lock."""
    free = MOST_AT_ONCE - len(_opened(JobState.RUNNING))
    return _opened(JobState.QUEUED)[: max(free, 0)]


def of(user: User, rows: type[Run], identifier: Any) -> Run:
    """One of the user's own runs; Http404 for anybody else's."""
    found = rows._default_manager.filter(pk=identifier, user=user).first()
    if found is None:
        raise Http404("no such check")
    return found


def seen(row: Run) -> Run:
    """The run as it is to be shown: one that nobody works on any more has broken off. While one
    waits, its page sees to it that workers know whose turn it is: one that died tells nobody."""
    if row.open and timezone.now() - row.created_at > _LASTS[JobState(row.state)]:
        row.state = JobState.FAILED
    elif row.state == JobState.QUEUED and first("operators:checks:turn", REMINDED_EVERY):
        _go_on()
    return row


# --- the worker's part ----------------------------------------------------------------------------


def take(rows: type[Run], identifier: str) -> Run | None:
    """The run, if it still waits and it is its turn; a task that comes twice works once. For one
    that stood before it, whose task may be lost, a worker is told anew."""
    with transaction.atomic():
        locks.in_turn(_LOCK)
        turn = _next()
        waits = rows._default_manager.filter(pk__in=[one.pk for one in turn])
        # From here on its time counts, and no more when it was asked for.
        taken = waits.filter(pk=identifier).update(
            state=JobState.RUNNING, created_at=timezone.now()
        )
    if taken:
        return rows._default_manager.select_related("user").get(pk=identifier)
    _tell(turn)
    return None


def end(row: Job, state: JobState) -> None:
    """And whoever waited longest is next."""
    type(row)._default_manager.filter(pk=row.pk).update(state=state, finished_at=timezone.now())
    _go_on()


def _go_on() -> None:
    """Tell a worker whose turn it is, if it is anybody's."""
    with transaction.atomic():
        locks.in_turn(_LOCK)
        turn = _next()
    _tell(turn)


def _tell(turn: list[Job]) -> None:
    for one in turn[:1]:
        task = SETUP_TASK if isinstance(one, SetupRun) else SELF_TEST_TASK
        queue.put(task, str(one.pk), expires=WAITS_AT_MOST.total_seconds())


def subject_of(row: Job, values: Mapping[str, Any]) -> Subject:
    """What a stored run is about, as the index has it now. A service that was removed meanwhile is
    looked at as the form of a new one."""
    block = chain.head().indexed_block or 0
    if row.published:
        found = ledger.service(row.kind, row.user.address, row.service_name)
        if found is not None:
            return Subject(found, True, block)
    contract = listing_state.contract_of(row.kind, row.user.address, row.service_name)
    assert contract is not None  # it was there when the run was asked for, and none is ever gone
    return Subject(listing_of(contract, row.user.address, values), False, block)


def run(identifier: str) -> None:
    """Make a queued run, writing each result down as it comes."""
    row = take(SetupRun, identifier)
    if row is None:
        return
    try:
        subject = replace(subject_of(row, row.values), key=_taken_key(row))
        async_to_sync(_run)(row, subject)
    except Exception:
        end(row, JobState.FAILED)
        raise
    end(row, JobState.DONE)


async def _run(row: SetupRun, subject: Subject) -> None:
    done: list[dict[str, str]] = []
    async for result in setup_checks.results(subject):
        done.append(result.stored())
        await sync_to_async(SetupRun.objects.filter(pk=row.pk).update)(checks=list(done))
