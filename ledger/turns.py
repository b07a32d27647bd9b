"""What listings were when their prices changed: a price is in the unit of its type (contracts.md
4), and a listing may change its type later, or with the price in one transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ledger.models import ServiceChange
from ledger.stored import fields

#: What says of which type a listing was until then.
_TELLING = ("type", "removed")
#: Rows that are read; of what comes after so many the present type is taken.
_MOST = 1_000


class Placed(Protocol):
    """A change of a listing, by where it stands on chain."""

    @property
    def change(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def block(self) -> int: ...
    @property
    def log_index(self) -> int | None: ...


class Types(NamedTuple):
    """A listing's service type before a change and after it."""

    before: str
    after: str


Turns = Mapping[tuple[str, str], Sequence[ServiceChange]]


def since(changes: Iterable[Placed]) -> Turns:
    """By serving contract and provider, oldest first: the changes that say of which type listings
    were, from the first of these changes of a price on (1 query; none where there is none)."""
    priced = [change for change in changes if change.change == "price"]
    found: dict[tuple[str, str], list[ServiceChange]] = defaultdict(list)
    if priced:
        rows = ServiceChange.objects.filter(
            provider__in={change.provider for change in priced},
            block__gte=min(change.block for change in priced),
            change__in=_TELLING,
        )
        for row in rows.order_by("block", "sequence", "pk")[:_MOST]:
            found[row.serving, row.provider].append(row)
    return found


def around(change: Placed, turns: Sequence[ServiceChange], now: str) -> Types:
    """The types of a listing around one of its changes, by what came later; `now`: its type now."""
    place = _place(change)
    for turn in turns:
        at = _place(turn)
        if at < place:
            continue
        before = str(fields(turn.before).get("service_type") or now)
        if turn.change == "type" and at == place:
            return Types(before, str(fields(turn.after).get("service_type") or before))
        return Types(before, before)
    return Types(now, now)


def _place(change: Placed) -> tuple[int, bool, int]:
    """Its log; what a view said comes after the logs of its block."""
    return change.block, change.log_index is None, change.log_index or 0
