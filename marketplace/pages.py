"""One frozen dataclass per page: the whole of what its template sees as `page`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from accounts import links as account_links
from accounts.pages_transaction import Link
from attestation.selectors import DEVELOPMENT, ServiceKey, StandingView, standing_of
from chain.selectors import times_of
from ledger import records, selectors, statistics
from marketplace import formats, links
from marketplace.changes import ChangeRow
from marketplace.findings import FindingRow
from marketplace.moves import moved
from marketplace.parts import (
    Fact,
    ServiceRow,
    kind_label,
    listed_prices,
    service_id,
    service_title,
    service_type,
    service_type_label,
)
from marketplace.position import Mine
from marketplace.reputation import Activity, Totals, Verdicts, payers_30d
from marketplace.samples import Snippet
from marketplace.settled import SettledTable
from marketplace.settlements import Asked
from marketplace.tariffs import Offer
from moderation import selectors as moderation
from moderation.selectors import Decided
from moderation.subjects import Subject
from probes.selectors import Answering, HealthView, health_of

# --- providers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProviderPage:
    """`/providers/{address}`: one wallet over all serving contracts; `known` is False for an
    address without any. `held`: the visitor's own neuron there, `free`: what of it is not
    being refunded yet, with the form that retrieves it, where moderators hid the provider."""

    summary: statistics.ProviderSummary
    known: bool
    rows: tuple[ServiceRow, ...]
    findings: tuple[FindingRow, ...]
    changes: tuple[ChangeRow, ...]
    account_path: str
    decided: Decided
    held: int
    free: int
    retrieve: str


# --- one service ---------------------------------------------------------------------------------

TABS = (
    ("", gettext_noop("Overview")),
    ("performance", gettext_noop("Performance")),
    ("verification", gettext_noop("Verification")),
    ("changes", gettext_noop("Changes")),
    ("settlements", gettext_noop("Settlements")),
    ("use", gettext_noop("Use it")),
    ("raw", gettext_noop("Raw")),
)


#: Where the playground asks a service of a type, and what that does.
_TRY = {
    "chatbot": ("/playground/chat", gettext_noop("Chat"), "message-square"),
    "text-to-image": ("/playground/images", gettext_noop("Make a picture"), "image"),
    "image-editing": ("/playground/images", gettext_noop("Change a picture"), "image"),
    "speech-to-text": ("/playground/audio", gettext_noop("Transcribe"), "mic"),
    "embedding": ("/playground/embeddings", gettext_noop("Embed texts"), "box"),
    "fine-tuning": ("/fine-tuning/new", gettext_noop("New fine-tuning"), "activity"),
}


@dataclass(frozen=True)
class ServiceHead:
    """What all tabs of a service share. `id` names it in `/compare` and `/watch`; `others_path`
    lists what it could be compared with; `json_path` is the same for programs. `try_path` is empty
    where the playground cannot ask it; `warning` is set where the endpoint moved after the owner's
    last acknowledgement. `described`: the summary with the moment of the check, for those who keep
    it: a preview of a link is shown for weeks. `silent`: that nothing answers now, where the newest
    probe saw that, and `elsewhere` where somebody else does. `decided`: by moderators; `report_key`
    names it in a report to them."""

    listing: records.Listing
    id: str
    others_path: str
    json_path: str
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
    described: str
    listed_at: dt.datetime | None
    warning: str
    warning_tone: str
    silent: str
    elsewhere: str
    decided: Decided
    report_key: str

    @property
    def discouraged(self) -> bool:
        """Whether the page says not to ask it, or that it will not answer."""
        moved = bool(self.warning) and self.warning_tone == "bad"
        return self.standing.failed or bool(self.silent) or moved


def service_head(
    listing: records.Listing,
    tab: str,
    standing: StandingView | None = None,
    payers: int | None = None,
) -> ServiceHead:
    """The head with verdict, health, payers and what moderators decided as they are now (6
    queries, one less with `standing`, and with `payers` of 30 days; one more where it is silent).
    """
    key = ServiceKey.of(listing)
    known, health = standing or standing_of(key), health_of([key])[key]
    if payers is None:
        payers = payers_30d(listing.provider, listing.serving)
    path, label, icon = try_of(listing)
    move = moved([listing]).get((listing.serving, listing.provider))
    at, now = known.checked_at, timezone.now()
    since = times_of([listing.created_block]).get(listing.created_block)
    silent = "" if listing.removed else _silent(health, now)
    ago = formats.relative(at, now) if at else ""
    moment = f"{formats.date(at.astimezone(dt.UTC).date())} {at:%H:%M} UTC" if at else ""
    return ServiceHead(
        listing=listing,
        id=service_id(listing),
        others_path=links.with_query("/", type="fine-tuning")
        if listing.is_fine_tuning
        else links.with_query("/", model=listing.model),
        json_path=_json_path(listing),
        title=service_title(listing),
        type_label=service_type_label(listing),
        kind_label=kind_label(listing.kind),
        verdict=known.overall,
        standing=known,
        provider_path=links.provider_path(listing.provider),
        model_path=links.model_path(listing.model),
        try_path=path,
        try_label=label,
        try_icon=icon,
        tabs=tuple(
            Link(_(label), account_links.service(listing, slug), slug == tab)
            for slug, label in TABS
        ),
        summary=_sentence(listing, _checked(known, ago), health, payers, since),
        described=_sentence(listing, _checked(known, moment), health, payers, since),
        listed_at=since,
        warning=move.said(known) if move else "",
        warning_tone="" if move and move.attested(known) else "bad",
        silent=silent,
        elsewhere=_elsewhere(listing) if silent else "",
        decided=moderation.of_listing(listing),
        report_key=Subject.service(listing.serving, listing.provider).key,
    )


def try_of(listing: records.Listing) -> tuple[str, str, str]:
    """Where the playground asks a service ("": it cannot), what that does, and its icon."""
    path, label, icon = _TRY.get(service_type(listing), ("", "", ""))
    if not path or listing.removed or not links.exists(path):
        return "", _(label) if label else "", icon
    # A fine-tuning begins with a model: named where there is no choice.
    model = listing.models[0] if len(listing.models) == 1 else ""
    at = account_links.other_name(listing) if listing.is_fine_tuning else ""
    asked = links.with_query(path, provider=listing.provider, model=model, service_name=at)
    return asked, _(label), icon


def _json_path(listing: records.Listing) -> str:
    path = account_links.service_of(listing.kind, listing.provider)
    return links.with_query(f"{path}.json", service_name=account_links.other_name(listing))


def _checked(standing: StandingView, when: str) -> str:
    """What the last look at its evidence came to; "" where nobody has looked."""
    if standing.checked_at is None:
        return ""
    text = {
        "fail": _("Evidence failed our check %(when)s"),
        "not_provided": _("No evidence to check was given %(when)s"),
        "not_checked": _("Evidence could not be checked %(when)s"),
    }.get(
        "fail" if standing.failed else standing.overall.removeprefix(DEVELOPMENT),
        _("Evidence checked %(when)s"),
    )
    return text % {"when": when}


def _up(health: HealthView) -> str:
    """The uptime with the probes that it is by: two of them are no week."""
    if health.uptime_7d is None:
        return ""
    share, probes = health.uptime_7d.text, health.uptime_7d.probes
    up = ngettext(
        "Up %(share)s in 7 days by %(n)s probe", "Up %(share)s in 7 days by %(n)s probes", probes
    )
    # A number and its sign stay in one line.
    text = up % {"share": share.replace(" ", "\N{NO-BREAK SPACE}"), "n": f"{probes:,}"}
    return _("%(text)s (example data)") % {"text": text} if health.example else text


def _silent(health: HealthView, now: dt.datetime) -> str:
    """That it does not answer now: shares of a week say nothing of that."""
    if health.state != "down":
        return ""
    if health.since is None:
        return _("It does not answer our probes now. What is asked will probably fail.")
    return _(
        "It has not answered our probes for %(time)s. What is asked now will probably fail."
    ) % {"time": formats.duration(round((now - health.since).total_seconds()))}


def _elsewhere(listing: records.Listing) -> str:
    """Others that answer now: of the same model where one does, else of its type (1 query)."""
    model = "" if listing.is_fine_tuning else listing.model
    asked = selectors.ServiceQuery(model=model, where=Answering(()))
    if model and selectors.matching(asked).exists():
        return links.with_query("/", model=model, answers=1)
    return links.with_query("/", type=service_type(listing), answers=1)


def _sentence(
    listing: records.Listing,
    checked: str,
    health: HealthView,
    payers: int,
    since: dt.datetime | None,
) -> str:
    """One line (ux.md 5): what we checked and measured, what it costs, who pays."""
    offered = listed_prices(listing)
    cost = (
        _("%(amounts)s 0G per %(unit)s (in / out)")
        if len(offered) == 2
        else _("%(amounts)s 0G per %(unit)s")
    )
    parts = [text for text in (checked, _up(health)) if text]
    amounts = " / ".join(formats.amount(price.neuron) for price in offered)
    parts.append(cost % {"amounts": amounts, "unit": offered[0].unit})
    paying = ngettext("%(n)s payer in 30 days", "%(n)s payers in 30 days", payers)
    parts.append(paying % {"n": f"{payers:,}"})
    if since is not None:
        parts.append(_("Listed since %(date)s") % {"date": formats.date(since.date())})
    else:
        parts.append(_("Listed since block %(number)s") % {"number": f"{listing.created_block:,}"})
    return ". ".join(parts) + "."


@dataclass(frozen=True)
class OverviewPage:
    """`card`: what the provider declares about its model, and where a text leads; `unsaid`: what it
    could have, of an inference service; `refusals`: why items were refused."""

    service: ServiceHead
    offer: Offer
    price_notes: tuple[str, ...]
    card: tuple[tuple[str, str, str], ...]
    unsaid: tuple[str, ...]
    declared: tuple[tuple[str, str], ...]
    facts: tuple[Fact, ...]
    findings: tuple[FindingRow, ...]
    totals: Totals
    activity: Activity
    refusals: tuple[tuple[str, int], ...]
    verdicts: Verdicts
    paths: RecordPaths
    mine: Mine | None
    signed_in: bool
    funds_path: str


@dataclass(frozen=True)
class RecordPaths:
    """Where the rows behind the counts of a record are."""

    full: str
    part: str
    refused: str
    payers: str
    payers_90d: str
    days: str
    verification: str

    @classmethod
    def of(cls, listing: records.Listing) -> RecordPaths:
        at, asked = account_links.service(listing, "settlements"), Asked()
        return cls(
            full=asked.path(at, status="full"),
            part=asked.path(at, status="part"),
            refused=asked.path(at, status="refused"),
            payers=asked.path(at, by="payer", window="30d"),
            payers_90d=asked.path(at, by="payer", window="90d"),
            days=asked.path(at, by="day", window="90d"),
            verification=account_links.service(listing, "verification"),
        )


@dataclass(frozen=True)
class SettlementsTab:
    service: ServiceHead
    table: SettledTable


@dataclass(frozen=True)
class UseTab:
    """Samples are empty where the provider's URL is not a web address."""

    service: ServiceHead
    url: str
    relay: str
    relayed: tuple[Snippet, ...]
    direct: tuple[Snippet, ...]

    @property
    def named(self) -> str:
        """The provider as the official command line is told of it, with the contract where that is
        not the recommended one, which it knows."""
        listing = self.service.listing
        elsewhere = "" if listing.recommended else f" --fine-tuning-ca {listing.serving}"
        return listing.provider + elsewhere


@dataclass(frozen=True)
class RawField:
    """One field as the contract holds it; block and transaction are those of its last change we
    know of. `exact`: to copy, empty where `value` says it already or it is too long."""

    name: str
    value: str
    exact: str
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
class Again:
    """A form of ours that was refused for its age or for now, to be sent once more: as whom (empty
    for visitors, and where only a moment is in the way), to which path, and what was typed."""

    sender: str
    path: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ErrorPage:
    """`request_id` is what support needs; `retry_seconds` only for too many requests; `sign_in`:
    whether the door of the staff leads on; `links`: pages that say more."""

    status: int
    title: str
    text: str
    retry_seconds: int | None = None
    again: Again | None = None
    sign_in: bool = False
    links: tuple[Link, ...] = ()
