"""Paths of providers' operators: earnings, settlements, the listing, checks, notes."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from operators import views, views_listing, views_listing_checks, views_listing_statements

app_name = "operators"

urlpatterns: list[URLPattern | URLResolver] = [
    path("operator", views.overview, name="overview"),
    path("operator/earnings.csv", views.earnings_csv, name="earnings_csv"),
    path("operator/settlements", views.settlements, name="settlements"),
    path("operator/settlements.csv", views.settlements_csv, name="settlements_csv"),
    path("operator/settlements.json", views.settlements_json, name="settlements_json"),
    path("operator/settlements/<str:tx_hash>", views.batch, name="batch"),
    path("operator/customers", views.customer_list, name="customers"),
    path("operator/market", views.market_position, name="market"),
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
    path("operator/notes", views_listing_statements.notes_page, name="notes"),
    path("operator/notes/sign", views_listing_statements.notes_sign, name="notes_sign"),
    path("operator/notes/discard", views_listing_statements.notes_discard, name="notes_discard"),
    path(
        "operator/notes/<uuid:identifier>/withdraw",
        views_listing_statements.note_withdraw,
        name="note_withdraw",
    ),
    path("operator/profile", views_listing_statements.profile_page, name="profile"),
    path("operator/profile/sign", views_listing_statements.profile_sign, name="profile_sign"),
    path("operator/profile/act", views_listing_statements.profile_act, name="profile_act"),
]
