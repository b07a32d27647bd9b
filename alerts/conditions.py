"""What a rule finds: conditions that hold now, and events of the past. Reads only.

Every reader takes a batch of rules of one kind (with their users) and asks a fixed number of
queries, however many rules there are.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Exists, QuerySet

from accounts import attention, clock, links, money, trust
from accounts.addresses import short
from accounts.models import AccessToken, Watch
from alerts import words
from alerts.models import Held, Rule
from attestation.models import Fact, Finding
from attestation.selectors import listed
from chain import selectors as chain
from ledger import selectors as ledger
from ledger.models import Kind, Ledger, ServingContract, SubAccount
from ledger.records import Position
from probes.models import Health
from probes.models import State as Seen
from probes.selectors import STALE_AFTER

#: Rows looked at in one go. Changes of listings come the oldest first, and the rest with the next
#: sweep; of all else the newest count, of each rule by itself where there are more (`newest`).
MOST_CHANGES = 2_000
#: What happened longer ago is no news, whoever did not look meanwhile.
LOOK_BACK = dt.timedelta(days=7)
#: One probe that failed is no news yet.
FAILURES = 2


@dataclass(frozen=True)
class Hit:
    """One thing to tell. `subject` names what it is about among all that a rule can find;
    `occurrence` tells this time from other times."""

    subject: str
    occurrence: str
    title: str
    text: str
    path: str
    provider: str = ""
    value: str = ""
    at: dt.datetime | None = None


Found = Mapping[int, Sequence[Hit]]
Row = TypeVar("Row")


class Crowded(Exception):
    """More than MOST_CHANGES rows for several rules together: look at fewer of them at a time."""


def newest(rows: QuerySet[Any, Row], sharers: int) -> list[Row]:
    """The first rows for so many `sharers`. Raises Crowded rather than let the newest of one push
    out what another was not told yet."""
    found = list(rows[:MOST_CHANGES])
    if len(found) == MOST_CHANGES and sharers > 1:
        raise Crowded
    return found


# --- what people hold ---------------------------------------------------------------------------


def positions(rules: Iterable[Rule]) -> dict[str, list[Position]]:
    """Live sub-accounts by user (2 queries)."""
    known = ledger.contracts()
    rows = SubAccount.current.filter(
        user__in={rule.user.address for rule in rules}, live=True
    ).order_by("serving", "provider")
    held: dict[str, list[Position]] = defaultdict(list)
    for row in rows:
        held[row.user].append(Position.of(row, known))
    return held


def scopes(rules: Sequence[Rule]) -> dict[int, set[str]]:
    """The providers each rule is about: the one it names, else those where its person holds money
    and those of watched listings (3 queries).
    """
    open_ones = [rule for rule in rules if not rule.provider]
    cared: dict[str, set[str]] = defaultdict(set)
    if open_ones:
        for user, held in positions(open_ones).items():
            cared[user] |= {p.provider for p in held if p.balance}
        users = {rule.user_id for rule in open_ones}
        watches = Watch.objects.filter(user__in=users)
        for user, provider in watches.values_list("user__address", "provider"):
            cared[user].add(provider)
    return {
        rule.pk: {rule.provider} if rule.provider else set(cared[rule.user.address])
        for rule in rules
    }


def providers_of(about: Mapping[int, set[str]]) -> set[str]:
    """The providers that some rule is about."""
    return {provider for scope in about.values() for provider in scope}


# --- conditions that hold for a while -------------------------------------------------------------


def low_balance(rules: Sequence[Rule], now: dt.datetime) -> Found:
    held = positions(rules)
    return {
        rule.pk: [
            low_at(p, p.spendable, rule, now)
            for p in held.get(rule.user.address, ())
            if watches(rule, p) and is_low(rule, p.spendable, p.pending_refund)
        ]
        for rule in rules
    }


def watches(rule: Rule, p: Position) -> bool:
    """Whether a rule about low balances is about this one. What is held for fine-tuning is filled
    for one task and used up by it: only who names the provider means that too."""
    return p.provider == rule.provider if rule.provider else p.kind != Kind.FINE_TUNING


def is_low(rule: Rule, spendable: int, pending_refund: int) -> bool:
    """Whether this much at a provider is what the rule is about, neuron."""
    # What was retrieved on purpose is not "low".
    retrieved = spendable <= 0 and (not rule.provider or pending_refund)
    return spendable < (rule.threshold or 0) and not retrieved


def low_at(p: Position, spendable: int, rule: Rule, at: dt.datetime) -> Hit:
    return Hit(
        subject=f"{p.serving}:{p.provider}",
        occurrence=f"{p.serving}:{p.provider}:{at.isoformat()}",
        title=words.LEFT_AT.format(amount=money.short(spendable), provider=short(p.provider)),
        text=words.BELOW.format(amount=money.told(rule.threshold or 0)),
        path=links.form("transfer", p),
        provider=p.provider,
        at=at,
    )


def low_available(rules: Sequence[Rule], now: dt.datetime) -> Found:
    purses = Ledger.current.filter(user__in={rule.user.address for rule in rules}, exists=True)
    available = dict(purses.values_list("user", "available"))
    return {
        rule.pk: [low_purse(available[rule.user.address], rule, now)]
        if available.get(rule.user.address, rule.threshold or 0) < (rule.threshold or 0)
        else []
        for rule in rules
    }


def low_purse(available: int, rule: Rule, at: dt.datetime) -> Hit:
    return Hit(
        subject="available",
        occurrence=f"available:{at.isoformat()}",
        title=words.AVAILABLE.format(amount=money.short(available)),
        text=words.BELOW.format(amount=money.told(rule.threshold or 0)),
        path="/account?action=deposit",
        at=at,
    )


def provider_down(rules: Sequence[Rule], now: dt.datetime) -> Found:
    about = scopes(rules)
    failing = probed(providers_of(about)).filter(
        state=Seen.DOWN, failures__gte=FAILURES, since__isnull=False
    )
    down: dict[str, dt.datetime] = {}
    seen_now = set()
    for row in failing.order_by("-since"):
        if row.since is not None and row.checked_at is not None:
            down[row.provider] = row.since
            if row.checked_at > now - STALE_AFTER:
                seen_now.add(row.provider)
    # That nobody has looked since is no news, nor the end of what was told.
    held = Held.objects.filter(rule__in=rules, subject__in=down.keys() - seen_now)
    told = set(held.values_list("rule_id", "subject"))
    return {
        rule.pk: [
            silent(provider, down[provider])
            for provider in sorted(about[rule.pk] & down.keys())
            if provider in seen_now or (rule.pk, provider) in told
        ]
        for rule in rules
    }


def probed(providers: Iterable[str]) -> QuerySet[Health]:
    """What probes say of services that are listed and let us ask: of others nobody knows."""
    return Health.objects.filter(Exists(listed()), provider__in=set(providers), opted_out=False)


def silent(provider: str, since: dt.datetime) -> Hit:
    return Hit(
        subject=provider,
        occurrence=f"{provider}:{int(since.timestamp())}",
        title=words.SILENT.format(provider=short(provider)),
        text=words.SILENT_SINCE.format(moment=words.moment(since)),
        path=f"/providers/{provider}",
        provider=provider,
        at=since,
    )


def answering(providers: Iterable[str], now: dt.datetime) -> set[str]:
    """Those that answered the newest probe of each of their services, lately (1 query)."""
    states: dict[str, set[str]] = defaultdict(set)
    rows = probed(providers).exclude(state="").filter(checked_at__gt=now - STALE_AFTER)
    for provider, state in rows.values_list("provider", "state"):
        states[provider].add(state)
    return {provider for provider, said in states.items() if Seen.DOWN not in said}


# --- moments --------------------------------------------------------------------------------------


def idle(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """What is free at a provider where nothing has changed for `attention.IDLE_FOR`, as far as the
    index has come (4 queries)."""
    head = chain.head(now)
    seen = head.indexed_at if head.catching_up else head.checked_at
    if seen is None:
        return {}
    held, now = positions(rules), min(now, seen)
    blocks = {p.block for those in held.values() for p in those if p.spendable > 0}
    since = chain.times_of(blocks)
    return {
        rule.pk: [
            _idle(p, since[p.block], now)
            for p in held.get(rule.user.address, ())
            if (not rule.provider or p.provider == rule.provider)
            and p.spendable > 0
            and p.block in since
            and now - since[p.block] > attention.IDLE_FOR
        ]
        for rule in rules
    }


def _idle(p: Position, since: dt.datetime, now: dt.datetime) -> Hit:
    amount, days = money.short(p.spendable), (now - since).days
    return Hit(
        subject=f"{p.serving}:{p.provider}",
        occurrence=f"{p.serving}:{p.provider}:{p.block}",
        title=words.IDLE.format(amount=amount, provider=short(p.provider), days=days),
        text=words.RETRIEVE,
        path=links.form("retrieve", p),
        provider=p.provider,
        at=now,
    )


def refund_unlocked(rules: Sequence[Rule], now: dt.datetime) -> Found:
    held, now_unix = positions(rules), clock.now_unix()
    return {
        rule.pk: [
            hit
            for p in held.get(rule.user.address, ())
            if not rule.provider or p.provider == rule.provider
            for hit in _unlocked(p, now_unix)
        ]
        for rule in rules
    }


def _unlocked(p: Position, now_unix: int) -> Iterator[Hit]:
    """One hit per moment of requesting: entries of one block were one wish."""
    by_moment: dict[int, int] = defaultdict(int)
    for refund in p.refunds:
        if refund.unlocks_at_unix <= now_unix:
            by_moment[refund.created_at_unix] += refund.amount
    for moment, amount in by_moment.items():
        yield unlocked(p.serving, p.provider, moment, amount)


def unlocked(serving: str, provider: str, asked_at_unix: int, amount: int) -> Hit:
    name = f"{serving}:{provider}:{asked_at_unix}"
    return Hit(
        subject=name,
        occurrence=name,
        title=words.UNLOCKED.format(amount=money.short(amount), provider=short(provider)),
        text=words.STILL_CHARGEABLE,
        path="/account/refunds/collect",
        provider=provider,
    )


def lock_time(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """Every contract's value, whether it changed or not: the sweep compares."""
    contracts = list(ServingContract.current.filter(pending=False).order_by("service_name"))
    hits = [
        Hit(
            subject=contract.address,
            occurrence=f"{contract.address}:{contract.block}:{contract.lock_time_seconds}",
            title=words.LOCK_TIME.format(service=contract.service_name[:60], span=_span(contract)),
            text=words.LOCK_TIME_FOR_ALL,
            path="/account/refunds",
            value=str(contract.lock_time_seconds),
        )
        for contract in contracts
    ]
    return {rule.pk: hits for rule in rules}


