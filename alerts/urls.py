"""Paths of alerts: rules, ways, inbox."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from alerts import feeds, views, views_hooks, views_telegram

app_name = "alerts"

urlpatterns: list[URLPattern | URLResolver] = [
    path("account/alerts", views.alerts, name="alerts"),
    path("account/alerts/add", views.add, name="add"),
    path("account/alerts/usual", views.add_usual, name="usual"),
    path("account/alerts/rules/<int:rule_id>", views.change, name="rule"),
    path("account/alerts/mail", views.mail, name="mail"),
    path("account/alerts/feed", views.new_feed, name="new_feed"),
    path("account/alerts/hooks/new", views_hooks.new, name="hook_new"),
    path("account/alerts/hooks/<uuid:hook_id>", views_hooks.hook, name="hook"),
    path("account/alerts/hooks/<uuid:hook_id>/act", views_hooks.act, name="hook_act"),
    path("account/alerts/telegram", views_telegram.connect, name="telegram"),
    path("account/alerts/deliveries/<uuid:delivery_id>", views_hooks.again, name="again"),
    path("account/feed/<str:token>.atom", feeds.atom, name="feed"),
    path("account/unsubscribe/<str:token>", views.unsubscribe, name="unsubscribe"),
    path("account/inbox", views.inbox, name="inbox"),
    path("account/inbox/read", views.read_all, name="read_all"),
    path("account/inbox/bell", views.bell, name="bell"),
    path("account/inbox/<uuid:notification_id>", views.follow, name="follow"),
]
