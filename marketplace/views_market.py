"""Doors of the market pages: services, models, providers, the network; parse, read once, render
one `page`."""

from __future__ import annotations

from dataclasses import replace

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import links as account_links
from accounts import watching
from ledger import selectors, statistics
from marketplace import findings, history, links, pages, parts, views_errors
from marketplace.catalogue import (
    catalogue_page,
    hidden_model,
    model_page,
    models_page,
    providers_page,
)
from marketplace.context import head_of
from marketplace.filters import WORKLOAD, Filters
from marketplace.overviews import ModelsAsked, ProvidersAsked
from marketplace.pages_changes import change_rows
from marketplace.twins import twinned
from marketplace.views import at_address, partial
from moderation import selectors as moderation
from moderation.subjects import Subject

_OF_MODEL = "{}?model={{model}}"
#: What is kept in the browser; an address that says it goes before.
REMEMBERED = ("columns", "rows")


@require_safe
@twinned(json="/api/v1/services", csv="/api/v1/services.csv", atom="/services.atom")
def catalogue(request: HttpRequest) -> HttpResponse:
    given = request.GET.dict()
    for name in REMEMBERED:
        given.setdefault(name, request.COOKIES.get(name, ""))
    filters = Filters.parse(given, watching.of(request))
    page = catalogue_page(filters, head_of(request))
    return partial(request, "marketplace/catalogue.html", page, "results")


@require_POST
def columns(request: HttpRequest) -> HttpResponse:
    """Which columns the list has and how high its rows are: kept in the browser, as its language
    is, and said by the address that it is sent to."""
    asked = QueryDict(request.POST.get("to", "").partition("?")[2]).dict()
    if "reset" in request.POST:
        chosen = dict.fromkeys(REMEMBERED, "")
    else:
        chosen = {name: ".".join(request.POST.getlist(name)) for name in REMEMBERED}
    filters = Filters.parse({**asked, **chosen})
    answer = HttpResponseRedirect(f"{filters.path(page=filters.page)}#columns")
    for name in REMEMBERED:
        if value := getattr(filters, name):
            answer.set_cookie(
                name,
                value,
                max_age=settings.LANGUAGE_COOKIE_AGE,
                secure=settings.LANGUAGE_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        else:
            answer.delete_cookie(name, samesite="Lax")
    return answer


@require_safe
@twinned(json="/api/v1/models", csv="/api/v1/models.csv")
def models(request: HttpRequest) -> HttpResponse:
    asked = ModelsAsked.parse(request.GET.dict())
    page = models_page(asked, selectors.listings_version())
    return render(request, "marketplace/models.html", {"page": page})


@require_safe
@twinned(
    json=_OF_MODEL.format("/api/v1/services"),
    csv=_OF_MODEL.format("/api/v1/services.csv"),
    atom=_OF_MODEL.format("/services.atom"),
)
def model(request: HttpRequest, model: str) -> HttpResponse:
    asked = {name: request.GET.get(name, "") for name in (*WORKLOAD, "page")}
    filters = Filters.parse(asked, watching.of(request))
    # As it stands in the address: a name is matched whole, and one with a NUL is nobody's.
    page = model_page(replace(filters, model=model), selectors.listings_version())
    if page is None:
        if hidden := hidden_model(model):
            title = _("Moderators hid every service of this model")
            text = _("Lists leave them out. Their pages stay, and say when and why.")
            return views_errors.error(request, 404, text, title=title, links=hidden)
        raise Http404(_("No provider offers a model of this name."))
    return render(request, "marketplace/model.html", {"page": page})


@require_safe
@twinned(json="/api/v1/providers", csv="/api/v1/providers.csv")
def providers(request: HttpRequest) -> HttpResponse:
    asked = ProvidersAsked.parse(request.GET.dict())
    page = providers_page(asked, selectors.listings_version())
    return render(request, "marketplace/providers.html", {"page": page})


@require_safe
@twinned(json="/api/v1/providers/{address}", atom="/providers/{address}/changes.atom")
@at_address
def provider(request: HttpRequest, address: str) -> HttpResponse:
    summary = statistics.provider(address)
    changes = history.changes(history.Asked(provider=address), page_size=10)
    decided = moderation.of_subject(Subject.provider_of(address))
    held, free, retrieve = own_money(request, address) if decided.hidden else (0, 0, "")
    page = pages.ProviderPage(
        summary=summary,
        known=bool(summary.services or changes.count),
        rows=parts.rows(summary.services, watching.of(request)),
        findings=findings.open_rows(address),
        changes=change_rows(changes.items, alone=True),
        account_path=links.account_path(address),
        decided=decided,
        held=held,
        free=free,
        retrieve=retrieve,
    )
    return render(request, "marketplace/provider.html", {"page": page})


def own_money(request: HttpRequest, provider: str) -> tuple[int, int, str]:
    """What the visitor holds at a provider, what of it is not being refunded yet, and the form that
    retrieves that (3 queries)."""
    user = request.user
    if not user.is_authenticated:
        return 0, 0, ""
    account = selectors.account(user.address)
    there = [one for one in account.positions if one.provider == provider and one.balance]
    there.sort(key=lambda one: not one.spendable)
    form = account_links.form("retrieve", there[0]) if there else ""
    return sum(one.balance for one in there), sum(one.spendable for one in there), form