def _span(contract: ServingContract) -> str:
    hours, rest = divmod(contract.lock_time_seconds, 3600)
    return f"{hours} h" if not rest else f"{contract.lock_time_seconds:,} s"


def oldest(rules: Iterable[Rule], now: dt.datetime) -> dt.datetime:
    """When the first of them was made, at most LOOK_BACK ago."""
    return max(min(rule.created_at for rule in rules), now - LOOK_BACK)


def since_made(rule: Rule, hits: Iterable[Hit]) -> list[Hit]:
    """Those that happened since the rule was made."""
    return [hit for hit in hits if hit.at is not None and hit.at > rule.created_at]


def verification(rules: Sequence[Rule], now: dt.datetime) -> Found:
    about = scopes(rules)
    rows = Finding.objects.filter(
        provider__in=providers_of(about),
        kind__in=words.FINDINGS,
        opened_at__gt=oldest(rules, now),
    ).order_by("-opened_at")
    return by_provider(rules, about, map(finding_hit, newest(rows, len(rules))))


def by_provider(rules: Iterable[Rule], about: Mapping[int, set[str]], hits: Iterable[Hit]) -> Found:
    """Of these hits those that each rule is `about` (`scopes`), since it was made."""
    found: dict[str, list[Hit]] = defaultdict(list)
    for hit in hits:
        found[hit.provider].append(hit)
    return {
        rule.pk: [
            hit
            for provider in sorted(about[rule.pk])
            for hit in since_made(rule, found.get(provider, ()))
        ]
        for rule in rules
    }


