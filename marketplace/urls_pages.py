"""Paths of the catalogue pages (interfaces.md 4)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path, re_path

from marketplace import (
    announcements,
    metrics,
    status,
    views,
    views_compare,
    views_data,
    views_market,
    views_network,
    views_performance,
    views_service,
    views_verification,
    views_verify,
    views_watch,
)

_SERVICE = "services/<str:kind>/<str:address>"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", views_market.catalogue, name="catalogue"),
    path("columns", views_market.columns, name="columns"),
    path("compare", views_compare.compare, name="compare"),
    path("watch", views_watch.watch, name="watch"),
    path("freshness", views.freshness, name="freshness"),
    path("models", views_market.models, name="models"),
    # Not <path:…>: a stranger's model name may hold any character, a line break included.
    re_path(r"^models/(?P<model>[\s\S]+)$", views_market.model, name="model"),
    path("providers", views_market.providers, name="providers"),
    path("providers/<str:address>", views_market.provider, name="provider"),
    path(_SERVICE, views_service.overview, name="service"),
    path(f"{_SERVICE}/performance", views_performance.performance, name="service-performance"),
    path(f"{_SERVICE}/verification", views_verification.verification, name="service-verification"),
    path(f"{_SERVICE}/settlements", views_service.settlements, name="service-settlements"),
    path(f"{_SERVICE}/use", views_service.use, name="service-use"),
    path(f"{_SERVICE}/raw", views_service.raw, name="service-raw"),
    path("sharing", views_performance.sharing, name="sharing"),
    path("verifications/<uuid:id>", views_verification.report, name="verification"),
    path("verifications/<uuid:id>-<str:digest>", views_verification.report, name="permalink"),
    path("verify", views_verify.verify, name="verify"),
    path("network", views_network.network, name="network"),
    path("network/days.csv", views_network.days, name="network-days"),
    path("network/settlements", views_network.settlements, name="network-settlements"),
    path("network/accounts", views_network.accounts, name="network-accounts"),
    path("status", status.status, name="status"),
    path("data", views_data.page, name="data"),
    path("data/<str:day>/<str:name>", views_data.file, name="data-file"),
    path("status.atom", announcements.feed, name="status-atom"),
    path("metrics", metrics.metrics, name="metrics"),
    path("styleguide", views.styleguide, name="styleguide"),
]
