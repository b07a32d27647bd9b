"""Writes: look at services, store what was seen, count it again."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import random
from collections.abc import Iterable, Sequence

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.utils import timezone

from attestation import leases, trust
from attestation.models import MAX_SERVICE_NAME
from ledger import selectors as ledger
from ledger.models import Service
from ledger.records import Listing
from net import locks
from net.client import Client
from probes import asking, counting, fold
from probes.asking import Found, Target
from probes.models import Health, Probe, Sharer, State
from probes.seen import FAILURES
from probes.stream import tokens_per_10s

#: Hosts that are asked at the same time; one host is never asked twice at once.
HOSTS_AT_ONCE = 16
#: CORS and speed are looked at with every so many-th probe.
THOROUGH_EVERY = 12
#: Characters of a URL that a probe keeps: a stranger's text of any length, again and again.
MAX_URL = 300
RULES_EVERY = dt.timedelta(hours=24)
#: So many hosts that answered their last look fall silent together because our own line is broken.
WITNESSES = 3
#: PostgreSQL advisory lock of one writer at a time: "0G look" in bytes.
_WRITER = 0x3047_206C_6F6F_6B


def interval() -> dt.timedelta:
    """Between two looks at a service that is up."""
    return dt.timedelta(seconds=settings.PROBE_INTERVAL_SECONDS)


def pause(failures: int) -> dt.timedelta:
    """Until the next look, with jitter. From the third failure in a row on it doubles, but is never
    more than a quarter of an hour: a cell without a probe would hide that it was down."""
    base = interval()
    longest = max(base, fold.CELL)
    grown = min(base * (1 << min(max(0, failures - 2), 8)), longest)
    return grown * random.uniform(0.8, 1.0)


def refused(listing: Listing) -> bool:
    """Whether the operator of this site was asked not to probe it."""
    return listing.provider in settings.PROBE_OPT_OUT


def run(listings: Sequence[Listing], *, thorough: bool | None = None) -> tuple[Found, ...]:
    """Look at these services now and store it; `thorough` None: when it is due."""
    found: tuple[Found, ...] = async_to_sync(look_at)(targets(listings, thorough))
    store(found)
    return found


def targets(listings: Iterable[Listing], thorough: bool | None = None) -> list[Target]:
    """What each look is for (1 query); services that opted out by setting are left out."""
    wanted = [listing for listing in listings if not refused(listing)]
    known = {
        (row.serving, row.provider): row
        for row in Health.objects.filter(provider__in={found.provider for found in wanted})
    }
    now = timezone.now()
    return [
        _target(found, known.get((found.serving, found.provider)), thorough, now)
        for found in wanted
    ]


def _target(
    listing: Listing, row: Health | None, thorough: bool | None, now: dt.datetime
) -> Target:
    if row is None or row.url != listing.url:
        return Target(listing, thorough=True, ask_rules=True)
    due = row.thorough_at is None or now - row.thorough_at >= interval() * THOROUGH_EVERY
    return Target(
        listing,
        thorough=due if thorough is None else thorough,
        ask_rules=row.rules_at is None or row.opted_out or now - row.rules_at >= RULES_EVERY,
    )


async def look_at(wanted: Sequence[Target]) -> tuple[Found, ...]:
    """Hosts side by side, the services of one host one after the other; nothing is stored.

    A host that somebody else is asking at this moment is left out.
    """
    hosts: dict[str, list[Target]] = {}
    for target in wanted:
        hosts.setdefault(target.host, []).append(target)
    places = asyncio.Semaphore(HOSTS_AT_ONCE)

    async def one(host: str, wanted: list[Target], client: Client) -> list[Found]:
        name = f"probes:host:{hashlib.sha256(host.encode()).hexdigest()[:32]}"
        async with places:
            lease = await sync_to_async(leases.take)(name)
            if lease is None:
                return []
            try:
                async with leases.renewed(name, lease):
                    return [await asking.look(client, target) for target in wanted]
            finally:
                await sync_to_async(leases.give_back)(name, lease)

    async with Client(trust.provider_policy(), connections=HOSTS_AT_ONCE) as client:
        done = await asyncio.gather(*(one(host, wanted, client) for host, wanted in hosts.items()))
    return tuple(found for part in done for found in part)


# --- storing --------------------------------------------------------------------------------------


@transaction.atomic
def store(found: Sequence[Found]) -> None:
    """Write probes down and count what they change (a constant number of queries)."""
    if not found:
        return
    locks.in_turn(_WRITER)
    looked = [item for item in found if not item.forbidden]
    Probe.objects.bulk_create([_row(item) for item in looked])
    counting.recount({(*item.target.pair, fold.floor(item.at, fold.CELL)) for item in looked})
    rows = _health_rows(found)
    for item in found:
        _note(rows[item.target.pair], item)
    counting.refresh(list(rows.values()), timezone.now())


def _row(item: Found) -> Probe:
    listing = item.target.listing
    state, failure = item.judged
    spoken = item.spoken
    return Probe(
        serving=listing.serving,
        provider=listing.provider,
        kind=listing.kind,
        service_name=listing.service_name[:MAX_SERVICE_NAME],
        at=item.at,
        url=listing.url[:MAX_URL],
        state=state,
        failure=failure,
        note=FAILURES.get(failure, ""),
        status=item.listed.status,
        answer_ms=item.listed.answer_ms,
        tls_days=item.listed.tls_days,
        cors=item.cors,
        model_listed=item.listed.model_listed,
        speed=item.speed,
        first_token_ms=spoken.first_token_ms if spoken else None,
        tokens=spoken.tokens if spoken else None,
        stream_ms=spoken.stream_ms if spoken else None,
        usage_last=spoken.usage_last if spoken else None,
    )


def _health_rows(found: Sequence[Found]) -> dict[tuple[str, str], Health]:
    """The rows to update, made where they are missing (2 queries)."""
    pairs = {item.target.pair: item.target.listing for item in found}
    counting.begin(pairs.values())
    rows = Health.objects.filter(provider__in={provider for _, provider in pairs})
    return {
        (row.serving, row.provider): row for row in rows if (row.serving, row.provider) in pairs
    }


def _note(row: Health, item: Found) -> None:
    """What the newest look says about now, and when the next one is."""
    listing = item.target.listing
    if row.checked_at is not None and item.at < row.checked_at < timezone.now():
        return  # a round that ends late brings what was seen before somebody else looked
    row.kind, row.service_name = listing.kind, listing.service_name[:MAX_SERVICE_NAME]
    if item.forbidden is not None:
        row.rules_at, row.opted_out = item.at, item.forbidden
    if item.forbidden:
        row.url, row.next_at = listing.url, item.at + RULES_EVERY
        return
    state, failure = item.judged
    if row.url != listing.url:  # another machine: what was known of the last one is not known
        row.cors = row.model_listed = row.usage_last = row.tls_days = None
    row.url = listing.url
    if row.state != state:
        row.state, row.since = state, item.at
    row.checked_at, row.failure, row.note = item.at, failure, FAILURES.get(failure, "")
    row.failures = row.failures + 1 if state == State.DOWN else 0
    row.next_at = item.at + pause(row.failures)
    if state != State.DOWN:
        row.tls_days, row.model_listed = item.listed.tls_days, item.listed.model_listed
        if item.target.thorough:
            row.thorough_at = item.at
    if item.cors is not None:
        row.cors = item.cors
    if item.spoken is not None and item.spoken.usage_last is not None:
        row.usage_last = item.spoken.usage_last


# --- what is due ----------------------------------------------------------------------------------


def due(now: dt.datetime, most: int) -> list[Listing]:
    """Listed services to look at now, those never looked at first (2 queries)."""
    health = Health.objects.filter(serving=OuterRef("serving"), provider=OuterRef("provider"))
    rows = (
        Service.current.filter(removed=False)
        .defer("search")
        .annotate(
            looked=Subquery(health.values("checked_at")[:1]),
            next_at=Subquery(health.values("next_at")[:1]),
            looked_url=Subquery(health.values("url")[:1]),
        )
        .filter(
            Q(next_at__isnull=True) | Q(next_at__lte=now) | ~Q(looked_url=F("url")),
        )
        .exclude(provider__in=settings.PROBE_OPT_OUT)
        .order_by(F("next_at").asc(nulls_first=True), "pk")
    )
    known = ledger.contracts()
    return [Listing.of(row, known) for row in rows[:most]]


def well() -> dict[str, Listing]:
    """A service of each host that answered its last look, in no order: asked after a round in which
    nobody said a word. None where somebody did in the last fifth of the interval, in which few were
    looked at (3 queries).
    """
    if Probe.objects.filter(at__gt=timezone.now() - interval() / 5, status__gt=0).exists():
        return {}
    answered = Health.objects.filter(
        serving=OuterRef("serving"),
        provider=OuterRef("provider"),
        state__in=(State.UP, State.DEGRADED),
        opted_out=False,
    )
    rows = Service.current.filter(Exists(answered), removed=False).defer("search")
    rows = rows.exclude(provider__in=settings.PROBE_OPT_OUT).order_by("?")
    known = ledger.contracts()
    listings = [Listing.of(row, known) for row in rows[: ledger.MAX_PAGE]]
    return {Target(listing).host: listing for listing in listings}


def listed() -> list[Listing]:
    """Every service that is offered now (2 queries)."""
    known = ledger.contracts()
    rows = Service.current.filter(removed=False).defer("search").order_by("created_block", "pk")
    return [Listing.of(row, known) for row in rows]


def all_due() -> list[Listing]:
    """Everything that is due at this moment (2 queries)."""
    return due(timezone.now(), ledger.MAX_PAGE)


def speed_of(item: Found) -> int | None:
    """Tokens per 10 s that a look measured."""
    spoken = item.spoken
    return tokens_per_10s(spoken.tokens, spoken.stream_ms) if spoken else None


# --- who shares -----------------------------------------------------------------------------------


def share(user: int, wanted: bool) -> None:
    """Let the times of this user's answers count from now on, or no longer. Idempotent."""
    if wanted:
        Sharer.objects.get_or_create(user=user, defaults={"since": timezone.now()})
    else:
        Sharer.objects.filter(user=user).delete()
