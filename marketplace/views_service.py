"""Doors of one service's page: `/services/{kind}/{address}` and its tabs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_safe

from accounts import links as account_links
from accounts import signers
from accounts.addresses import short
from attestation.selectors import ServiceKey, StandingView, standing_of
from ledger import selectors
from ledger.records import ChangeEntry, Listing
from marketplace import (
    cards,
    findings,
    formats,
    links,
    pages,
    parts,
    position,
    reputation,
    samples,
    settled,
)
from marketplace.context import head_of
from marketplace.selectors import latest_changes
from marketplace.settlements import Asked
from marketplace.twins import twinned
from marketplace.views import at_address

#: Characters of a raw value that a button copies; the JSON twin has all of it.
MOST_COPIED = 20_000


def of_service(
    view: Callable[[HttpRequest, Listing], HttpResponse],
) -> Callable[..., HttpResponse]:
    """A door of `/services/{kind}/{address}`: the view gets the listing that the path names, or a
    removed one; 404 where there is none."""

    @at_address
    @wraps(view)
    def door(request: HttpRequest, address: str, kind: str) -> HttpResponse:
        service_name = request.GET.get("service_name", "").replace("\x00", "")[:200]
        found = None
        if kind in selectors.KINDS:
            found = selectors.service(kind, address, service_name, include_removed=True)
        if found is None:
            raise Http404(_("This address offers no such service."))
        return view(request, found)

    return door


def show(request: HttpRequest, template: str, page: Any) -> HttpResponse:
    return render(request, f"marketplace/service_{template}.html", {"page": page})


@require_safe
@twinned(json="/api/v1/services/{kind}/{address}")
@of_service
def overview(request: HttpRequest, listing: Listing) -> HttpResponse:
    key = ServiceKey.of(listing)
    latest = latest_changes(listing.provider, listing.serving, selectors.contracts())
    record = reputation.totals(listing)
    settlements = account_links.service(listing, "settlements")
    user = request.user if request.user.is_authenticated else None
    standing = standing_of(key)
    service = pages.service_head(listing, "", standing, record.payers_30d)
    ask = (service.try_label, service.try_path)
    leave = listing.removed or standing.failed
    at = head_of(request)
    held = position.mine(user, listing, at, settlements, ask, leave=leave) if user else None
    card = None if listing.is_fine_tuning else cards.card(listing.additional_info)
    page = pages.OverviewPage(
        service=service,
        offer=parts.offer_of(listing),
        price_notes=price_notes(listing),
        card=cards.linked(card) if card else (),
        unsaid=card.unsaid if card else (),
        declared=declared(listing),
        facts=facts(listing, latest, user is not None, held, standing),
        findings=tuple(
            row
            for row in findings.open_rows(listing.provider)
            if row.kind != "url_changed_unacknowledged"  # the head says it with its blocks
        ),
        totals=record,
        activity=reputation.activity(listing),
        refusals=tuple(
            (_(settled.STATUSES.get(one.status, (one.status, ""))[0]), one.items)
            for one in (reputation.refusals(listing) if record.refused else ())
        ),
        verdicts=reputation.verdicts(key),
        paths=pages.RecordPaths.of(listing),
        mine=held,
        signed_in=user is not None,
        funds_path="" if leave else account_links.form("transfer", listing),
    )
    return show(request, "overview", page)


def facts(
    listing: Listing,
    latest: dict[str, ChangeEntry],
    signed_in: bool,
    held: position.Mine | None,
    standing: StandingView,
) -> tuple[parts.Fact, ...]:
    """Owner, visitor, our own check: three facts that say different things and are never merged
    (ux.md 5)."""
    signer = short(listing.tee_signer) if listing.tee_signer else _("no signer")
    whose = _("Owner of the 0G contract")
    entry = latest.get("acknowledged")
    if listing.tee_signer_acknowledged:
        owner = parts.Fact(
            whose,
            _("Acknowledged signer %(signer)s") % {"signer": signer},
            "yes",
            entry.at if entry else None,
            tx=f"/tx/{entry.tx_hash}" if entry and entry.tx_hash else "",
        )
    else:
        owner = parts.Fact(
            whose,
            _(
                "Has not acknowledged signer %(signer)s: this provider cannot settle, and most "
                "clients refuse it"
            )
            % {"signer": signer},
            "no",
        )
    if not signed_in:
        you = parts.Fact(_("You"), _("Sign in to see whether you acknowledged it"), "unknown")
    else:
        known = held.known if held is not None else None
        you = parts.Fact(_("You"), *signers.said(known), known.at if known else None)
    return (owner, you, parts.check_fact(standing))


def price_notes(listing: Listing) -> tuple[str, ...]:
    """What the provider's additional information says about prices beyond the two numbers on
    chain."""
    info = formats.json_object(listing.additional_info)
    notes = []
    if listing.service_type == formats.SPEECH:
        per_token = formats.amount(listing.input_price * formats.MILLION)
        notes.append(
            _(
                "Where the provider bills by tokens instead of seconds, input costs %(amount)s 0G "
                "per 1M tokens."
            )
            % {"amount": per_token}
        )
    if info.get("MultiModel") is True:
        notes.append(
            _("This provider serves several models; the model of a request decides its price.")
        )
    return tuple(notes)


_DECLARED = (
    ("TEEVerifier", gettext_noop("Evidence format")),
    ("TargetSeparated", gettext_noop("Where the model runs")),
    ("TargetTeeAddress", gettext_noop("Signer of the model's enclave")),
    ("ProviderType", gettext_noop("Provider type")),
    ("ProviderIdentity", gettext_noop("Upstream host")),
    ("ImageName", gettext_noop("Broker image")),
    ("ImageDigest", gettext_noop("Image digest")),
    ("VerifierURL", gettext_noop("Verifier image")),
)


def declared(listing: Listing) -> tuple[tuple[str, str], ...]:
    """What the provider says about itself, as text: nothing here was checked."""
    info = formats.json_object(listing.additional_info)
    found = [(_("Verifiability"), listing.verifiability), (_("Endpoint"), listing.url)]
    if listing.quota is not None:
        quota = listing.quota
        found += [
            ("GPU", f"{quota.gpu_count} × {quota.gpu_type}" if quota.gpu_count else _("no GPU")),
            (_("CPU cores"), str(quota.cpu_count)),
            (_("Memory"), f"{quota.node_memory} GB"),
            (_("Storage"), f"{quota.node_storage} GB"),
            (_("Occupied"), _("yes") if listing.occupied else _("no")),
        ]
    for key, label in _DECLARED:
        value = info.get(key)
        if key == "TargetSeparated" and isinstance(value, bool):
            found.append((_(label), _("apart from the broker") if value else _("with the broker")))
        elif isinstance(value, bool):
            found.append((_(label), _("yes") if value else _("no")))
        elif isinstance(value, (str, int)) and value != "":
            found.append((_(label), str(value)))
    return tuple(
        (label, formats.clip(formats.plain(text), 300) or formats.UNKNOWN) for label, text in found
    )


@require_safe
@of_service
def settlements(request: HttpRequest, listing: Listing) -> HttpResponse:
    at = account_links.service(listing, "settlements")
    asked = Asked.parse(request.GET.dict(), listing.provider, listing.serving)
    page = pages.SettlementsTab(
        service=pages.service_head(listing, "settlements"),
        table=settled.table(asked, at),
    )
    return show(request, "settlements", page)


@require_safe
@of_service
def use(request: HttpRequest, listing: Listing) -> HttpResponse:
    url = links.web_url(listing.url) or ""
    asked = bool(url) and not listing.is_fine_tuning
    given = (listing.service_type, listing.model, listing.provider)
    page = pages.UseTab(
        service=pages.service_head(listing, "use"),
        url=url,
        relay=f"{settings.SITE_URL}/v1",
        relayed=samples.relayed(given[0], settings.SITE_URL, *given[1:]) if asked else (),
        direct=samples.direct(given[0], url, *given[1:]) if asked else (),
    )
    return show(request, "use", page)


@require_safe
@of_service
def raw(request: HttpRequest, listing: Listing) -> HttpResponse:
    known = selectors.contracts()
    page = pages.RawTab(
        service=pages.service_head(listing, "raw"),
        contract=known.get(listing.serving),
        fields=raw_fields(listing, latest_changes(listing.provider, listing.serving, known)),
        additional_info=None
        if (text := formats.pretty_json(listing.additional_info)) is None
        else formats.plain(text),
    )
    return show(request, "raw", page)


def raw_fields(listing: Listing, latest: dict[str, ChangeEntry]) -> tuple[pages.RawField, ...]:
    """Every field as the contract holds it, with the change that last touched it."""

    def field(name: str, value: object, *changes: str, note: str = "") -> pages.RawField:
        entries = [latest[change] for change in (*changes, "registered") if change in latest]
        entry = max(entries, key=lambda found: (found.block, found.log_index or 0), default=None)
        text = formats.clip(formats.plain(str(value)), 4200)
        exact = str(value) if len(str(value)) <= MOST_COPIED else ""
        block = entry.block if entry else listing.created_block
        return pages.RawField(name, text, exact, note, block, entry.tx_hash if entry else None)

    def neuron(name: str, value: int, *changes: str, unit: str = "") -> pages.RawField:
        return field(name, f"{value:d}", *changes, note=f"{formats.exact(value)} 0G{unit}")

    per_token = " " + _("per token")
    common = (
        field("provider", listing.provider),
        field("url", listing.url, "url"),
        field("teeSignerAddress", listing.tee_signer, "signer"),
        field(
            "teeSignerAcknowledged",
            str(listing.tee_signer_acknowledged).lower(),
            "acknowledged",
            "unacknowledged",
        ),
        neuron("stake", listing.stake, "staked", "stake_returned"),
    )
    if listing.is_fine_tuning:
        quota = listing.quota
        parts = quota.__dict__ if quota else {}
        return (
            *common,
            neuron("pricePerToken", listing.price_per_token, "price", unit=per_token),
            field("occupied", str(listing.occupied).lower(), "occupied"),
            field("models", ", ".join(listing.models), "models"),
            *(field(f"quota.{name}", value, "quota") for name, value in parts.items()),
        )
    return (
        *common,
        field("serviceType", listing.service_type, "type"),
        field("model", listing.model, "model"),
        field("verifiability", listing.verifiability, "verifiability"),
        neuron("inputPrice", listing.input_price, "price", unit=per_token),
        neuron("outputPrice", listing.output_price, "price", unit=per_token),
        field("updatedAt", listing.updated_at_unix, note=_("unix seconds")),
        field("additionalInfo", listing.additional_info, "additional_info"),
    )
