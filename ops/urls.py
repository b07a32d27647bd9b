"""Paths for whoever hosts the site."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from marketplace import metrics
from ops import views, views_announcements, views_staff
from ops.metrics import Host

app_name = "ops"
if Host not in metrics.COLLECTORS:
    metrics.COLLECTORS.append(Host)

urlpatterns: list[URLPattern | URLResolver] = [
    path("ops", views.ops, name="ops"),
    path("ops/jobs", views.start, name="start"),
    path("ops/jobs/<uuid:job_id>", views.job, name="job"),
    path("ops/failures", views.all_failures, name="all_failures"),
    path("ops/failures/<int:failure_id>", views.failure, name="failure"),
    path("ops/announcements", views_announcements.page, name="announcements"),
    path(
        "ops/announcements/<int:announcement_id>", views_announcements.update, name="announcement"
    ),
    path("ops/sign-in", views_staff.sign_in, name="sign_in"),
    path("ops/sign-in/code", views_staff.code, name="code"),
    path("ops/sign-in/again", views_staff.again, name="again"),
]
