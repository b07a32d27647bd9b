"""What a rule finds: conditions that hold now, and events of the past. Reads only.

Every reader takes a batch of rules of one kind (with their users) and asks a fixed number of
queries, however many rules there are.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from accounts import links, money
from accounts.addresses import short
from accounts.models import Watch
from alerts import words
from alerts.kinds import CHANGES, Kind, moved
from alerts.models import Rule
from attestation.models import Fact, Finding
from finetune import results
from finetune import selectors as finetune
from finetune.models import Passage, Task
from ledger import selectors as ledger
from ledger.models import Ledger, ServiceChange, ServingContract, SubAccount
from ledger.records import Position
from ledger.stored import fields, integer
from moderation.models import Outcome, Report
from probes.models import Health
from probes.models import State as Seen
from protocol import tuning

#: Rows of changes looked at in one go; what is left comes with the next sweep.
MOST_CHANGES = 2_000
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


# --- conditions that hold for a while -------------------------------------------------------------


def low_balance(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
    held = positions(rules)
    return {
        rule.pk: [
            Hit(
                subject=f"{p.serving}:{p.provider}",
                occurrence=f"{p.serving}:{p.provider}:{now.isoformat()}",
                title=words.LEFT_AT.format(
                    amount=money.short(p.spendable), provider=short(p.provider)
                ),
                text=words.BELOW.format(amount=money.exact(rule.threshold or 0)),
                path=links.form("transfer", p),
                provider=p.provider,
            )
            for p in held.get(rule.user.address, ())
            if (not rule.provider or p.provider == rule.provider)
            and p.spendable < (rule.threshold or 0)
            # What was retrieved on purpose is not "low".
            and (p.spendable > 0 or (rule.provider and not p.pending_refund))
        ]
        for rule in rules
    }


def low_available(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
    purses = Ledger.current.filter(user__in={rule.user.address for rule in rules}, exists=True)
    available = dict(purses.values_list("user", "available"))
    return {
        rule.pk: [
            Hit(
                subject="available",
                occurrence=f"available:{now.isoformat()}",
                title=words.AVAILABLE.format(amount=money.short(available[rule.user.address])),
                text=words.BELOW.format(amount=money.exact(rule.threshold or 0)),
                path="/account?action=deposit",
            )
        ]
        if available.get(rule.user.address, rule.threshold or 0) < (rule.threshold or 0)
        else []
        for rule in rules
    }


def provider_down(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
    about = scopes(rules)
    named = {provider for scope in about.values() for provider in scope}
    failing = Health.objects.filter(
        provider__in=named, state=Seen.DOWN, failures__gte=FAILURES, since__isnull=False
    )
    rows = failing.order_by("-since").values_list("provider", "since")
    down = {provider: since for provider, since in rows if since is not None}
    return {
        rule.pk: [
            Hit(
                subject=provider,
                occurrence=f"{provider}:{int(down[provider].timestamp())}",
                title=words.SILENT.format(provider=short(provider)),
                text=words.SILENT_SINCE.format(moment=f"{down[provider]:%d %b %H:%M}"),
                path=f"/providers/{provider}",
                provider=provider,
            )
            for provider in sorted(about[rule.pk] & down.keys())
        ]
        for rule in rules
    }


def answering(providers: Iterable[str]) -> set[str]:
    """Those that were seen to answer by the newest probe of each of their services (1 query)."""
    states: dict[str, set[str]] = defaultdict(set)
    rows = Health.objects.filter(provider__in=set(providers)).exclude(state="")
    for provider, state in rows.values_list("provider", "state"):
        states[provider].add(state)
    return {provider for provider, said in states.items() if Seen.DOWN not in said}


# --- moments --------------------------------------------------------------------------------------


def refund_unlocked(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
    held = positions(rules)
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
        yield Hit(
            subject=f"{p.serving}:{p.provider}:{moment}",
            occurrence=f"{p.serving}:{p.provider}:{moment}",
            title=words.UNLOCKED.format(amount=money.short(amount), provider=short(p.provider)),
            text=words.STILL_CHARGEABLE,
            path="/account/refunds/collect",
            provider=p.provider,
        )


def lock_time(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
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


def verification(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
    about = scopes(rules)
    oldest = min(rule.created_at for rule in rules)
    return _findings(rules, about, oldest)


def _findings(rules: Sequence[Rule], about: dict[int, set[str]], oldest: dt.datetime) -> Found:
    named = {provider for scope in about.values() for provider in scope}
    rows = Finding.objects.filter(
        provider__in=named, kind__in=words.FINDINGS, opened_at__gt=oldest
    ).order_by("-opened_at")[:MOST_CHANGES]
    by_provider: dict[str, list[Hit]] = defaultdict(list)
    for row in rows:
        by_provider[row.provider].append(finding_hit(row))
    return {
        rule.pk: [
            hit
            for provider in sorted(about[rule.pk])
            for hit in by_provider.get(provider, ())
            if hit.at is not None and hit.at > rule.created_at
        ]
        for rule in rules
    }


def finding_hit(row: Finding) -> Hit:
    known = row.verification_id is not None
    worse = row.detail if row.kind == Fact.REGRESSION else {}
    steps = {"before": worse.get("from", ""), "after": worse.get("to", "")}
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


# --- fine-tuning ----------------------------------------------------------------------------------

#: Hours before the end at which somebody is reminded.
REMINDERS = (24, 6, 1)


def task(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
    """Stages that matter, as far as they were heard of since the rule was made (1 query)."""
    oldest = min(rule.created_at for rule in rules)
    rows = Passage.objects.filter(
        task__user__in={rule.user_id for rule in rules}, stage__in=words.TASKS, at__gt=oldest
    ).select_related("task")
    by_user: dict[int, list[Passage]] = defaultdict(list)
    for row in rows.order_by("-at")[:MOST_CHANGES]:
        by_user[row.task.user_id].append(row)
    return {
        rule.pk: [
            Hit(
                subject=f"{row.task_id}:{row.stage}",
                occurrence=f"{row.task_id}:{row.stage}",
                title=words.TASKS[row.stage].format(model=row.task.model[:60]),
                text="",
                path=f"/fine-tuning/tasks/{row.task_id}",
                provider=row.task.provider,
                at=row.at,
            )
            for row in by_user.get(rule.user_id, ())
            if row.at > rule.created_at
        ]
        for rule in rules
    }


def deadline(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
    """The latest reminder that is due for each result that waits (a query per waiting result)."""
    users = {rule.user_id for rule in rules}
    waiting = Task.objects.filter(user__in=users, progress=tuning.DELIVERED).select_related("user")
    by_user: dict[int, list[Hit]] = defaultdict(list)
    for row in waiting[:MOST_CHANGES]:
        end = finetune.deadline(row, results.deliverable_of(row))
        hours = None if end is None else (end.unix - now_unix) / 3600
        due = [mark for mark in REMINDERS if hours is not None and 0 < hours <= mark]
        if due:
            by_user[row.user_id].append(_reminder(row, min(due)))
    return {rule.pk: by_user.get(rule.user_id, []) for rule in rules}


def _reminder(row: Task, hours: int) -> Hit:
    left = words.LAST_HOUR if hours == 1 else words.HOURS_LEFT
    return Hit(
        subject=f"{row.pk}:{hours}",
        occurrence=f"{row.pk}:{hours}",
        title=left.format(hours=hours, model=row.model[:60]),
        text=words.FORFEIT,
        path=f"/fine-tuning/tasks/{row.pk}",
        provider=row.provider,
    )


# --- reports ------------------------------------------------------------------------------------


def report(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
    """Reports that moderators answered since the rule was made (1 query)."""
    oldest = min(rule.created_at for rule in rules)
    rows = Report.objects.filter(
        reporter__in={rule.user_id for rule in rules}, closed_at__gt=oldest
    ).exclude(outcome="")
    by_user: dict[int, list[Report]] = defaultdict(list)
    for row in rows.order_by("-closed_at")[:MOST_CHANGES]:
        by_user[row.reporter_id].append(row)
    return {
        rule.pk: [
            Hit(
                subject=str(row.pk),
                occurrence=f"report:{row.pk}",
                title=words.ANSWERED.format(outcome=str(Outcome(row.outcome).label).lower()),
                text=row.answer,
                path="/account/reports",
                provider=row.about.address,
                at=row.closed_at,
            )
            for row in by_user.get(rule.user_id, ())
            if row.closed_at and row.closed_at > rule.created_at
        ]
        for rule in rules
    }


# --- changes of listings --------------------------------------------------------------------------


def changes(kind: Kind, rules: Sequence[Rule], after: int, upto: int) -> tuple[Found, int]:
    """Changes in final blocks above `after`, and the block up to which all were seen.

    Several changes of one listing between two sweeps are one hit: what it was before the first and
    is after the last is told by the page that the hit links to.
    """
    about = scopes(rules)
    named = {provider for scope in about.values() for provider in scope}
    rows = list(
        ServiceChange.objects.filter(
            pending=False,
            change__in=CHANGES[kind],
            provider__in=named,
            block__gt=after,
            block__lte=upto,
        ).order_by("block", "sequence", "pk")[:MOST_CHANGES]
    )
    if len(rows) == MOST_CHANGES and rows[-1].block > rows[0].block:
        upto = rows[-1].block - 1
        rows = [row for row in rows if row.block <= upto]
    found: dict[int, list[Hit]] = {}
    for rule in rules:
        mine = [
            row for row in rows if row.provider in about[rule.pk] and row.block > rule.after_block
        ]
        found[rule.pk] = _grouped(kind, [row for row in mine if counts(rule, row)])
    return found, upto


def counts(rule: Rule, row: ServiceChange) -> bool:
    if rule.kind != Kind.PRICE or not rule.percent:
        return True
    steps = [moved(before, after) for _, before, after in _prices(row)]
    return any(step is None or abs(step) >= rule.percent * 100 for step in steps)


def _grouped(kind: Kind, rows: list[ServiceChange]) -> list[Hit]:
    by_listing: dict[tuple[str, str], list[ServiceChange]] = defaultdict(list)
    for row in rows:
        by_listing[row.serving, row.provider].append(row)
    return [change_hit(kind, group) for group in by_listing.values()]


def change_hit(kind: Kind, group: list[ServiceChange]) -> Hit:
    row, who = group[-1], short(group[-1].provider)
    lost = row.change == "unacknowledged"
    title = words.UNACKNOWLEDGED if lost else words.CHANGES[kind.value]
    more = " " + words.LAST_OF.format(count=len(group)) if len(group) > 1 else ""
    return Hit(
        subject=f"{row.serving}:{row.provider}",
        occurrence=f"{row.change}:{row.serving}:{row.block}:{row.sequence}",
        title=title.format(provider=who),
        text=_said(kind, row) + more,
        path=f"/changes?{urlencode({'provider': row.provider})}",
        provider=row.provider,
        at=row.at,
    )


def _said(kind: Kind, row: ServiceChange) -> str:
    if kind == Kind.PRICE:
        return " ".join(_price(name, was, now) for name, was, now in _prices(row) if was != now)
    if kind == Kind.REMOVED:
        return words.STAYS_YOURS
    if kind == Kind.URL:
        return words.OWNERS_SURVIVES
    return words.YOURS_SURVIVES


def _price(name: str, was: int, now: int) -> str:
    step = moved(was, now)
    whole, hundredths = divmod(abs(step or 0), 100)
    sign = "-" if (step or 0) < 0 else "+"
    sentence = words.PRICE if step is None else words.PRICE_BY
    return sentence.format(
        name=name.replace("_", " ").capitalize(),
        before=f"{was:,}",
        after=f"{now:,}",
        step=f"{sign}{whole}.{hundredths:02d}",
    )


def _prices(row: ServiceChange) -> list[tuple[str, int, int]]:
    before, after = fields(row.before), fields(row.after)
    return [(name, integer(before.get(name)), integer(after.get(name))) for name in after]
