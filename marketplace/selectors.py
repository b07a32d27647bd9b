"""Reads that `marketplace` alone needs; all others are in `ledger.selectors` and
`ledger.statistics`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ledger import selectors, turns
from ledger.models import Service, ServiceChange
from ledger.records import ChangeEntry, Contract, Listing


def listing_named(id: str) -> Listing | None:
    """The listing that `parts.service_id` names, removed ones too (2 queries); None for anything
    else."""
    kind, _, rest = id.partition("/")
    spelled, _, service_name = rest.partition("/")
    address = selectors.address_of(spelled)
    if kind not in selectors.KINDS or address is None or "\x00" in service_name:
        return None
    return selectors.service(kind, address, service_name[:200], include_removed=True)


def latest_changes(
    provider: str, serving: str, known: dict[str, Contract]
) -> dict[str, ChangeEntry]:
    """The newest entry of each kind of change of one listing (1 query)."""
    rows = (
        ServiceChange.objects.filter(provider=provider, serving=serving)
        .order_by("change", "-block", "-pk")
        .distinct("change")
    )
    return {row.change: ChangeEntry.of(row, known) for row in rows}


class Offered(NamedTuple):
    """What a listing is for: `models`, its provider's own words, are those of now, `types` those
    around one change."""

    models: tuple[str, ...] = ()
    types: turns.Types = turns.Types("", "")


def offered(changes: Sequence[ChangeEntry]) -> list[Offered]:
    """What the listing of each change is for, removed ones included (3 queries; 2 where no price
    changed)."""
    known = selectors.contracts()
    rows = Service.current.filter(provider__in={change.provider for change in changes}).only(
        "provider", "serving", "service_type", "model", "model_list"
    )
    now = {
        (row.provider, known[row.serving].service_name): row for row in rows if row.serving in known
    }
    later = turns.since(changes)
    found = []
    for change in changes:
        row = now.get((change.provider, change.service_name))
        if row is None:
            found.append(Offered())
            continue
        models = (row.model,) if row.model else tuple(map(str, row.model_list))
        told = later.get((row.serving, row.provider), ())
        found.append(Offered(models, turns.around(change, told, row.service_type)))
    return found
