"""Doors of the catalogue pages: parse, read once, render one `page`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from django.views.i18n import set_language

from accounts.models import User
from ledger import selectors
from marketplace import specimens


def partial(request: HttpRequest, template: str, page: Any, part: str) -> HttpResponse:
    """The page, or the named part of it where htmx asks for that; caches must keep the two
    apart."""
    wanted = (
        request.headers.get("HX-Request") == "true"
        and "HX-History-Restore-Request" not in request.headers
    )
    response = render(request, f"{template}#{part}" if wanted else template, {"page": page})
    patch_vary_headers(response, ["HX-Request"])
    return response


@require_safe
def freshness(request: HttpRequest) -> HttpResponse:
    """The footer's line with the banner, which pages ask for again every ten seconds."""
    response = render(request, "ui/freshness_now.html")
    response["Cache-Control"] = "no-store"
    return response


def at_address(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A door whose path names an address: the view gets it in EIP-55; a redirect where it was
    spelled otherwise, 404 where it is none."""

    @wraps(view)
    def door(request: HttpRequest, address: str, **given: str) -> HttpResponse:
        spelled = selectors.address_of(address)
        if spelled is None:
            raise Http404(
                _(
                    "This is not an address: 0x and 40 hex digits, with a right checksum if cases "
                    "are mixed."
                )
            )
        if spelled != address:
            return HttpResponseRedirect(request.get_full_path().replace(address, spelled, 1))
        return view(request, spelled, **given)

    return door


def language(request: HttpRequest) -> HttpResponse:
    """Django's own door, which keeps the choice in a cookie; what is sent to whoever is signed in
    speaks the same from then on. Django takes any language that it has itself."""
    answer = set_language(request)
    chosen = answer.cookies.get(settings.LANGUAGE_COOKIE_NAME)
    spoken = chosen.value if chosen is not None else ""
    if spoken in dict(settings.LANGUAGES) and isinstance(request.user, User):
        User.objects.filter(pk=request.user.pk).update(language=spoken)
    return answer


@require_safe
def styleguide(request: HttpRequest) -> HttpResponse:
    return render(request, "marketplace/styleguide.html", {"page": specimens.page()})
