"""The pieces that pages are made of: rows, chips, columns, pagers, facts, changes.

Strangers' strings pass through `formats.plain` and `formats.clip` here, once; templates escape them
like all other text.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from ledger import records
from marketplace import formats, links

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


# --- parts ---------------------------------------------------------------------------------------


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
    """A table head; `sorted` is aria-sort's word or empty, `href` empty where the column cannot
    sort."""

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


def pager(
    page: records.Page[Item], what: str, path: Callable[[int], str], target: str = ""
) -> Pager:
    """First, last and the neighbours of the current page; gaps are a link without path."""
    wanted = sorted(
        {1, page.pages, *range(max(1, page.number - 2), min(page.pages, page.number + 2) + 1)}
    )
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


# --- changes -------------------------------------------------------------------------------------

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
        """`alone`: on the service's own page, where naming provider and service again would be
        noise."""
        title, tone = CHANGES.get(entry.change, (name(entry.change), ""))
        if entry.change == "occupied":
            title = "Now occupied" if entry.after else "Free again"
        before, after = differing(entry.before, entry.after)
        silent = entry.change in ("occupied", "acknowledged", "unacknowledged")
        return cls(
            title=title,
            tone=tone,
            before=None if silent else change_text(entry.change, before),
            after=None if silent else change_text(entry.change, after),
            at=entry.at,
            block=entry.block,
            tx_hash=entry.tx_hash,
            pending=entry.pending,
            provider="" if alone else entry.provider,
            provider_path=links.provider_path(entry.provider),
            service_path="" if alone else links.service_path(entry.kind, entry.provider),
            kind_label=kind_label(entry.kind),
        )


def differing(before: Any, after: Any) -> tuple[Any, Any]:
    """Of two objects only the entries that differ, so that a changed price does
    not repeat the other one."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return before, after
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return (
        {key: before[key] for key in keys if key in before},
        {key: after[key] for key in keys if key in after},
    )


_MONEY = ("staked", "stake_returned")


def change_text(change: str, value: Any) -> str | None:
    """A stored before or after in words; objects as `key value` pairs, prices per million
    tokens."""
    if value in (None, "", {}, []):
        return None
    if change in _MONEY and isinstance(value, (int, str)) and str(value).isdigit():
        return f"{formats.amount(int(value))} 0G"
    if isinstance(value, dict):
        return formats.clip(
            " · ".join(_pair(key, inner) for key, inner in value.items()), TEXT_LENGTH
        )
    if isinstance(value, list):
        return formats.clip(", ".join(formats.plain(str(inner)) for inner in value), TEXT_LENGTH)
    return formats.clip(formats.plain(str(value)), TEXT_LENGTH)


def _pair(key: str, value: Any) -> str:
    word = formats.plain(str(key)).replace("_", " ")
    if "price" in key and str(value).isdigit():
        return (
            f"{word.replace('price', '').strip() or 'price'} "
            f"{formats.amount(int(value) * formats.MILLION)} 0G / 1M"
        )
    return f"{word} {formats.plain(str(value))}"


def rows(listings: Iterable[records.Listing]) -> tuple[ServiceRow, ...]:
    return tuple(ServiceRow.of(listing) for listing in listings)
