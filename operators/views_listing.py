"""Doors of an operator's listing: what is published, the form that changes it, removing it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from accounts import actions, follow, funds, limits, links, selectors
from accounts import pages_transaction as shown
from accounts.http import NotSignedIn, own_form, user_of
from accounts.models import Intent, State, User
from attestation.selectors import ServiceKey
from ledger import selectors as ledger
from operators import listing, listing_changes, listing_state, pages_listing, setup
from operators.listing_state import Published
from operators.models import ListingDraft
from operators.pages import Outside
from probes.selectors import health_of

_TITLES = {
    "inference": gettext_noop("Inference service"),
    "fine-tuning": gettext_noop("Fine-tuning service"),
}
_REGISTER = {
    "inference": gettext_noop("Register inference service"),
    "fine-tuning": gettext_noop("Register fine-tuning service"),
}
_HERE = "/operator/listing"


def outside(request: HttpRequest) -> HttpResponse:
    """What somebody sees who is not signed in. Raises NotSignedIn for a form of ours."""
    if own_form(request):
        raise NotSignedIn("not signed in")
    return render(request, "operators/outside.html", {"page": Outside(False)})


def path_of(kind: str, name: str, verb: str) -> str:
    """`edit` or `remove` of a service; the name only where there is one."""
    return f"{_HERE}/{kind}/{verb}" + (f"?{urlencode({'service_name': name})}" if name else "")


@require_GET
@never_cache
def overview(request: HttpRequest) -> HttpResponse:
    """`/operator/listing`: each of the wallet's services as the contract has it."""
    if not request.user.is_authenticated:
        return outside(request)
    user = user_of(request)
    known = ledger.contracts()
    everything = ledger.services_of(user.address, include_removed=True)
    found = [one for one in everything if one.kind in listing.KINDS and one.serving in known]
    offered, listed = [], {one.serving for one in found if not one.removed}
    for one in found:
        if not one.removed:
            now = listing_state.published(known[one.serving], user.address)
            offered.append(_offered(user, now))
    drafts = ListingDraft.objects.filter(user=user).order_by("kind", "service_name")
    page = pages_listing.ListingPage(
        offered=tuple(offered),
        gone=tuple(
            shown.Link(
                f"{_(_TITLES[one.kind])}, {one.service_name}",
                links.service(one),
            )
            for one in found
            if one.removed and one.serving not in listed and one.kind in _TITLES
        ),
        new=tuple(
            shown.Link(_(_REGISTER[c.kind]), path_of(c.kind, "", "edit"))
            for c in filter(None, (ledger.recommended(kind, known) for kind in listing.KINDS))
            if not any(one.kind == c.kind and not one.removed for one in found)
        ),
        drafts=tuple(
            shown.Link(
                f"{_(_TITLES.get(row.kind, row.kind))}, {row.service_name}",
                path_of(row.kind, row.service_name, "edit"),
            )
            for row in drafts
        ),
    )
    return _answer(request, "listing", page)


def _offered(user: User, now: Published) -> pages_listing.Offered:
    rows = listing_changes.changes(now.kind, None, now.values) if now.values else ()
    held = listing_state.customers(now.contract, user.address)
    key = ServiceKey(now.kind, user.address, now.name)
    named = now.values.get("model") or ", ".join(now.values.get("models", ())) if now.values else ""
    return pages_listing.Offered(
        now=now,
        title=str(named) or _(_TITLES[now.kind]),
        rows=rows,
        customers=held.text,
        health=health_of([key])[key],
        service_path=links.service_at(now.contract, user.address),
        edit_path=path_of(now.kind, now.name, "edit"),
        remove_path=path_of(now.kind, now.name, "remove"),
        setup_path="/operator/setup?" + urlencode({"kind": now.kind, "service_name": now.name}),
    )


@require_GET
@never_cache
def new(request: HttpRequest) -> HttpResponse:
    """`/operator/listing/new`: the form of a first service; `?kind=` chooses which."""
    kind = request.GET.get("kind", listing.INFERENCE)
    return HttpResponseRedirect(path_of(kind if kind in listing.KINDS else "inference", "", "edit"))


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def edit(request: HttpRequest, kind: str) -> HttpResponse:
    """The form of one service. A POST keeps what was typed and shows what it means; nothing is sent
    before the wallet confirms the review."""
    if kind not in listing.KINDS:
        raise Http404(_("There is no such kind of service."))
    if not request.user.is_authenticated:
        return outside(request)
    user = user_of(request)
    now = _published(request, kind, user)
    if request.method != "POST":
        typed = {**now.texts, **listing_state.draft(user, now)}
        page = _edit_page(user, now, typed, posted=False)
        return _answer(request, "listing_edit", page)
    limits.spend("operator-listing", user.address, limit=240, seconds=60)
    limits.spend_check(request)
    if "start_over" in request.POST:
        listing_state.forget(user, now)
        return HttpResponseRedirect(path_of(kind, now.name, "edit"))
    given = {name: str(request.POST[name]) for name in now.texts if name in request.POST}
    if "occupied" in now.texts:
        given.setdefault("occupied", "")
    seen = {n: str(request.POST[f"seen-{n}"]) for n in given if f"seen-{n}" in request.POST}
    overtaken = listing_state.overtaken(now, given, seen)
    touched = {name: text for name, text in given.items() if name not in overtaken}
    typed = listing_state.keep(user, now, touched)
    if request.headers.get("HX-Request") != "true":
        return HttpResponseRedirect(path_of(kind, now.name, "edit"))
    if overtaken:  # the form goes on with what the chain has there now
        return HttpResponse(headers={"HX-Refresh": "true"})
    return _answer(request, "listing_edit", _edit_page(user, now, typed, posted=True))


