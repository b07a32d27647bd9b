"""Paths of providers' operators: earnings, settlements, the listing, checks, notes."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from operators import views

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
    path("", include("operators.urls_listing")),
]
