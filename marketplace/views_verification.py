"""Doors of the verification pages: one report, a service's standing and history, check again."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from accounts import limits as account_limits
from accounts import links as account_links
from accounts.http import number_of
from accounts.models import User
from accounts.pages_parts import pager
from attestation import history, published, selectors, services, words
from attestation.errors import NotVerified, QueueDown, TooSoon
from attestation.models import Verification
from attestation.pages import report_page
from attestation.selectors import ServiceKey
from inference.signed import newest_signer
from ledger import selectors as ledger
from ledger.records import Listing
from marketplace import findings, limits, links, pages
from marketplace import pages_verification as shown
from marketplace.views import partial
from marketplace.views_service import of_service

SHOWN_HISTORY = 6
#: Checks that one address may ask for; each is kept for ever, and asks strangers and vendors.
ASKED = limits.Limit("verify-now", per_minute=2, burst=20)
_STATUS: dict[type[NotVerified], int] = {TooSoon: 429, QueueDown: 503}


@require_safe
def report(request: HttpRequest, id: uuid.UUID, digest: str = "") -> HttpResponse:
    """One stored run, for ever at this address (about 7 queries).

    An address with the start of the content hash leads to nothing but what has this hash.
    """
    view = history.report(id)
    if view is None:
        raise Http404(_("There is no report of this number."))
    run = view.run
    short = len(digest) < published.ADDRESS_CHARS
    if digest and (short or not run.content_hash.startswith(digest)):
        raise Http404(words.other_hash())
    key = ServiceKey.of(run)
    listing = ledger.service(*key, include_removed=True) if run.provider else None
    runs = history.of_service(key, page_size=SHOWN_HISTORY).items if run.provider else ()
    page = report_page(
        view, runs, now=timezone.now(), site=settings.SITE_URL, answered=_answered(run, listing)
    )
    verify = account_links.service(listing, "verification") if listing else ""
    context = {
        "page": page,
        "provider_path": links.provider_path(run.provider) if run.provider else "",
        "service_path": verify,
        "verify_path": verify if listing and not listing.removed else "",
        "findings": findings.rows(page.findings, run.provider),
    }
    if page.leave and listing:
        context["held"], context["retrieve_path"] = _held(request, listing)
    return render(request, "attestation/report.html", context)


def _held(request: HttpRequest, listing: Listing) -> tuple[int, str]:
    """What the visitor could retrieve from there, neuron, and where (2 queries)."""
    user = request.user
    found = isinstance(user, User) and ledger.position(
        user.address, listing.provider, listing.serving
    )
    if not found or not found.spendable:
        return 0, ""
    return found.spendable, account_links.form("retrieve", found)


def _answered(run: Verification, listing: Listing | None) -> str | None:
    """Who signs this machine's answers; None where another machine signs them, or there are none.

    Of two machines the model's signs; a separated model's key is what its own report attests.
    """
    signs = run.endpoint == "model" or run.declared != "separated"
    asked = run.kind == "inference" and run.declared not in ("standard", "opml", "zkml")
    return newest_signer(run.provider, listing.serving) if listing and asked and signs else None


@require_http_methods(["GET", "HEAD", "POST"])
@of_service
def verification(request: HttpRequest, listing: Listing) -> HttpResponse:
    """The tab Verification; a POST asks for a check now, by anybody, and spends no money."""
    if request.method == "POST":
        return _ask(request, listing)
    return _shown(request, _tab(request, listing))


def _ask(request: HttpRequest, listing: Listing) -> HttpResponse:
    by = request.user.pk if request.user.is_authenticated else None
    decision = limits.take(ASKED, account_limits.address(request))
    try:
        if not decision.allowed:
            raise TooSoon(decision.retry_s, _("You asked for many checks"))
        services.verify_now(ServiceKey.of(listing), by)
    except NotVerified as error:
        answer = _shown(request, _tab(request, listing, problem=str(error)))
        # htmx shows what is answered with 200 only; programs and plain forms get the real word.
        asked_by_page = request.headers.get("HX-Request") == "true"
        answer.status_code = 200 if asked_by_page else _STATUS.get(type(error), 404)
        if isinstance(error, TooSoon):
            answer["Retry-After"] = str(error.retry_after)
        return answer
    return HttpResponseRedirect(_path(listing, asked=int(timezone.now().timestamp())))


def _shown(request: HttpRequest, page: shown.VerificationTab) -> HttpResponse:
    return partial(request, "marketplace/service_verification.html", page, "standing")


def _path(listing: Listing, **values: int) -> str:
    return links.with_query(account_links.service(listing, "verification"), **values)


def _tab(request: HttpRequest, listing: Listing, problem: str = "") -> shown.VerificationTab:
    key = ServiceKey.of(listing)
    found = history.of_service(key, number_of(request))
    standing = selectors.standing_of(key)
    held, retrieve = _held(request, listing) if standing.failed else (0, "")
    asked = request.GET.get("asked", "")
    since = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 12 else 0
    return shown.VerificationTab(
        service=pages.service_head(listing, "verification", standing=standing),
        standing=shown.standing_panel(standing),
        findings=findings.rows(selectors.findings(listing.provider), listing.provider),
        entries=tuple(entry.alone for entry in found.items),
        pager=pager(found, _("checks"), lambda page: _path(listing, page=page)),
        path=account_links.service(listing, "verification"),
        poll=_path(listing, asked=since)
        if since
        else account_links.service(listing, "verification"),
        badges=shown.badges(settings.SITE_URL, listing.provider, account_links.service(listing)),
        progress=shown.progress(standing, since, running=services.is_running(key)),
        problem=problem,
        held=held,
        retrieve_path=retrieve,
    )
