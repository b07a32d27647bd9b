"""The same page for programs: by suffix (`/changes.json`) or by `Accept`, with the same filters.

The API holds the data; twins lead there, so that there is one shape, one limit and one cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

Door = Callable[..., HttpResponse]
#: What a page may be asked for as, besides HTML.
MEDIA = {"application/json": "json", "text/csv": "csv", "application/atom+xml": "atom"}


def to(target: str) -> Door:
    """A door that leads to an address of the API; `{name}` stands for a part of its own path."""

    @require_safe
    def door(request: HttpRequest, **given: Any) -> HttpResponse:
        return _lead(request, target, given)

    return door


def _lead(request: HttpRequest, target: str, given: dict[str, Any]) -> HttpResponse:
    path = target.format(**{name: quote(str(value), safe="") for name, value in given.items()})
    query = request.META.get("QUERY_STRING", "")
    joiner = "&" if "?" in path else "?"
    response = HttpResponseRedirect(f"{path}{joiner}{query}" if query else path)
    response["Access-Control-Allow-Origin"] = "*"
    return response


def twinned(**targets: str) -> Callable[[Door], Door]:
    """A page that leads to one of its twins (`json=`, `csv=`, `atom=`: addresses as in `to`) where
    the caller prefers that to HTML.
    """

    def decorate(page: Door) -> Door:
        @wraps(page)
        def door(request: HttpRequest, **given: Any) -> HttpResponse:
            offered = [media for media, name in MEDIA.items() if name in targets]
            wanted = request.get_preferred_type(["text/html", *offered])
            if wanted in offered:
                response = _lead(request, targets[MEDIA[wanted]], given)
            else:
                response = page(request, **given)
            patch_vary_headers(response, ["Accept"])
            return response

        return door

    return decorate
