"""Paths of what changed, and of pages' twins for programs."""

from __future__ import annotations

from django.urls import URLPattern, path

from marketplace import twins
from marketplace import views_changes as views

_SERVICE = "services/<str:kind>/<str:address>"
_API = "/api/v1"
_TIMELINE = f"{_API}/services/{{kind}}/{{address}}/timeline"
_HEALTH = f"{_API}/services/{{kind}}/{{address}}/health"

urlpatterns: list[URLPattern] = [
    path("changes", views.changes, name="changes"),
    path("changes.atom", views.feed, name="changes-atom"),
    path("changes.json", twins.to(f"{_API}/changes")),
    path("changes.csv", twins.to(f"{_API}/changes.csv")),
    path("providers/<str:address>/changes.atom", views.provider_feed),
    path("providers/<str:address>/changes.json", twins.to(f"{_API}/changes?provider={{address}}")),
    path(
        "providers/<str:address>/changes.csv", twins.to(f"{_API}/changes.csv?provider={{address}}")
    ),
    path(f"{_SERVICE}/changes", views.service_changes, name="service-changes"),
    path(f"{_SERVICE}/changes.json", twins.to(_TIMELINE)),
    path(f"{_SERVICE}/changes.csv", twins.to(f"{_TIMELINE}.csv")),
    path("services.json", twins.to(f"{_API}/services")),
    path("services.csv", twins.to(f"{_API}/services.csv")),
    path("compare.json", twins.to(f"{_API}/compare")),
    path("compare.csv", twins.to(f"{_API}/compare.csv")),
    path("models.json", twins.to(f"{_API}/models")),
    path("models.csv", twins.to(f"{_API}/models.csv")),
    path("providers.json", twins.to(f"{_API}/providers")),
    path("providers.csv", twins.to(f"{_API}/providers.csv")),
    path("providers/<str:address>.json", twins.to(f"{_API}/providers/{{address}}")),
    path(f"{_SERVICE}/performance.json", twins.to(_HEALTH)),
    path(f"{_SERVICE}/performance.csv", twins.to(f"{_HEALTH}.csv")),
    path(f"{_SERVICE}.json", twins.to(f"{_API}/services/{{kind}}/{{address}}")),
    path(
        f"{_SERVICE}/verification.json",
        twins.to(f"{_API}/services/{{kind}}/{{address}}/verifications"),
    ),
    path("verifications/<uuid:id>.json", twins.to(f"{_API}/verifications/{{id}}")),
    path("accounts/<str:address>.json", twins.to(f"{_API}/accounts/{{address}}")),
    path("status.json", twins.to(f"{_API}/status")),
    path("network.json", twins.to(f"{_API}/network")),
    path("network/settlements.json", twins.to(f"{_API}/settlements")),
]
