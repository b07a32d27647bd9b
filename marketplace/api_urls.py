"""Paths of the JSON API, its documentation and the readiness check."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path, re_path

from marketplace import api_catalogue, api_docs, api_readiness, problems
from marketplace.api import api


def missing(request: HttpRequest) -> HttpResponse:
    """Any other path under `/api/`: a problem document, not an HTML page."""
    return problems.of_status(request, 404, {})


urlpatterns: list[URLPattern | URLResolver] = [
    path("readyz", api_readiness.readyz, name="readyz"),
    path("services.atom", api_catalogue.site_feed, name="services-atom"),
    path("api/docs", api_docs.page, name="api-docs"),
    path("api/v1/", api.urls),
]
#: Comes after every app's own paths.
last_urlpatterns: list[URLPattern | URLResolver] = [re_path(r"^api(?:/.*)?$", missing)]
