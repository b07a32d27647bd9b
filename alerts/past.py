"""What a rule would have told in the last 30 days, or as far back as the past is kept."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from django.db.models import Window
from django.db.models.functions import Lag, LastValue

from accounts.models import User
from alerts import conditions, listing_changes, others, own_service, words, works
from alerts.conditions import Hit
from alerts.kinds import CHANGES, PRICES, Kind
from alerts.models import Rule
from alerts.services import Wish
from attestation.models import Finding
from ledger import selectors as ledger
from ledger.models import Movement, ServiceChange
from ledger.records import Position
from probes.models import Probe, State
from probes.retention import KEPT_PROBES

WINDOW = dt.timedelta(days=30)
MOST = 20
#: A person with more movements than this in the window is told of the newest of them.
_MOST_ROWS = 5_000
#: Providers whose probes are looked through.
_MOST_PROBED = 20


def window(kind: str) -> dt.timedelta:
    """How far back the past of a kind is looked through."""
    return min(WINDOW, KEPT_PROBES) if kind == Kind.PROVIDER_DOWN else WINDOW


def hits(user: User, wish: Wish, now: dt.datetime) -> list[Hit] | None:
    """Newest first, at most `MOST`; None for kinds whose past cannot be told (5 queries)."""
    found = _found(wish.rule(user), now - window(wish.kind), now)
    if found is None:
        return None
    never = dt.datetime.min.replace(tzinfo=dt.UTC)
    return sorted(found, key=lambda hit: hit.at or never, reverse=True)[:MOST]


def _found(rule: Rule, since: dt.datetime, now: dt.datetime) -> Iterable[Hit] | None:
    user = rule.user
    match Kind(rule.kind):
        case Kind.LOW_BALANCE:
            return _low_balances(rule, since)
        case Kind.LOW_AVAILABLE:
            return _low_available(rule, since)
        case Kind.REFUND_UNLOCKED:
            return _unlocked(rule, since, now)
        case Kind.TASK:
            return works.tasks_since([user.pk], since).get(user.pk, [])
        case Kind.WORK:
            return works.works_since([user.pk], since).get(user.pk, [])
        case Kind.REPORT:
            return others.reports_since([user.pk], since).get(user.pk, [])
        case Kind.DECIDED:
            return others.decided_since([user.address], since, now).get(user.address, [])
        case Kind.UNPAID:
            return own_service.unpaid_since([user.address], since).get(user.address, [])
        case Kind.PROVIDER_DOWN | Kind.VERIFICATION | Kind.NOTE:
            return _of_providers(rule, since)
    return _changes(rule, since) if rule.kind in CHANGES else None


def _of_providers(rule: Rule, since: dt.datetime) -> Iterable[Hit]:
    providers = conditions.scopes([rule])[rule.pk]
    if rule.kind == Kind.NOTE:
        return others.announced_since(providers, since)
    if rule.kind == Kind.PROVIDER_DOWN:
        return _outages(providers, since)
    found = Finding.objects.filter(
        provider__in=providers, kind__in=words.FINDINGS, opened_at__gt=since
    ).order_by("-opened_at")
    return [conditions.finding_hit(row) for row in found[:MOST]]


def _changes(rule: Rule, since: dt.datetime) -> list[Hit]:
    kind, providers = Kind(rule.kind), conditions.scopes([rule])[rule.pk]
    rows = ServiceChange.objects.filter(
        pending=False, change__in=CHANGES[kind], provider__in=providers, at__gt=since
    ).order_by("-block", "-sequence")
    newest, came = listing_changes.returned(kind, rows[: MOST * 10])
    types = {**listing_changes.service_types(newest), **came} if kind in PRICES else {}
    counted = [row for row in newest if listing_changes.counts(rule, row, types)]
    # A new key and the acknowledgement that is lost with it are one thing to tell.
    groups: dict[object, list[ServiceChange]] = {}
    for row in counted:
        key = (row.serving, row.provider, row.block) if kind == Kind.SIGNER else row.pk
        groups.setdefault(key, []).insert(0, row)
    told = list(groups.values())[:MOST]
    return [listing_changes.change_hit(kind, group, types) for group in told]


# --- money ----------------------------------------------------------------------------------------


def _low_balances(rule: Rule, since: dt.datetime) -> Iterator[Hit]:
    """Each time a balance fell below; what is pending then follows from what is pending now."""
    held = {
        (p.serving, p.provider): p
        for p in ledger.account(rule.user.address).positions
        if conditions.watches(rule, p)
    }
    moves: dict[tuple[str | None, str | None], list[Movement]] = defaultdict(list)
    for row in _moves(rule, since, "sub_account"):
        moves[row.serving, row.provider].append(row)
    for key, rows in moves.items():
        if (position := held.get((str(key[0]), str(key[1])))) is not None:
            yield from _fallen(rule, position, rows)


def _fallen(rule: Rule, position: Position, rows: list[Movement]) -> Iterator[Hit]:
    """`rows`: newest first, up to now."""
    pending, after, states = position.pending_refund, position.balance, []
    for row in rows:
        states.append((row.at, row.balance_after - pending, pending))
        pending -= row.pending_change
        after = row.balance_after - row.amount
    low = conditions.is_low(rule, after - pending, pending)
    for at, spendable, locked in reversed(states):
        was, low = low, conditions.is_low(rule, spendable, locked)
        if low and not was:
            yield conditions.low_at(position, spendable, rule, at)


def _low_available(rule: Rule, since: dt.datetime) -> Iterator[Hit]:
    limit, low = rule.threshold or 0, None
    for row in reversed(_moves(rule, since, "available")):
        was = row.balance_after - row.amount < limit if low is None else low
        low = row.balance_after < limit
        if low and not was:
            yield conditions.low_purse(row.balance_after, rule, row.at)


def _moves(rule: Rule, since: dt.datetime, balance: str) -> list[Movement]:
    """Newest first."""
    rows = Movement.objects.filter(user=rule.user.address, balance=balance, at__gt=since)
    return list(rows.order_by("-block", "-sequence", "-log_index", "-pk")[:_MOST_ROWS])


def _unlocked(rule: Rule, since: dt.datetime, now: dt.datetime) -> Iterator[Hit]:
    """Refunds that reached the end of their lock, as long as it is today, untouched until then."""
    contracts = ledger.contracts()
    longest = max((c.lock_time_seconds for c in contracts.values()), default=0)
    # By pair: when the next movement took something out of its refunds. Rows come newest first.
    touched: dict[tuple[str | None, str | None], dt.datetime] = {}
    for row in _moves(rule, since - dt.timedelta(seconds=longest), "sub_account"):
        pair = (row.serving, row.provider)
        if row.pending_change < 0:
            touched[pair] = row.at
        contract = contracts.get(str(row.serving))
        if row.kind != "refund_requested" or contract is None or row.provider is None:
            continue
        if rule.provider and row.provider != rule.provider:
            continue
        end = row.at + dt.timedelta(seconds=contract.lock_time_seconds)
        if since < end <= now and touched.get(pair, end) >= end:
            asked = int(row.at.timestamp())
            hit = conditions.unlocked(contract.address, row.provider, asked, row.pending_change)
            yield replace(hit, at=end)


# --- probes ---------------------------------------------------------------------------------------


def _outages(providers: Iterable[str], since: dt.datetime) -> list[Hit]:
    """Where a service failed its second probe in a row, after one that it had not (1 query)."""

    def of_service(value: Lag | LastValue) -> Window:
        return Window(value, partition_by=["provider", "serving"], order_by="at")

    looked = Probe.objects.filter(provider__in=sorted(providers)[:_MOST_PROBED], at__gt=since)
    rows = looked.annotate(
        # `state` itself would be compared before the rows are put in a row.
        now=of_service(LastValue("state")),
        last=of_service(Lag("state")),
        before=of_service(Lag("state", 2)),
        began=of_service(Lag("at")),
    ).filter(now=State.DOWN, last=State.DOWN, before__isnull=False)
    began = rows.exclude(before=State.DOWN).order_by("-at").values_list("provider", "began")
    return [conditions.silent(provider, at) for provider, at in began[:MOST]]
