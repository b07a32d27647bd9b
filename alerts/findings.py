"""What a rule about verification finds: verdicts that became worse, and facts across providers."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from accounts.addresses import short
from alerts import words
from alerts.conditions import LOOK_BACK, Found, Hit, newest, oldest, scopes
from alerts.kinds import Kind
from alerts.models import Notification, Rule
from attestation.models import Fact, Finding

#: What is older stays told by another rule, whatever the ways of both are now, and waits no longer
#: for its block to become final.
FRESH = dt.timedelta(hours=1)


def verification(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
    """Findings that were opened since each rule was made (1 query, 5 more where an endpoint has
    moved)."""
    about = scopes(rules)
    named = {provider for scope in about.values() for provider in scope}
    rows = Finding.objects.filter(
        provider__in=named, kind__in=words.FINDINGS, opened_at__gt=oldest(rules, now)
    ).order_by("-opened_at")
    by_provider: dict[str, list[Finding]] = defaultdict(list)
    for row in newest(rows, len(rules)):
        by_provider[row.provider].append(row)
    told = _by_others(rules, by_provider.values(), now)
    return {
        rule.pk: [
            finding_hit(row)
            for provider in sorted(about[rule.pk])
            for row in by_provider.get(provider, ())
            if row.opened_at > rule.created_at and not told(rule, row)
        ]
        for rule in rules
    }


def _by_others(
    rules: Sequence[Rule], found: Iterable[list[Finding]], now: dt.datetime
) -> Callable[[Rule, Finding], bool]:
    """Whether the same person's rule about addresses tells of a move, or will once its block is
    final, wherever the rule about verification would: one change is one message."""
    moves = {row.provider for rows in found for row in rows if row.kind == Fact.URL_CHANGED}
    if not moves:
        return lambda rule, row: False
    users = {rule.user_id for rule in rules}
    # Those deleted a moment ago, too: they went by the ways that they have.
    others = Rule.objects.filter(user__in=users, kind=Kind.URL).select_related("user")
    ways = {rule.pk: rule for rule in others}
    awake = [
        rule
        for rule in ways.values()
        if rule.deleted_at is None and not (rule.snoozed_until and rule.snoozed_until > now)
    ]
    about = scopes(awake)
    # By what is asked for: findings are as many as a provider makes them.
    later: dict[tuple[int, str], list[Rule]] = defaultdict(list)
    for other in awake:
        for provider in about[other.pk] & moves:
            later[other.user_id, provider].append(other)
    before = Notification.objects.filter(
        user__in=users, kind=Kind.URL, provider__in=moves, at__gt=now - 2 * LOOK_BACK
    )
    by: dict[tuple[int, str, str], list[tuple[dt.datetime, Rule | None]]] = defaultdict(list)
    for user, provider, occurrence, at, one in before.values_list(
        "user", "provider", "occurrence", "at", "rule"
    ):
        by[user, provider, occurrence.split(":")[2]].append((at, ways.get(one or 0)))

    def told(rule: Rule, row: Finding) -> bool:
        block = row.detail.get("block")
        if row.kind != Fact.URL_CHANGED or block is None:
            return False
        # What was looked at when it was new stays as it was judged then.
        judged = not (rule.snoozed_until and rule.snoozed_until > row.opened_at)
        return any(
            (judged and (other is None or max(at, row.opened_at) < now - FRESH))
            or (other is not None and _reaches(other, rule))
            for at, other in by.get((rule.user_id, row.provider, str(block)), ())
        ) or any(
            block > other.after_block and row.opened_at > now - FRESH and _reaches(other, rule)
            for other in later.get((rule.user_id, row.provider), ())
        )

    return told


def _reaches(one: Rule, other: Rule) -> bool:
    """Whether `one` is told by every way that `other` is told by."""
    mail, hook = one.by_email or not other.by_email, one.by_hook and one.hook_id is None
    return mail and (hook or not other.by_hook or (one.by_hook and one.hook_id == other.hook_id))


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
