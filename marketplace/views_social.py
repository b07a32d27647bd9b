"""Pictures of pages for other sites (`/og/….png`), and badges."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Iterable

from django.conf import settings
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from accounts.addresses import short
from attestation import brought
from attestation.engine.verdicts import told_overall
from attestation.models import Verification
from attestation.selectors import DEVELOPMENT, ServiceKey, StandingView, standing_of, standings
from ledger import listed, selectors
from ledger.records import Listing
from marketplace import badge as badges
from marketplace import formats, parts, social, verdicts
from marketplace.catalogue import hidden_model
from marketplace.views import at_address
from marketplace.views_service import of_service
from moderation import selectors as moderation
from net.cache import tried
from probes.selectors import health_of

#: How long others may keep a picture and a badge, and we the bytes of a picture (seconds).
SECONDS, BADGE_SECONDS, KEPT = 900, 300, 86_400
#: Worst first: what one word for several services has to say.
_RANKS = ("fail", "not_provided", "not_checked", "never", "expired", "partial", "warn", "pass")


def _worst(keys: Iterable[ServiceKey]) -> StandingView:
    """Of a provider's services, of which there is one at least (1 query)."""
    return min(
        standings(keys).values(),
        key=lambda view: _RANKS.index(view.overall.removeprefix(DEVELOPMENT)),
    )


def _hidden(address: str, services: int) -> str:
    """What moderators did to so many services of a provider; "" where they hid none (1 query)."""
    return badges.hidden(len(listed.left_out({address})), services)


def _chip(overall: str, at: dt.datetime | None) -> tuple[str, str]:
    word = verdicts.word(overall)
    when = f" · {at.astimezone(dt.UTC):%d %b %Y %H:%M} UTC" if at else ""
    return word.text + when, word.tone


def _priced(listing: Listing) -> str:
    return " · ".join(
        f"{price.label} {formats.amount(price.neuron)} 0G / {price.unit}"
        for price in parts.listed_prices(listing)
    )


def _services(count: int) -> str:
    return f"{count} service{'' if count == 1 else 's'}"


def answer(request: HttpRequest, card: social.Card) -> HttpResponse:
    """The picture of a card: drawn once, kept for a day by its words."""
    name = hashlib.sha256(repr(card).encode()).hexdigest()[:32]
    response: HttpResponse | None = get_conditional_response(request, etag=f'"{name}"')
    if response is None:
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
    return answer(
        request,
        social.Card(
            above=parts.service_type_label(listing),
            title=parts.service_title(listing),
            facts=(_priced(listing), "Removed by its provider" if listing.removed else ""),
            chip=text,
            tone=tone,
            below=short(listing.provider),
        ),
    )


@require_safe
@at_address
def provider(request: HttpRequest, address: str) -> HttpResponse:
    offers = selectors.services_of(address)
    if not offers:
        raise Http404("This address offers no service.")
    worst = _worst(map(ServiceKey.of, offers))
    text, tone = _chip(worst.overall, worst.checked_at)
    if hidden := _hidden(address, len(offers)):
        text, tone = hidden, "bad"
    stake = sum(listing.stake for listing in offers)
    facts = (
        ", ".join(dict.fromkeys(map(parts.service_title, offers))),
        f"{_services(len(offers))} · {formats.amount(stake)} 0G stake",
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
    facts = (_services(count), f"from {_priced(rows.items[0])}")
    card = social.Card(settings.NETWORK.label, parts.name(model), facts, "", "", "")
    return answer(request, card)


@require_safe
def report(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    run = Verification.objects.filter(pk=id).defer("facts", "inputs").first()
    if run is None:
        raise Http404("There is no report of this number.")
    # Without the report beside it that says what is missing.
    word = told_overall(brought.shown(run, timezone.now()), run.rows)
    text, tone = _chip(word, brought.judged_at(run))
    about = f"Provider {short(run.provider)}" if run.provider else "Of no provider's present state"
    title = "Verification report" if run.provider else "Evidence somebody brought"
    card = social.Card(settings.NETWORK.label, title, (about,), text, tone, str(run.pk)[:8])
    return answer(request, card)


# --- badges ---------------------------------------------------------------------------------------


@require_safe
@at_address
def badge(request: HttpRequest, address: str) -> HttpResponse:
    """A provider as a picture: the worst word of its services, or with `?show=uptime` the lowest
    uptime of 7 days; of what moderators hid, that they did (5 queries)."""
    keys = [ServiceKey.of(listing) for listing in selectors.services_of(address)]
    hidden = _hidden(address, len(keys))
    if not keys:
        body, status = badges.draw(badges.LABEL, "Not listed", ""), 404
    elif hidden:
        body, status = badges.draw(badges.LABEL, hidden, "bad"), 200
    elif request.GET.get("show") == "uptime":
        body, status = _uptime(keys), 200
    else:
        worst = _worst(keys)
        body, status = badges.svg(worst.overall, worst.checked_at), 200
    response = HttpResponse(body, content_type="image/svg+xml", status=status)
    response["Cache-Control"] = f"public, max-age={BADGE_SECONDS}"
    response["ETag"] = f'"{hashlib.sha256(body.encode()).hexdigest()[:20]}"'
    response["Content-Security-Policy"] = "default-src 'none'"
    found = get_conditional_response(request, etag=response["ETag"], response=response)
    return found if found is not None and status == 200 else response


def _uptime(keys: list[ServiceKey]) -> str:
    """Of the services that were measured, the one that was reachable least."""
    measured = [
        (found, view) for view in health_of(keys).values() if (found := view.uptime_7d) is not None
    ]
    if not measured:
        return badges.uptime(None, 0, None, False)
    worst, view = min(measured, key=lambda one: one[0].share)
    return badges.uptime(worst.share, worst.probes, view.checked_at, view.example)
