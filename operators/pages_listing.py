"""Pages of an operator's listing, checks and signed words: one frozen dataclass per page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.pages_parts import Option
from accounts.pages_transaction import Link, Review, Transaction
from ledger.fold_services import RESETS
from operators import listing
from operators.listing import LABELS, PRICES, VERIFIABILITIES
from operators.listing_changes import Change, Line
from operators.listing_state import Published
from operators.tabs import tabs
from probes.selectors import HealthView


@dataclass(frozen=True)
class FormField:
    """One field: `value` as typed, untouched; `seen` what the chain has there; `exact` what a price
    is in the contract's unit; `resets`: changing it withdraws the owner's acknowledgement."""

    name: str
    label: str
    value: str
    shape: str
    error: str = ""
    hint: str = ""
    unit: str = ""
    exact: str = ""
    resets: bool = False
    seen: str = ""
    options: tuple[Option, ...] = ()

    @property
    def changed(self) -> bool:
        return self.value != self.seen


_HINTS = {
    "url": gettext_noop(
        "Public, https, without a slash at the end. Clients append /v1/proxy/… to it."
    ),
    "model": gettext_noop("As requests name it, for example qwen/qwen-2.5-7b-instruct."),
    "models": gettext_noop("One on each line, as tasks name them."),
    "tee_signer": gettext_noop("The address of the key that signs answers, not of your wallet."),
    "additional_info": gettext_noop("JSON, at most 4,096 bytes. Empty is allowed."),
    "gpu_type": gettext_noop("For example H100."),
}
_NOT_BILLED = gettext_noop("Services of this type are not billed by it; 0 is fine.")
_LABELED = {
    "chatbot": gettext_noop("Chat"),
    "text-to-image": gettext_noop("Image"),
    "image-editing": gettext_noop("Image editing"),
    "speech-to-text": gettext_noop("Speech to text"),
    "embedding": gettext_noop("Embeddings"),
    "TeeML": gettext_noop("TeeML: the answer is signed in trusted hardware"),
    "": gettext_noop("None declared"),
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
    billed = listing.UNBILLED.get(typed.get("service_type", "")) != name
    if name in PRICES:
        given = listing.unit_of(name, typed.get("service_type", ""))
        unit = _(given.label)
        if name in parsed.prices:
            exact = _("%(neuron)s neuron per %(each)s") % {
                "neuron": f"{parsed.prices[name]:,}",
                "each": _(given.each),
            }
    return FormField(
        name=name,
        label=_(LABELS[name]),
        value=value,
        shape=_SHAPES.get(name, "text"),
        # Nobody is told off for a field that they did not come to yet.
        error=parsed.errors.get(name, "") if value != before.get(name) or value else "",
        hint=_(_HINTS.get(name, "") if billed else _NOT_BILLED),
        unit=unit,
        exact=exact,
        seen=before.get(name, ""),
        options=_options(name, value) if name in _CHOICES else (),
    )


def _options(name: str, chosen: str) -> tuple[Option, ...]:
    choices = list(_CHOICES[name])
    if chosen not in choices:
        choices.append(chosen)  # a word of the operator's own stays as it is
    return tuple(Option(c, _(_LABELED[c]) if c in _LABELED else c, c == chosen) for c in choices)


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

    offered: tuple[Offered, ...]
    gone: tuple[Link, ...]
    new: tuple[Link, ...]
    drafts: tuple[Link, ...]
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/operator/listing"))


#: To change, to register, to remove.
_HEADINGS = {
    listing.INFERENCE: (
        gettext_noop("Change your inference service"),
        gettext_noop("Register your inference service"),
        gettext_noop("Remove your inference service"),
    ),
    listing.FINE_TUNING: (
        gettext_noop("Change your fine-tuning service"),
        gettext_noop("Register your fine-tuning service"),
        gettext_noop("Remove your fine-tuning service"),
    ),
}


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
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/operator/listing"))

    @property
    def heading(self) -> str:
        return _(_HEADINGS[self.kind][0 if self.registered else 1])

    @property
    def registered(self) -> bool:
        return self.now.values is not None

    @property
    def faults(self) -> int:
        return sum(bool(one.error) for one in self.fields)


@dataclass(frozen=True)
class RemovePage:
    kind: str
    now: Published
    lines: tuple[Line, ...]
    review: Review | None
    current: Transaction | None
    contracts: tuple[str, ...]
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/operator/listing"))

    @property
    def heading(self) -> str:
        return _(_HEADINGS[self.kind][2])
