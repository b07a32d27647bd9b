"""What a rule about listings finds: changes that the chain holds, block by block. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from urllib.parse import urlencode

from accounts.addresses import short
from alerts import words
from alerts.conditions import MOST_CHANGES, Found, Hit, scopes
from alerts.kinds import CHANGES, Kind, moved
from alerts.models import Rule
from ledger.models import ServiceChange
from ledger.stored import fields, integer


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
