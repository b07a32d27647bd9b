"""Paths of providers' operators: earnings, settlements, the listing, checks, notes."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

app_name = "operators"

urlpatterns: list[URLPattern | URLResolver] = []
