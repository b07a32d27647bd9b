"""Paths of the search."""

from __future__ import annotations

from django.urls import URLPattern, path, re_path

from marketplace import views_search as views

urlpatterns: list[URLPattern] = [
    path("search", views.search, name="search"),
    path("palette", views.palette, name="palette"),
    re_path(r"^tx/(?P<tx_hash>0x[0-9a-fA-F]{64})$", views.transaction, name="tx"),
]
