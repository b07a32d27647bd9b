"""One frozen dataclass per page: the whole of what its template sees as `page`.

Strangers' strings pass through `formats.plain` and `formats.clip` here, once; templates escape them like all text.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from ledger import records, statistics
from marketplace import formats, links
from marketplace.samples import Snippet
from marketplace.selectors import Reputation

#: What a service type is called on the site; anything else is shown in the provider's own word.
TYPES = {
    "chatbot": "Chat",
    "text-to-image": "Image",
    "image-editing": "Image editing",
    "speech-to-text": "Speech",
    "fine-tuning": "Fine-tuning",
}
NAME_LENGTH = 90
TEXT_LENGTH = 400

Item = TypeVar("Item")


def type_label(name: str) -> str:
    return TYPES.get(name) or formats.clip(formats.plain(name), 30) or "unknown type"


def kind_label(kind: str) -> str:
    return {"inference": "Inference", "fine-tuning": "Fine-tuning"}.get(kind) or type_label(kind)


def name(text: str) -> str:
    """A stranger's short text, fit for a heading or a cell."""
    return formats.clip(formats.plain(text).strip(), NAME_LENGTH)


# --- parts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Option:
    value: str
    label: str
    selected: bool


@dataclass(frozen=True)
class Chip:
    """An active filter; `href` is the same list without it."""

    label: str
    href: str


@dataclass(frozen=True)
class Column:
    """A table head; `sorted` is aria-sort's word or empty, `href` empty where the column cannot sort."""

    label: str
    number: bool = False
    href: str = ""
    sorted: str = ""


@dataclass(frozen=True)
class Link:
    label: str
    path: str
    current: bool = False
    count: int | None = None


@dataclass(frozen=True)
class Pager:
    """Page links of a list; `target` is what htmx replaces, empty for plain navigation."""

    first: int
    last: int
    count: int
    what: str
    links: tuple[Link, ...]
    previous: str
    next: str
    target: str


def pager(page: records.Page[Item], what: str, path: Callable[[int], str], target: str = "") -> Pager:
    """First, last and the neighbours of the current page; gaps are a link without path."""
    wanted = sorted({1, page.pages, *range(max(1, page.number - 2), min(page.pages, page.number + 2) + 1)})
    shown: list[Link] = []
    before = 0
    for number in wanted:
        if number > before + 1:
            shown.append(Link("…", ""))
        shown.append(Link(str(number), path(number), number == page.number))
        before = number
    return Pager(
        first=page.first_index,
        last=page.last_index,
        count=page.count,
        what=what,
        links=tuple(shown),
        previous=path(page.number - 1) if page.number > 1 else "",
        next=path(page.next_number) if page.next_number else "",
        target=target,
    )


@dataclass(frozen=True)
class Fact:
    """One line of the trust block: who says what. `state`: yes, no, changed, unknown."""

    who: str
    text: str
    state: str
    at: dt.datetime | None = None
    verdict: str = ""


@dataclass(frozen=True)
class ServiceRow:
    """A service in a list. `verdict` is a word of interfaces.md; `prices` is one or two."""

    listing: records.Listing
    title: str
    path: str
    provider_path: str
    type_label: str
    input: formats.Price | None
    output: formats.Price | None
    updated: dt.datetime | None
    verdict: str

    @classmethod
    def of(cls, listing: records.Listing) -> ServiceRow:
        offered = listed_prices(listing)
        return cls(
            listing=listing,
            title=service_title(listing),
            path=service_path(listing),
            provider_path=links.provider_path(listing.provider),
            type_label=service_type_label(listing),
            input=offered[0] if len(offered) == 2 else None,
            output=offered[-1],
            updated=moment(listing.updated_at_unix),
            verdict="never",
        )


def service_path(listing: records.Listing, tab: str = "") -> str:
    other = "" if listing.recommended else listing.service_name
    return links.service_path(listing.kind, listing.provider, tab, other)


def service_title(listing: records.Listing) -> str:
    if listing.is_fine_tuning:
        names = [name(model) for model in listing.models[:3] if model.strip()]
        more = len(listing.models) - len(names)
        text = ", ".join(names) + (f" and {more} more" if more > 0 and names else "")
        return formats.clip(text, NAME_LENGTH) or "No model listed"
    return name(listing.model) or "No model named"


