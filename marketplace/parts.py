"""The pieces that pages are made of: rows, chips, columns, pagers, facts, changes.

Strangers' strings pass through `formats.plain` and `formats.clip` here, once; templates escape them
like all other text.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import links as account_links
from attestation.selectors import DEVELOPMENT, NEVER, ServiceKey, StandingView, standings
from ledger import records
from marketplace import formats, links, tariffs
from marketplace.moves import Move, moved
from marketplace.names import Named, names_of
from moderation import selectors as moderation
from moderation.selectors import NOTHING, Decided
from net.words import kept_by_language
from probes.selectors import UNKNOWN as NOT_MEASURED
from probes.selectors import HealthView, health_of

#: What a service type is called on the site; anything else is shown in the provider's own word.
TYPES = {
    "chatbot": gettext_noop("Chat"),
    "text-to-image": gettext_noop("Image"),
    "image-editing": gettext_noop("Image editing"),
    "speech-to-text": gettext_noop("Speech"),
    "embedding": gettext_noop("Embeddings"),
    "fine-tuning": gettext_noop("Fine-tuning"),
}
NAME_LENGTH = 90

Item = TypeVar("Item")


def type_label(name: str) -> str:
    if name in TYPES:
        return _known(name)
    return formats.clip(formats.plain(name), 30) or _("unknown type")


@kept_by_language
def _known(name: str) -> str:
    """Only types that we know: what is kept must not be strangers' texts of any length."""
    return _(TYPES[name])


def kind_label(kind: str) -> str:
    return _("Inference") if kind == "inference" else type_label(kind)


def name(text: str) -> str:
    """A stranger's short text, fit for a heading or a cell."""
    return formats.clip(formats.plain(text).strip(), NAME_LENGTH)


# --- parts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chip:
    """An active filter; `href` is the same list without it."""

    label: str
    href: str


@dataclass(frozen=True)
class Column:
    """A table head; `sorted` is aria-sort's word or empty, `href` empty where the column cannot
    sort; `key` names it, for the focus to come back to."""

    label: str
    number: bool = False
    href: str = ""
    sorted: str = ""
    key: str = ""


@dataclass(frozen=True)
class Fact:
    """One line of the trust block: who says what. `state`: yes, no, changed, unknown; `tx`: the
    transaction that said so."""

    who: str
    text: str
    state: str
    at: dt.datetime | None = None
    verdict: str = ""
    href: str = ""
    tx: str = ""


#: What our own check says, and whether that speaks for the provider (`Fact.state`).
_CHECKED = {
    "pass": (gettext_noop("We verified its attestation"), "yes"),
    "warn": (gettext_noop("We verified its attestation, with warnings"), "no"),
    "partial": (gettext_noop("We could verify a part of its attestation"), "no"),
    "fail": (gettext_noop("Its attestation failed our check: send nothing private"), "changed"),
    "not_provided": (gettext_noop("It hands over no attestation that could be checked"), "unknown"),
    "not_checked": (gettext_noop("What it declares cannot be verified here yet"), "unknown"),
    "expired": (
        gettext_noop("Our last check is more than a day old, so it counts no more"),
        "unknown",
    ),
    "never": (gettext_noop("We have not checked its attestation as it is listed now"), "unknown"),
    "dropped": (
        gettext_noop("Our last check is more than three days old, so it counts no more"),
        "unknown",
    ),
}


def check_fact(standing: StandingView) -> Fact:
    """The third fact: what we found ourselves."""
    word = "fail" if standing.failed else standing.overall
    if word == NEVER and standing.judged and not standing.changed:
        word = "dropped"
    text, state = _CHECKED.get(word, ("", "unknown"))
    if standing.overall.startswith(DEVELOPMENT):
        text = gettext_noop(
            "We checked development evidence, which proves nothing about real hardware"
        )
    report = standing.verification_id if standing.checked_at else None
    return Fact(
        "0G Market",
        _(text),
        state,
        standing.checked_at,
        standing.overall,
        f"/verifications/{report}" if report else "",
    )


