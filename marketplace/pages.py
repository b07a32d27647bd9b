"""One frozen dataclass per page: the whole of what its template sees as `page`."""

from __future__ import annotations

from dataclasses import dataclass

from attestation.selectors import ServiceKey, StandingView, standing_of
from ledger import records, statistics
from ledger.models import Kind
from marketplace import formats, links
from marketplace.changes import ChangeRow
from marketplace.findings import FindingRow
from marketplace.parts import (
    Fact,
    Link,
    Pager,
    ServiceRow,
    kind_label,
    listed_prices,
    name,
    service_path,
    service_title,
    service_type_label,
)
from marketplace.samples import Snippet
from marketplace.selectors import Reputation

# --- providers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProviderPage:
    """`/providers/{address}`: one wallet over all serving contracts; `known` is False for an
    address without any."""

    summary: statistics.ProviderSummary
    known: bool
    rows: tuple[ServiceRow, ...]
    findings: tuple[FindingRow, ...]
    changes: tuple[ChangeRow, ...]
    account_path: str


# --- one service ---------------------------------------------------------------------------------

TABS = (
    ("", "Overview"),
    ("performance", "Performance"),
    ("verification", "Verification"),
    ("changes", "Changes"),
    ("settlements", "Settlements"),
    ("use", "Use it"),
    ("raw", "Raw"),
)


#: Where the playground asks a service of a type, and what that does.
_TRY = {
    "chatbot": ("/playground/chat", "Chat", "message-square"),
    "text-to-image": ("/playground/images", "Make a picture", "image"),
    "image-editing": ("/playground/images", "Change a picture", "image"),
    "speech-to-text": ("/playground/audio", "Transcribe", "mic"),
}


@dataclass(frozen=True)
class ServiceHead:
    """What all tabs of a service share. `try_path` is empty where the playground cannot ask it."""

    listing: records.Listing
    title: str
    type_label: str
    kind_label: str
    verdict: str
    standing: StandingView
    provider_path: str
    model_path: str
    try_path: str
    try_label: str
    try_icon: str
    tabs: tuple[Link, ...]
    summary: str


def service_head(
    listing: records.Listing,
    tab: str,
    payers_30d: int | None = None,
    standing: StandingView | None = None,
) -> ServiceHead:
    """The head with the verdict as it is now (1 query, none with `standing`)."""
    known = standing or standing_of(ServiceKey.of(listing))
    path, label, icon = _TRY.get(listing.service_type, ("", "", ""))
    can_try = path and not listing.removed and links.exists(path)
    return ServiceHead(
        listing=listing,
        title=service_title(listing),
        type_label=service_type_label(listing),
        kind_label=kind_label(listing.kind),
        verdict=known.overall,
        standing=known,
        provider_path=links.provider_path(listing.provider),
        model_path=links.model_path(listing.model),
        try_path=links.with_query(path, provider=listing.provider) if can_try else "",
        try_label=label,
        try_icon=icon,
        tabs=tuple(Link(label, service_path(listing, slug), slug == tab) for slug, label in TABS),
        summary=_sentence(listing, payers_30d),
    )


def _sentence(listing: records.Listing, payers_30d: int | None) -> str:
    """One line that answers what it costs and who pays; only facts of the chain."""
    offered = listed_prices(listing)
    cost = (
        " / ".join(formats.amount(price.neuron) for price in offered) + f" 0G per {offered[0].unit}"
    )
    parts = [f"{cost}{' (in / out)' if len(offered) == 2 else ''}"]
    if payers_30d is not None:
        parts.append(f"{payers_30d:,} payer{'' if payers_30d == 1 else 's'} in 30 days")
    parts.append(f"Listed since block {listing.created_block:,}")
    return ". ".join(parts) + "."


@dataclass(frozen=True)
class OverviewPage:
    """`warning` is set where the endpoint moved after the owner's last acknowledgement."""

    service: ServiceHead
    prices: tuple[formats.Price, ...]
    price_notes: tuple[str, ...]
    declared: tuple[tuple[str, str], ...]
    facts: tuple[Fact, ...]
    findings: tuple[FindingRow, ...]
    reputation: Reputation
    paid_share: str
    warning: str
    position: records.Position | None
    funds_path: str


@dataclass(frozen=True)
class ChangesTab:
    service: ServiceHead
    rows: tuple[ChangeRow, ...]
    pager: Pager


#: Settlement statuses in words (contracts.md 6.4, 6.5).
STATUSES = {
    "success": ("Paid in full", "ok"),
    "partial": ("Paid in part: the user ran out", "warn"),
    "provider_mismatch": ("Refused: sent from another wallet", "bad"),
    "no_tee_signer": ("Refused: signer not acknowledged", "bad"),
    "invalid_nonce": ("Refused: sent twice", "bad"),
    "invalid_signature": ("Refused: signature does not match the signer", "bad"),
    "acknowledged": ("Result acknowledged, paid", "ok"),
    "penalty": ("Result not acknowledged, penalty paid", "warn"),
    "abandoned": ("Abandoned", "bad"),
}


@dataclass(frozen=True)
class SettlementRow:
    entry: records.SettlementEntry
    label: str
    tone: str
    user_path: str

    @classmethod
    def of(cls, entry: records.SettlementEntry) -> SettlementRow:
        label, tone = STATUSES.get(entry.status, (name(entry.status), ""))
        return cls(entry, label, tone, links.account_path(entry.user))


@dataclass(frozen=True)
class SettlementsTab:
    service: ServiceHead
    rows: tuple[SettlementRow, ...]
    pager: Pager
    reputation: Reputation


@dataclass(frozen=True)
class UseTab:
    """`samples` is empty where the provider's URL is not a web address."""

    service: ServiceHead
    url: str
    samples: tuple[Snippet, ...]


@dataclass(frozen=True)
class RawField:
    """One field as the contract holds it; block and transaction are those of its last change we
    know of."""

    name: str
    value: str
    note: str
    block: int
    tx_hash: str | None

    @property
    def is_long(self) -> bool:
        """Scrolls in a box of its own."""
        return len(self.value) > 240 or self.value.count("\n") > 3


@dataclass(frozen=True)
class RawTab:
    service: ServiceHead
    contract: records.Contract | None
    fields: tuple[RawField, ...]
    additional_info: str | None


# --- the network and errors ----------------------------------------------------------------------


@dataclass(frozen=True)
class ChangesPage:
    rows: tuple[ChangeRow, ...]
    pager: Pager
    kinds: tuple[Link, ...]


@dataclass(frozen=True)
class NetworkPage:
    totals: statistics.Totals
    contracts: tuple[records.Contract, ...]
    ledger_address: str
    ledger_start: int

    @property
    def accounts_said(self) -> str:
        return f"{self.totals.accounts:,} account{'' if self.totals.accounts == 1 else 's'}"

    @property
    def fine_tuning(self) -> int:
        return self.totals.services_by_kind[Kind.FINE_TUNING.value]


@dataclass(frozen=True)
class ErrorPage:
    """`request_id` is what support needs; `retry_seconds` only for too many requests."""

    status: int
    title: str
    text: str
    retry_seconds: int | None = None