def service_type_label(listing: records.Listing) -> str:
    return type_label("fine-tuning" if listing.is_fine_tuning else listing.service_type)


def listed_prices(listing: records.Listing) -> tuple[formats.Price, ...]:
    if listing.is_fine_tuning:
        return (formats.training_price(listing.price_per_token),)
    return formats.prices(listing.service_type, listing.input_price, listing.output_price)


def moment(unix: int) -> dt.datetime | None:
    """A contract's timestamp; None for 0 and for what no calendar holds."""
    try:
        return dt.datetime.fromtimestamp(unix, dt.UTC) if unix > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


# --- changes -----------------------------------------------------------------------------------------------------

#: What each kind of change is called, and how it should be read.
CHANGES = {
    "registered": ("Registered", "ok"),
    "price": ("Price changed", ""),
    "url": ("Endpoint URL changed", "warn"),
    "model": ("Model changed", "warn"),
    "type": ("Type changed", "warn"),
    "verifiability": ("Declared verifiability changed", "warn"),
    "signer": ("Signer changed", "warn"),
    "additional_info": ("Additional information changed", ""),
    "quota": ("Hardware changed", ""),
    "occupied": ("Occupancy changed", ""),
    "models": ("Models changed", ""),
    "acknowledged": ("Signer acknowledged by the contract's owner", "ok"),
    "unacknowledged": ("Owner's acknowledgement withdrawn", "bad"),
    "staked": ("Stake added", ""),
    "stake_returned": ("Stake returned", ""),
    "removed": ("Removed", "bad"),
}


@dataclass(frozen=True)
class ChangeRow:
    title: str
    tone: str
    before: str | None
    after: str | None
    at: dt.datetime
    block: int
    tx_hash: str | None
    pending: bool
    provider: str
    provider_path: str
    service_path: str
    kind_label: str

    @classmethod
    def of(cls, entry: records.ChangeEntry, *, alone: bool) -> ChangeRow:
        """`alone`: on the service's own page, where naming provider and service again would be noise."""
        title, tone = CHANGES.get(entry.change, (name(entry.change), ""))
        if entry.change == "occupied":
            title = "Now occupied" if entry.after else "Free again"
        silent = entry.change in ("occupied", "acknowledged", "unacknowledged")
        return cls(
            title=title,
            tone=tone,
            before=None if silent else change_text(entry.change, entry.before),
            after=None if silent else change_text(entry.change, entry.after),
            at=entry.at,
            block=entry.block,
            tx_hash=entry.tx_hash,
            pending=entry.pending,
            provider="" if alone else entry.provider,
            provider_path=links.provider_path(entry.provider),
            service_path="" if alone else links.service_path(entry.kind, entry.provider),
            kind_label=kind_label(entry.kind),
        )


_MONEY = ("staked", "stake_returned")


def change_text(change: str, value: Any) -> str | None:
    """A stored before or after in words; objects as `key value` pairs, prices per million tokens."""
    if value in (None, "", {}, []):
        return None
    if change in _MONEY and isinstance(value, (int, str)) and str(value).isdigit():
        return f"{formats.amount(int(value))} 0G"
    if isinstance(value, dict):
        return formats.clip(" · ".join(_pair(key, inner) for key, inner in value.items()), TEXT_LENGTH)
    if isinstance(value, list):
        return formats.clip(", ".join(formats.plain(str(inner)) for inner in value), TEXT_LENGTH)
    return formats.clip(formats.plain(str(value)), TEXT_LENGTH)


def _pair(key: str, value: Any) -> str:
    word = formats.plain(str(key)).replace("_", " ")
    if "price" in key and str(value).isdigit():
        return f"{word.replace('price', '').strip() or 'price'} {formats.amount(int(value) * formats.MILLION)} 0G / 1M"
    return f"{word} {formats.plain(str(value))}"


# --- the catalogue -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CataloguePage:
    """`/`: the services of the network. `nothing`: why there are no rows (`""`, `filtered`, `empty`, `unindexed`)."""

    totals: statistics.Totals
    q: str
    sort: str
    types: tuple[Option, ...]
    models: tuple[Option, ...]
    verdicts: tuple[Option, ...]
    sorts: tuple[Option, ...]
    chips: tuple[Chip, ...]
    columns: tuple[Column, ...]
    rows: tuple[ServiceRow, ...]
    count: int
    pager: Pager
    nothing: str
    filters_said: str


