"""What a rule about listings finds: changes that the chain holds, block by block. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from accounts.addresses import short
from alerts import words
from alerts.conditions import MOST_CHANGES, Found, Hit, providers_of, scopes
from alerts.kinds import CHANGES, PRICES, Kind, moved
from alerts.models import Rule
from ledger import turns
from ledger.models import Service, ServiceChange
from ledger.stored import fields, integer
from operators.listing import UNBILLED, Unit, price_texts, unit_of
from protocol.abi import ZERO_ADDRESS
from protocol.fees import EMBEDDING, SPEECH

#: What the listings were around changes of their prices, by the key of the change.
Types = Mapping[int, turns.Types]
_UNKNOWN = turns.Types("", "")


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
    rows, came = returned(kind, rows)
    types = {**service_types(rows), **came} if kind in PRICES else {}
    found: dict[int, list[Hit]] = {}
    for rule in rules:
        mine = [
            row for row in rows if row.provider in about[rule.pk] and row.block > rule.after_block
        ]
        found[rule.pk] = _grouped(kind, [row for row in mine if counts(rule, row, types)], types)
    return found, upto


def returned(kind: Kind, rows: Iterable[ServiceChange]) -> tuple[list[ServiceChange], Types]:
    """The same, where who goes and comes again with another key, or other prices, changed them;
    other registrations are left out. Also the types around those that came (1 query, none without
    any)."""
    changes, types = list(rows), dict[int, turns.Types]()
    came = [row for row in changes if row.change == "registered"]
    if not came:
        return changes, types
    gone = ServiceChange.objects.filter(
        change="removed",
        provider__in={row.provider for row in came},
        block__lte=max(row.block for row in came),
    ).order_by("-block", "-sequence", "-pk")
    earlier: dict[tuple[str, str], list[ServiceChange]] = defaultdict(list)
    for row in gone[:MOST_CHANGES]:
        earlier[row.serving, row.provider].append(row)
    change = CHANGES[kind][0]
    for row in came:
        place, left = (row.block, row.sequence), earlier[row.serving, row.provider]
        last = next((one for one in left if (one.block, one.sequence) < place), None)
        old, new = fields(last.before if last else None), fields(row.after)
        was, now = (_told(said, _AGAIN[change]) for said in (old, new))
        if was and now and was != now:
            row.change, row.before, row.after = change, was, now
            before, after = (str(said.get("service_type") or "") for said in (old, new))
            types[row.pk] = turns.Types(before, after)
    return [row for row in changes if row.change != "registered"], types


#: What a listing says of itself that these changes are of.
_AGAIN = {
    "signer": ("tee_signer",),
    "price": ("input_price", "output_price", "price_per_token"),
}


def _told(said: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: said[name] for name in names if said.get(name) not in (None, "", ZERO_ADDRESS)}


def service_types(rows: Iterable[ServiceChange]) -> Types:
    """What the services of these changes were billed by around them (2 queries)."""
    changes = list(rows)
    named = Service.current.filter(provider__in={row.provider for row in changes})
    found = named.values_list("serving", "provider", "service_type")
    now = {(serving, provider): sort for serving, provider, sort in found}
    later = turns.since(changes)
    return {
        row.pk: turns.around(
            row,
            later.get((row.serving, row.provider), ()),
            now.get((row.serving, row.provider), ""),
        )
        for row in changes
    }


def counts(rule: Rule, row: ServiceChange, types: Types) -> bool:
    """Whether a change is as large, or crosses the price, that a rule names."""
    around = types.get(row.pk, _UNKNOWN)
    if rule.kind in (Kind.PRICE_BELOW, Kind.PRICE_ABOVE):
        (was, old), (now, new) = (
            _compared(row.before, around.before),
            _compared(row.after, around.after),
        )
        limit = rule.threshold or 0
        if old != new:  # a price in one unit crosses nothing in another
            return False
        return now < limit <= was if rule.kind == Kind.PRICE_BELOW else was <= limit < now
    if rule.kind != Kind.PRICE:
        return True
    least = (rule.percent or 0) * 100
    return any(step is None or abs(step) >= least for step in map(_step, _moves(row, around)))


def _compared(said: Any, service_type: str) -> tuple[int, Unit]:
    """The price that services are compared by, neuron of what people name it for; of speech the
    dearer one, as which of the two is a second's depends on the broker, and of embeddings that of
    the input: they answer with no token."""
    prices = fields(said)
    billed = "input_price" if service_type == EMBEDDING else "output_price"
    name = "price_per_token" if "price_per_token" in prices else billed
    names = prices if service_type == SPEECH else [name]
    unit = unit_of(name, service_type)
    return max((integer(prices.get(one)) for one in names), default=0) * unit.scale, unit


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
        return " ".join(map(_price, _moves(row, types.get(row.pk, _UNKNOWN))))
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


class _Move(NamedTuple):
    """A price before and after a change, each in its unit."""

    name: str
    was: int
    now: int
    old: Unit
    new: Unit


def _moves(row: ServiceChange, types: turns.Types) -> list[_Move]:
    """The billed prices that a change moved."""
    before, after = fields(row.before), fields(row.after)
    moves = [
        _Move(name, integer(before.get(name)), integer(after.get(name)), *_units(name, types))
        for name in after
        if name != UNBILLED.get(types.after)
    ]
    return [move for move in moves if (move.was, move.old) != (move.now, move.new)]


def _units(name: str, types: turns.Types) -> tuple[Unit, Unit]:
    return unit_of(name, types.before), unit_of(name, types.after)


def _step(move: _Move) -> int | None:
    """Hundredths of a per cent; None where there is nothing to compare with."""
    return moved(move.was, move.now) if move.old == move.new else None


def _price(move: _Move) -> str:
    name = move.name.replace("_", " ").capitalize()
    if move.old != move.new:
        ((before,), old), ((after,), unit) = (
            price_texts((price,), of) for price, of in ((move.was, move.old), (move.now, move.new))
        )
        return words.PRICE.format(name=name, before=f"{before} {old}", after=after, unit=unit)
    step = _step(move)
    whole, hundredths = divmod(abs(step or 0), 100)
    sign = "-" if (step or 0) < 0 else "+"
    sentence = words.PRICE if step is None else words.PRICE_BY
    (before, after), unit = price_texts((move.was, move.now), move.new)
    return sentence.format(
        name=name,
        before=before,
        after=after,
        unit=unit,
        step=f"{sign}{whole}.{hundredths:02d}",
    )
