"""Pictures of pages for other sites (`/og/….png`), and badges."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid

from django.conf import settings
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts.addresses import short
from attestation.models import Verification
from attestation.selectors import ServiceKey, StandingView, standing_of, standings
from ledger import listed, selectors
from ledger.records import Listing
from marketplace import badge, formats, parts, social, verdicts
from marketplace import pages_verification as shown
from marketplace.catalogue import hidden_model
from marketplace.views import at_address
from marketplace.views_service import of_service
from moderation import selectors as moderation
from net.cache import tried

#: How long others may keep a picture, and we the bytes of one (seconds).
SECONDS, KEPT = 900, 86_400


def _chip(overall: str, at: dt.datetime | None) -> tuple[str, str]:
    word = verdicts.word(overall)
    when = f" · {at.astimezone(dt.UTC):%d %b %Y %H:%M} UTC" if at else ""
    return word.text + when, word.tone


def answer(request: HttpRequest, card: social.Card) -> HttpResponse:
    """The picture of a card: drawn once, kept for a day by its words."""
    name = hashlib.sha256(repr(card).encode()).hexdigest()[:32]
    body = tried(lambda: cache.get(f"og:{name}"), None)
    if body is None:
        body = social.png(card)
        tried(lambda: cache.set(f"og:{name}", body, KEPT), None)
    response = HttpResponse(body, content_type="image/png")
    response["Cache-Control"] = f"public, max-age={SECONDS}"
    response["ETag"] = f'"{name}"'
    return response


@require_safe
def site(request: HttpRequest) -> HttpResponse:
    facts = ("Models and providers by price, evidence and what we measured.",)
    title = "Confidential AI on the 0G Compute Network"
    return answer(request, social.Card(settings.NETWORK.label, title, facts, "", "", ""))


@require_safe
@of_service
def service(request: HttpRequest, listing: Listing) -> HttpResponse:
    standing = standing_of(ServiceKey.of(listing))
    text, tone = _chip(standing.overall, standing.checked_at)
    if moderation.is_hidden(listing.serving, listing.provider):
        text, tone = "Hidden by moderators", "bad"
    prices = [
        f"{price.label} {formats.amount(price.neuron)} 0G / {price.unit}"
        for price in parts.listed_prices(listing)
    ]
    return answer(
        request,
        social.Card(
            above=parts.service_type_label(listing),
            title=parts.service_title(listing),
            facts=(" · ".join(prices), "Removed by its provider" if listing.removed else ""),
            chip=text,
            tone=tone,
            below=short(listing.provider),
        ),
    )


@require_safe
@at_address
def provider(request: HttpRequest, address: str) -> HttpResponse:
    offers = selectors.services_of(address)
    known = standings(map(ServiceKey.of, offers)).values()
    if not known:
        raise Http404("This address offers no service.")
    worst: StandingView = min(known, key=lambda view: shown.rank(view.overall))
    text, tone = _chip(worst.overall, worst.checked_at)
    if hidden := badge.hidden(len(listed.left_out({address})), len(offers)):
        text, tone = hidden, "bad"
    stake = sum(listing.stake for listing in offers)
    offered = f"{len(offers)} service{'' if len(offers) == 1 else 's'}"
    facts = (
        ", ".join(dict.fromkeys(map(parts.service_title, offers))),
        f"{offered} · {formats.amount(stake)} 0G stake",
    )
    title = f"Provider {short(address)}"
    return answer(request, social.Card(settings.NETWORK.label, title, facts, text, tone, ""))


@require_safe
def model(request: HttpRequest, model: str) -> HttpResponse:
    count = selectors.matching(selectors.ServiceQuery(model=model)).count()
    if not count and hidden_model(model):
        facts = ("Moderators hid every service of this model.", "Their pages say when and why.")
        card = social.Card(
            settings.NETWORK.label, parts.name(model), facts, "Hidden by moderators", "bad", ""
        )
        return answer(request, card)
    if not count:
        raise Http404("No provider offers a model of this name.")
    rows = selectors.services(selectors.ServiceQuery(model=model, sort="price"), 1, 1, count=count)
    prices = parts.listed_prices(rows.items[0])
    cheapest = " · ".join(f"{p.label} {formats.amount(p.neuron)} 0G / {p.unit}" for p in prices)
    facts = (f"{count} service{'' if count == 1 else 's'}", f"from {cheapest}")
    card = social.Card(settings.NETWORK.label, parts.name(model), facts, "", "", "")
    return answer(request, card)


@require_safe
def report(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    run = Verification.objects.filter(pk=id).defer("rows", "facts", "inputs").first()
    if run is None:
        raise Http404("There is no report of this number.")
    text, tone = _chip(run.overall, run.finished_at)
    about = f"Provider {short(run.provider)}" if run.provider else "Of no provider's present state"
    title = "Verification report" if run.provider else "Evidence somebody brought"
    card = social.Card(settings.NETWORK.label, title, (about,), text, tone, str(run.pk)[:8])
    return answer(request, card)