# --- models and providers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelEntry:
    title: str
    path: str
    type_labels: tuple[str, ...]
    providers: int
    acknowledged: int
    input: formats.Price | None
    output: formats.Price
    updated: dt.datetime | None

    @classmethod
    def of(cls, row: statistics.ModelRow) -> ModelEntry:
        offered = formats.prices(row.types[0] if len(row.types) == 1 else "", row.input_price, row.output_price)
        return cls(
            title=name(row.model),
            path=links.model_path(row.model),
            type_labels=tuple(type_label(kind) for kind in row.types),
            providers=row.providers,
            acknowledged=row.acknowledged,
            input=offered[0] if len(offered) == 2 else None,
            output=offered[-1],
            updated=moment(row.updated_at_unix),
        )


@dataclass(frozen=True)
class ModelsPage:
    rows: tuple[ModelEntry, ...]
    pager: Pager
    q: str


@dataclass(frozen=True)
class ModelPage:
    """`/models/{model}`: everyone who offers it, the cheapest first."""

    title: str
    rows: tuple[ServiceRow, ...]
    pager: Pager
    providers: int


@dataclass(frozen=True)
class ProviderEntry:
    row: statistics.ProviderRow
    path: str
    kinds: str

    @classmethod
    def of(cls, row: statistics.ProviderRow) -> ProviderEntry:
        return cls(row, links.provider_path(row.address), ", ".join(kind_label(kind) for kind in row.kinds))


@dataclass(frozen=True)
class ProvidersPage:
    rows: tuple[ProviderEntry, ...]
    pager: Pager


@dataclass(frozen=True)
class ProviderPage:
    """`/providers/{address}`: one wallet over all serving contracts; `known` is False for an address without any."""

    summary: statistics.ProviderSummary
    known: bool
    rows: tuple[ServiceRow, ...]
    changes: tuple[ChangeRow, ...]
    account_path: str


# --- one service -------------------------------------------------------------------------------------------------

TABS = (("", "Overview"), ("changes", "Changes"), ("settlements", "Settlements"), ("use", "Use it"), ("raw", "Raw"))


@dataclass(frozen=True)
class ServiceHead:
    """What all tabs of a service share. `chat_path` is empty where there is nothing to chat with."""

    listing: records.Listing
    title: str
    type_label: str
    kind_label: str
    verdict: str
    provider_path: str
    model_path: str
    chat_path: str
    tabs: tuple[Link, ...]
    summary: str


def service_head(listing: records.Listing, tab: str, payers_30d: int | None = None) -> ServiceHead:
    chat = links.with_query("/playground/chat", provider=listing.provider)
    can_chat = listing.service_type == "chatbot" and not listing.removed and links.exists("/playground/chat")
    return ServiceHead(
        listing=listing,
        title=service_title(listing),
        type_label=service_type_label(listing),
        kind_label=kind_label(listing.kind),
        verdict="never",
        provider_path=links.provider_path(listing.provider),
        model_path=links.model_path(listing.model),
        chat_path=chat if can_chat else "",
        tabs=tuple(Link(label, service_path(listing, slug), slug == tab) for slug, label in TABS),
        summary=_sentence(listing, payers_30d),
    )


def _sentence(listing: records.Listing, payers_30d: int | None) -> str:
    """One line that answers what it costs and who pays; only facts of the chain."""
    offered = listed_prices(listing)
    cost = " / ".join(formats.amount(price.neuron) for price in offered) + f" 0G per {offered[0].unit}"
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
    """One field as the contract holds it; block and transaction are those of its last change we know of."""

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


# --- the network and errors --------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class StatusPage:
    """`/status`: how far the index is, in words and numbers."""

    state: str
    explanation: str
    head_block: int | None
    indexed_block: int | None
    final_block: int | None
    lag_blocks: int
    lag_seconds: int | None
    indexed_at: dt.datetime | None
    checked_at: dt.datetime | None
    logs: int
    contracts: tuple[records.Contract, ...]
    ledger_address: str


@dataclass(frozen=True)
class ErrorPage:
    """`request_id` is what support needs; `retry_seconds` only for too many requests."""

    status: int
    title: str
    text: str
    retry_seconds: int | None = None


def rows(listings: Iterable[records.Listing]) -> tuple[ServiceRow, ...]:
    return tuple(ServiceRow.of(listing) for listing in listings)


