"""`/admin/`, whose names stand in no app's namespace but its own."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from ops import admin, admin_users
from ops.site import site

#: Importing them registers their tables.
REGISTERED = (admin, admin_users)

urlpatterns: list[URLPattern | URLResolver] = [path("admin/", site.urls)]
