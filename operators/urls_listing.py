"""Paths of an operator's listing, checks and signed words; `operators.urls` includes them."""

from __future__ import annotations

from django.urls import URLPattern, path

from operators import views_listing, views_listing_checks

urlpatterns: list[URLPattern] = [
    path("operator/listing", views_listing.overview, name="listing"),
    path("operator/listing/new", views_listing.new, name="listing_new"),
    path("operator/listing/<slug:kind>/edit", views_listing.edit, name="listing_edit"),
    path("operator/listing/<slug:kind>/remove", views_listing.remove, name="listing_remove"),
    path("operator/setup", views_listing_checks.setup_page, name="setup"),
    path("operator/setup/<uuid:identifier>", views_listing_checks.setup_run, name="setup_run"),
    path("operator/selftest", views_listing_checks.self_test_page, name="selftest"),
    path(
        "operator/selftest/<uuid:identifier>",
        views_listing_checks.self_test_run,
        name="selftest_run",
    ),
]
