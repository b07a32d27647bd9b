"""Reads that `marketplace` alone needs; all others are in `ledger.selectors` and
`ledger.statistics`."""

from __future__ import annotations

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


def service_types(providers: set[str]) -> dict[tuple[str, str], str]:
    """Service type by provider and service name, removed listings included (2 queries)."""
    known = selectors.contracts()
    rows = Service.current.filter(provider__in=providers)
    return {
        (provider, known[serving].service_name): service_type
        for provider, serving, service_type in rows.values_list(
            "provider", "serving", "service_type"
        )
        if serving in known
    }
