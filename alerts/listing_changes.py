"""What a rule about listings finds: changes that the chain holds, block by block. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlencode

from accounts.addresses import short
from alerts import words
from alerts.conditions import MOST_CHANGES, Found, Hit, providers_of, scopes
from alerts.kinds import CHANGES, PRICES, Kind, moved
from alerts.models import Rule
from ledger.models import Service, ServiceChange
from ledger.stored import fields, integer
from operators.listing import UNBILLED, price_texts, unit_of
from protocol.fees import EMBEDDING, SPEECH

#: Service types by serving contract and provider.
Types = Mapping[tuple[str, str], str]


def changes(kind: Kind, rules: Sequence[Rule], after: int, upto: int) -> tuple[Found, int]:
    """Changes in final blocks above `after`, and the block up to which all were seen.

    Several changes of one listing between two sweeps are one hit: what it was before the first and
    is after the last is told by the page that the hit links to.
    """
    about = scopes(rules)
    rows = list(
        ServiceChange.objects.filter(
            pending=False,
            change__in=CHANGES[kind],
            provider__in=providers_of(about),
            block__gt=after,
            block__lte=upto,
        ).order_by("block", "sequence", "pk")[:MOST_CHANGES]
    )
    if len(rows) == MOST_CHANGES:
        # The last block may have more of them, so it comes with the next sweep.
        upto = max(rows[0].block, rows[-1].block - 1)
        rows = [row for row in rows if row.block <= upto]
    types = service_types(rows) if kind in PRICES else {}
    found: dict[int, list[Hit]] = {}
    for rule in rules:
        mine = [
            row for row in rows if row.provider in about[rule.pk] and row.block > rule.after_block
        ]
        found[rule.pk] = _grouped(kind, [row for row in mine if counts(rule, row, types)], types)
    return found, upto


def service_types(rows: Iterable[ServiceChange]) -> Types:
    """What the services of these changes are billed by, as they are listed now (1 query)."""
    named = Service.current.filter(provider__in={row.provider for row in rows})
    found = named.values_list("serving", "provider", "service_type")
    return {(serving, provider): sort for serving, provider, sort in found}


def counts(rule: Rule, row: ServiceChange, types: Types) -> bool:
    """Whether a change is as large, or crosses the price, that a rule names."""
    sort = types.get((row.serving, row.provider), "")
    if rule.kind in (Kind.PRICE_BELOW, Kind.PRICE_ABOVE):
        was, now = _compared(row, sort)
        limit = rule.threshold or 0
        return now < limit <= was if rule.kind == Kind.PRICE_BELOW else was <= limit < now
    if rule.kind != Kind.PRICE:
        return True
    least = (rule.percent or 0) * 100
    steps = [moved(was, now) for _, was, now in _prices(row, sort) if was != now]
    return any(step is None or abs(step) >= least for step in steps)


def _compared(row: ServiceChange, service_type: str) -> tuple[int, int]:
    """Before and after of the price that services are compared by, neuron of what people name it
    for; of speech the dearer one, as which of the two is a second's depends on the broker, and of
    embeddings that of the input: they answer with no token."""
    moves = {name: (was, now) for name, was, now in _prices(row, service_type)}
    billed = "input_price" if service_type == EMBEDDING else "output_price"
    name = "price_per_token" if "price_per_token" in moves else billed
    compared = list(moves.values()) if service_type == SPEECH else [moves.get(name, (0, 0))]
    scale = unit_of(name, service_type).scale
    return max(was for was, _ in compared) * scale, max(now for _, now in compared) * scale


def _grouped(kind: Kind, rows: list[ServiceChange], types: Types) -> list[Hit]:
    by_listing: dict[tuple[str, str], list[ServiceChange]] = defaultdict(list)
    for row in rows:
        by_listing[row.serving, row.provider].append(row)
    return [change_hit(kind, group, types) for group in by_listing.values()]


def change_hit(kind: Kind, group: list[ServiceChange], types: Types) -> Hit:
    """What is told of changes of one listing, the newest last. A new key takes the owner's
    acknowledgement with it, which comes after it as a change of its own: the key is what is told,
    also of who answers the owner's withdrawal with a new one; both are said.
    """
    withdrawn = any(row.change == "unacknowledged" for row in group)
    group = [row for row in group if row.change == "signer"] or group
    row, who = group[-1], short(group[-1].provider)
    lost = row.change == "unacknowledged"
    title = words.UNACKNOWLEDGED if lost else words.CHANGES[kind.value]
    more = " " + words.LAST_OF.format(count=len(group)) if len(group) > 1 else ""
    return Hit(
        subject=f"{row.serving}:{row.provider}",
        occurrence=f"{row.change}:{row.serving}:{row.block}:{row.sequence}",
        title=title.format(provider=who),
        text=_said(kind, row, types, withdrawn=withdrawn) + more,
        path=f"/changes?{urlencode({'provider': row.provider})}",
        provider=row.provider,
        at=row.at,
    )


def _said(kind: Kind, row: ServiceChange, types: Types, *, withdrawn: bool) -> str:
    if kind in PRICES:
        sort = types.get((row.serving, row.provider), "")
        moves = [(name, was, now) for name, was, now in _prices(row, sort) if was != now]
        return " ".join(_price(*move, sort) for move in moves)
    if kind == Kind.REMOVED:
        return words.STAYS_YOURS
    if kind == Kind.ACKNOWLEDGED:
        return words.ACCEPTED
    if kind == Kind.URL:
        return words.OWNERS_SURVIVES
    was, now = (str(fields(side).get("tee_signer", "")) for side in (row.before, row.after))
    if row.change != "signer" or not was or not now:
        return words.YOURS_SURVIVES
    sentence = words.KEY_AND_OWNER if withdrawn else words.KEY
    return f"{sentence.format(before=short(was), after=short(now))} {words.YOURS_SURVIVES}"


def _price(name: str, was: int, now: int, service_type: str) -> str:
    unit = unit_of(name, service_type)
    step = moved(was, now)
    whole, hundredths = divmod(abs(step or 0), 100)
    sign = "-" if (step or 0) < 0 else "+"
    sentence = words.PRICE if step is None else words.PRICE_BY
    (before, after), named = price_texts((was, now), unit)
    return sentence.format(
        name=name.replace("_", " ").capitalize(),
        before=before,
        after=after,
        unit=named,
        step=f"{sign}{whole}.{hundredths:02d}",
    )


def _prices(row: ServiceChange, service_type: str) -> list[tuple[str, int, int]]:
    before, after = fields(row.before), fields(row.after)
    billed = (name for name in after if name != UNBILLED.get(service_type))
    return [(name, integer(before.get(name)), integer(after.get(name))) for name in billed]
