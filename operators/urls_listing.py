"""Paths of an operator's listing, checks and signed words; `operators.urls` includes them."""

from __future__ import annotations

from django.urls import URLPattern, path

from operators import views_listing, views_listing_checks, views_listing_said

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
    path("operator/notes", views_listing_said.notes_page, name="notes"),
    path("operator/notes/sign", views_listing_said.notes_sign, name="notes_sign"),
    path("operator/notes/discard", views_listing_said.notes_discard, name="notes_discard"),
    path(
        "operator/notes/<uuid:identifier>/withdraw",
        views_listing_said.note_withdraw,
        name="note_withdraw",
    ),
    path("operator/profile", views_listing_said.profile_page, name="profile"),
    path("operator/profile/sign", views_listing_said.profile_sign, name="profile_sign"),
    path("operator/profile/act", views_listing_said.profile_act, name="profile_act"),
]