@dataclass(frozen=True)
class ServiceRow:
    """A service in a list; `id` names it in `/compare` and `/watch`. `verdict` is a word of
    interfaces.md; `silent`: its provider does not answer now; `routed`: a third party runs the
    model, whatever the broker's verdict; `gpu_unproven`: the verdict proves no GPU.
    `cost`: neuron a month for the asked workload. `labels`: ranks with their rules. `moved`: its
    endpoint is another than the one that was acknowledged, and nobody looked at it since.
    `decided`: by moderators. `said`: what the provider calls itself."""

    listing: records.Listing
    id: str
    title: str
    path: str
    provider_path: str
    type_label: str
    offer: tariffs.Offer
    updated: dt.datetime | None
    verdict: str
    silent: bool
    routed: bool
    gpu_unproven: bool
    health: HealthView = NOT_MEASURED
    cost: int | None = None
    watched: bool = False
    labels: tuple[Label, ...] = ()
    moved: bool = False
    decided: Decided = NOTHING
    said: Named | None = None

    @property
    def input(self) -> formats.Price | None:
        return self.offer.input

    @property
    def output(self) -> formats.Price | None:
        return self.offer.output

    @classmethod
    def of(
        cls,
        listing: records.Listing,
        standing: StandingView,
        health: HealthView = NOT_MEASURED,
        cost: int | None = None,
        watched: bool = False,
        move: Move | None = None,
        decided: Decided = NOTHING,
        said: Named | None = None,
    ) -> ServiceRow:
        return cls(
            listing=listing,
            id=service_id(listing),
            title=service_title(listing),
            path=account_links.service(listing),
            provider_path=links.provider_path(listing.provider),
            type_label=service_type_label(listing),
            offer=offer_of(listing),
            updated=formats.of_unix(listing.updated_at_unix),
            verdict=standing.overall,
            silent=standing.unreachable_since is not None,
            routed=standing.declared == "centralized",
            gpu_unproven=standing.gpu_unproven,
            health=health,
            cost=cost,
            watched=watched,
            moved=move is not None and not move.attested(standing),
            decided=decided,
            said=said,
        )


@dataclass(frozen=True)
class Label:
    """A rank with the rule that gave it: never one without the other."""

    text: str
    rule: str


def service_id(listing: records.Listing) -> str:
    """How URLs of several services name one: `kind/provider`, with the contract's name where it is
    not the recommended one."""
    other = account_links.other_name(listing)
    return f"{listing.kind}/{listing.provider}" + (f"/{other}" if other else "")


def service_title(listing: records.Listing) -> str:
    if listing.is_fine_tuning:
        return models_title(listing.models) or _("No model listed")
    return name(listing.model) or _("No model named")


def models_title(models: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    names = [name(model) for model in models[:3] if model.strip()]
    more = len(models) - len(names)
    text = ", ".join(names)
    if more > 0 and names:
        text = _("%(names)s and %(n)s more") % {"names": text, "n": more}
    return formats.clip(text, NAME_LENGTH)


def service_type(listing: records.Listing) -> str:
    """What a service is for: its type on the chain, or `fine-tuning`, which has none there."""
    return "fine-tuning" if listing.is_fine_tuning else listing.service_type


def service_type_label(listing: records.Listing) -> str:
    return type_label(service_type(listing))


def offer_of(listing: records.Listing) -> tariffs.Offer:
    if listing.is_fine_tuning:
        return tariffs.Offer((formats.training_price(listing.price_per_token),))
    return tariffs.offer(
        listing.service_type, listing.input_price, listing.output_price, listing.additional_info
    )


def listed_prices(listing: records.Listing) -> tuple[formats.Price, ...]:
    return offer_of(listing).prices


def rows(
    listings: Iterable[records.Listing],
    mine: frozenset[tuple[str, str]] = frozenset(),
    cost: Callable[[records.Listing], int | None] = lambda listing: None,
    version: str | None = None,
    known: Mapping[ServiceKey, StandingView] | None = None,
) -> tuple[ServiceRow, ...]:
    """Rows with what is known about each service's evidence, health and moves, what moderators
    decided and what its provider calls itself (5 queries); `mine` are the watched
    listings by serving contract and provider, `version` the listings', `known` what we checked,
    where the caller has read it."""
    listed = tuple(listings)
    keys = [ServiceKey.of(listing) for listing in listed]
    known = standings(keys) if known is None else known
    measured, moves = health_of(keys), moved(listed)
    decided, said = (
        moderation.of_listings(listed),
        names_of((key.provider for key in keys), version),
    )
    return tuple(
        ServiceRow.of(
            listing,
            known[key],
            measured[key],
            cost(listing),
            (listing.serving, listing.provider) in mine,
            moves.get((listing.serving, listing.provider)),
            decided[listing.serving, listing.provider],
            said.get(listing.provider),
        )
        for listing, key in zip(listed, keys, strict=True)
    )
