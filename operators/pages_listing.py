"""Pages of an operator's listing, checks and signed words: one frozen dataclass per page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from accounts.pages_transaction import Link, Review, Transaction
from operators import listing
from operators.listing import LABELS, VERIFIABILITIES
from operators.listing_changes import PRICES, RESETS, Change, Line
from operators.listing_state import Published
from operators.tabs import tabs
from probes.selectors import HealthView


@dataclass(frozen=True)
class Option:
    value: str
    label: str
    selected: bool


@dataclass(frozen=True)
class FormField:
    """One field: `value` as typed, untouched; `exact` what a price is in the contract's unit;
    `resets`: changing it withdraws the owner's acknowledgement."""

    name: str
    label: str
    value: str
    shape: str
    error: str = ""
    hint: str = ""
    unit: str = ""
    exact: str = ""
    resets: bool = False
    changed: bool = False
    options: tuple[Option, ...] = ()


_HINTS = {
    "url": "Public, https, without a slash at the end. Clients append /v1/proxy/… to it.",
    "model": "As requests name it, for example qwen/qwen-2.5-7b-instruct.",
    "models": "One on each line, as tasks name them.",
    "tee_signer": "The address of the key that signs answers, not of your wallet.",
    "additional_info": f"JSON, at most {listing.MAX_INFO_BYTES:,} bytes. Empty is allowed.",
    "gpu_type": "For example H100.",
}
_LABELED = {
    "chatbot": "Chat",
    "text-to-image": "Image",
    "image-editing": "Image editing",
    "speech-to-text": "Speech to text",
    "TeeML": "TeeML: the answer is signed in trusted hardware",
    "": "None declared",
}
_SHAPES = {
    "service_type": "select",
    "verifiability": "select",
    "models": "lines",
    "occupied": "check",
    "additional_info": "json",
    **dict.fromkeys(PRICES, "price"),
    **dict.fromkeys(listing.QUOTA[:3], "number"),
    "node_storage": "number",
}
_CHOICES = {"service_type": listing.SERVICE_TYPES, "verifiability": VERIFIABILITIES}


def form_fields(
    kind: str,
    typed: Mapping[str, str],
    parsed: listing.Parsed,
    before: Mapping[str, str],
    *,
    registered: bool,
) -> tuple[FormField, ...]:
    """The form as it was typed. `before`: the texts of what is on chain. What is not registered
    has no acknowledgement to lose."""
    resets = RESETS[kind] if registered else ()
    return tuple(
        replace(_field(kind, name, typed, parsed, before), resets=name in resets)
        for name in listing.FIELDS[kind]
    )


def _field(
    kind: str,
    name: str,
    typed: Mapping[str, str],
    parsed: listing.Parsed,
    before: Mapping[str, str],
) -> FormField:
    value, unit, exact = typed.get(name, ""), "", ""
    if name in PRICES:
        given = listing.unit_of(name, typed.get("service_type", ""))
        unit = given.label
        if name in parsed.prices:
            exact = f"{parsed.prices[name]:,} neuron per {given.each}"
    return FormField(
        name=name,
        label=LABELS[name],
        value=value,
        shape=_SHAPES.get(name, "text"),
        # Nobody is told off for a field that they did not come to yet.
        error=parsed.errors.get(name, "") if value != before.get(name) or value else "",
        hint=_HINTS.get(name, ""),
        unit=unit,
        exact=exact,
        changed=value != before.get(name, ""),
        options=_options(name, value) if name in _CHOICES else (),
    )


def _options(name: str, chosen: str) -> tuple[Option, ...]:
    choices = list(_CHOICES[name])
    if chosen not in choices:
        choices.append(chosen)  # a word of the operator's own stays as it is
    return tuple(Option(c, _LABELED.get(c, c), c == chosen) for c in choices)


@dataclass(frozen=True)
class Offered:
    """One of the operator's services, as it stands on chain."""

    now: Published
    title: str
    rows: tuple[Change, ...]
    customers: str
    health: HealthView
    service_path: str
    edit_path: str
    remove_path: str
    setup_path: str


@dataclass(frozen=True)
class ListingPage:
    """`/operator/listing`: what this wallet offers, and what it could."""

    address: str
    offered: tuple[Offered, ...]
    gone: tuple[Link, ...]
    new: tuple[Link, ...]
    drafts: tuple[Link, ...]
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/operator/listing"))


@dataclass(frozen=True)
class EditPage:
    """The form of one service with its difference, its consequences and its review."""

    kind: str
    title: str
    path: str
    now: Published
    fields: tuple[FormField, ...]
    changes: tuple[Change, ...]
    lines: tuple[Line, ...]
    review: Review | None
    current: Transaction | None
    contracts: tuple[str, ...]
    missing: tuple[str, ...]
    stale: bool
    setup_path: str
    back: str = "/operator/listing"
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/operator/listing"))

    @property
    def registered(self) -> bool:
        return self.now.values is not None

    @property
    def faults(self) -> int:
        return sum(bool(one.error) for one in self.fields)


@dataclass(frozen=True)
class RemovePage:
    kind: str
    title: str
    path: str
    now: Published
    lines: tuple[Line, ...]
    review: Review | None
    current: Transaction | None
    contracts: tuple[str, ...]
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/operator/listing"))
