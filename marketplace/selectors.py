"""Reads that `marketplace` alone needs; all others are in `ledger.selectors` and
`ledger.statistics`."""

from __future__ import annotations

from typing import NamedTuple

from ledger import selectors
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
    """What a listing is for now: `models` are the provider's own words."""

    service_type: str = ""
    models: tuple[str, ...] = ()


def offered(providers: set[str]) -> dict[tuple[str, str], Offered]:
    """By provider and service name, removed listings included (2 queries)."""
    known = selectors.contracts()
    rows = Service.current.filter(provider__in=providers).only(
        "provider", "serving", "service_type", "model", "model_list"
    )
    return {
        (row.provider, known[row.serving].service_name): Offered(
            row.service_type, (row.model,) if row.model else tuple(map(str, row.model_list))
        )
        for row in rows
        if row.serving in known
    }
