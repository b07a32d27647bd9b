"""Paths of the catalogue pages (interfaces.md 4)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path, re_path

from marketplace import (
    metrics,
    status,
    views,
    views_performance,
    views_service,
    views_verification,
    views_verify,
)

_SERVICE = "services/<str:kind>/<str:address>"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.catalogue, name="catalogue"),
    path("search", views.search, name="search"),
    path("freshness", views.freshness, name="freshness"),
    path("models", views.models, name="models"),
    # Not <path:…>: a stranger's model name may hold any character, a line break included.
    re_path(r"^models/(?P<model>[\s\S]+)$", views.model, name="model"),
    path("providers", views.providers, name="providers"),
    path("providers/<str:address>", views.provider, name="provider"),
    path(_SERVICE, views_service.overview, name="service"),
    path(f"{_SERVICE}/performance", views_performance.performance, name="service-performance"),
    path(f"{_SERVICE}/verification", views_verification.verification, name="service-verification"),
    path(f"{_SERVICE}/changes", views_service.changes, name="service-changes"),
    path(f"{_SERVICE}/settlements", views_service.settlements, name="service-settlements"),
    path(f"{_SERVICE}/use", views_service.use, name="service-use"),
    path(f"{_SERVICE}/raw", views_service.raw, name="service-raw"),
    path("changes", views.changes, name="changes"),
    path("verifications/<uuid:id>", views_verification.report, name="verification"),
    path("verify", views_verify.verify, name="verify"),
    path("badge/<str:address>.svg", views_verification.badge, name="badge"),
    path("network", views.network, name="network"),
    path("status", status.status, name="status"),
    path("metrics", metrics.metrics, name="metrics"),
    path("styleguide", views.styleguide, name="styleguide"),
]
