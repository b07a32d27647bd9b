"""Paths of the search, and of pictures for other sites."""

from __future__ import annotations

from django.urls import URLPattern, path, re_path

from marketplace import views_search as views
from marketplace import views_social as social

urlpatterns: list[URLPattern] = [
    path("search", views.search, name="search"),
    path("palette", views.palette, name="palette"),
    re_path(r"^tx/(?P<tx_hash>0x[0-9a-fA-F]{64})$", views.transaction, name="tx"),
    path("badge/<str:address>.svg", social.badge, name="badge"),
    path("og/site.png", social.site, name="og"),
    path("og/services/<str:kind>/<str:address>.png", social.service),
    path("og/providers/<str:address>.png", social.provider),
    re_path(r"^og/models/(?P<model>[\s\S]+)\.png$", social.model),
    path("og/verifications/<uuid:id>.png", social.report),
]