_STEPS = (("before", "from"), ("after", "to"))


def finding_hit(row: Finding) -> Hit:
    known = row.verification_id is not None
    worse = row.detail if row.kind == Fact.REGRESSION else {}
    steps = {step: trust.label(str(worse.get(name, ""))) for step, name in _STEPS}
    return Hit(
        subject=f"finding:{row.pk}",
        occurrence=f"finding:{row.pk}",
        title=words.FINDING.format(
            provider=short(row.provider), what=words.FINDINGS[Fact(row.kind)]
        ),
        text=words.WORSE.format(**steps) if worse else "",
        path=f"/verifications/{row.verification_id}" if known else f"/providers/{row.provider}",
        provider=row.provider,
        at=row.opened_at,
    )


# --- access tokens ------------------------------------------------------------------------------

#: Days before its end at which somebody is told, and percent of its limit.
TOKEN_DAYS, TOKEN_PERCENTS = (7, 1), (90, 100)


def token(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """The latest mark that each living token has passed, of its time and of its limit (1 query)."""
    users = {rule.user_id for rule in rules}
    rows = AccessToken.objects.filter(user__in=users, revoked_at=None, expires_at__gt=now)
    by_user: dict[int, list[Hit]] = defaultdict(list)
    for row in rows.order_by("expires_at"):
        by_user[row.user_id] += _token(row, now)
    return {rule.pk: by_user.get(rule.user_id, []) for rule in rules}


def _token(row: AccessToken, now: dt.datetime) -> Iterator[Hit]:
    left, path = row.expires_at - now, "/account/keys#tokens"
    if days := [mark for mark in TOKEN_DAYS if left <= dt.timedelta(days=mark)]:
        subject = f"token:{row.pk}:{row.expires_at:%Y%m%d%H%M}:{min(days)}"
        title = words.EXPIRES.format(label=row.label, moment=words.moment(row.expires_at))
        yield Hit(subject, subject, title, words.EXPIRES_MEANS, path)
    limit = row.spend_limit or 0
    if spent := [mark for mark in TOKEN_PERCENTS if limit and row.spent * 100 >= limit * mark]:
        subject = f"token:{row.pk}:{limit}:{max(spent)}%"
        title = words.SPENT.format(label=row.label, percent=max(spent), amount=money.told(limit))
        yield Hit(subject, subject, title, words.SPENT_MEANS, path)
