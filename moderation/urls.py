"""Paths of moderation: the queue, decisions, reports, the public log."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from moderation import views, views_log, views_reports

app_name = "moderation"

urlpatterns: list[URLPattern | URLResolver] = [
    path("moderation", views.home, name="queue"),
    path("moderation/decide", views.decide, name="decide"),
    path("moderation/proposals/<int:number>", views.proposal, name="proposal"),
    path("moderation/acts/<int:number>/undo", views.undo, name="undo"),
    path("moderation/items/<int:item_id>/claim", views.claim, name="claim"),
    path("moderation/log", views_log.log, name="log"),
    path("moderation/log.atom", views_log.atom, name="log_atom"),
    path("moderation/log.json", views_log.export, name="log_json"),
    path("moderation/log.csv", views_log.export_csv, name="log_csv"),
    path("moderation/record", views_log.record, name="record"),
    path("moderation/report", views_reports.report, name="report"),
    path("moderation/anyway", views_reports.anyway, name="anyway"),
    path("account/reports", views_reports.mine, name="reports"),
]