def _published(request: HttpRequest, kind: str, user: User) -> Published:
    name = request.GET.get("service_name", "").replace("\0", "")[:200]
    contract = listing_state.contract_of(kind, user.address, name)
    if contract is None:
        raise Http404(_("This network has no contract for such services."))
    return listing_state.published(contract, user.address)


def _edit_page(
    user: User, now: Published, typed: dict[str, str], *, posted: bool
) -> pages_listing.EditPage:
    parsed = listing.parse(now.kind, typed, listing_state.policy())
    edited = typed != now.texts
    changed = (
        ()
        if parsed.errors
        else listing_changes.differing(now.kind, now.values, parsed.values)
        if edited or now.values is None
        else ()
    )
    held = listing_state.customers(now.contract, user.address)
    current = None if posted else _under_way(user, listing.ACTIONS[now.kind], now)
    review = _review(user, now, parsed.values) if changed and current is None else None
    return pages_listing.EditPage(
        kind=now.kind,
        title=_(_TITLES[now.kind]),
        path=path_of(now.kind, now.name, "edit"),
        now=now,
        fields=pages_listing.form_fields(
            now.kind, typed, parsed, now.texts, registered=now.values is not None
        ),
        changes=listing_changes.changes(now.kind, now.values, parsed.values) if changed else (),
        lines=listing_changes.consequences(
            now.kind,
            now.values,
            parsed.values,
            acknowledged=now.acknowledged,
            customers=held,
            stake=now.least,
        )
        if changed
        else (),
        review=review,
        current=current,
        contracts=selectors.contract_addresses(),
        missing=tuple(listing.inside(name) for name in parsed.errors if not typed.get(name)),
        stale=not now.from_chain,
        setup_path="/operator/setup?"
        + urlencode({"kind": now.kind, "service_name": now.name, "draft": "1"}),
    )


def _review(user: User, now: Published, values: dict[str, Any]) -> shown.Review:
    action = listing.ACTIONS[now.kind]
    params = actions.jsonable(
        actions.parse(action, {**setup.subject_values(values), "service_name": now.name})
    )
    review = funds.reviewed(user, action, params)
    return replace(review, title=_verb(now, review))


def _verb(now: Published, review: shown.Review) -> str:
    if not review.ready:
        return review.title
    return _("Change the service") if now.values else _("Register the service")


def _under_way(user: User, action: str, now: Published) -> shown.Transaction | None:
    """A transaction about this listing that is on its way, so that a reload goes on following."""
    rows = selectors.intents_of(user).filter(
        action=action,
        params__service_name=now.name,
        state__in=[State.SUBMITTED, State.INCLUDED],
    )
    intent: Intent | None = rows.first()
    return shown.transaction(follow.look(intent)) if intent else None


@require_GET
@never_cache
def remove(request: HttpRequest, kind: str) -> HttpResponse:
    """What removing the service brings, and its review."""
    if kind not in listing.KINDS:
        raise Http404(_("There is no such kind of service."))
    if not request.user.is_authenticated:
        return outside(request)
    user = user_of(request)
    now = _published(request, kind, user)
    current = _under_way(user, "remove_service", now)
    page = pages_listing.RemovePage(
        kind=kind,
        now=now,
        lines=listing_changes.removal(
            kind, now.stake, listing_state.customers(now.contract, user.address)
        )
        if now.values
        else (),
        review=funds.reviewed(user, "remove_service", {"service_name": now.name})
        if now.values and current is None
        else None,
        current=current,
        contracts=selectors.contract_addresses(),
    )
    return _answer(request, "listing_remove", page)


#: Parts of the form's page that a script asks for one by one.
_PARTS = ("review", "now")


def _answer(request: HttpRequest, template: str, page: Any) -> HttpResponse:
    target = request.headers.get("HX-Target", "")
    part = f"#{target}" if target in _PARTS and template == "listing_edit" else ""
    response = render(request, f"operators/{template}.html{part}", {"page": page})
    patch_vary_headers(response, ["HX-Request", "HX-Target", "Cookie"])
    return response
