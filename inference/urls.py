"""Paths of the playground (interfaces.md 4)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from inference import views

app_name = "inference"

urlpatterns: list[URLPattern | URLResolver] = [
    path("playground", views.home, name="home"),
    path("playground/chat", views.new, name="new"),
    path("playground/chat/start", views.start, name="start"),
    path("playground/chat/side", views.side, name="side"),
    path("playground/chat/<uuid:chat>", views.chat, name="chat"),
    path("playground/chat/<uuid:chat>/send", views.send, name="send"),
    path("playground/chat/<uuid:chat>/delete", views.delete, name="delete"),
    path("playground/chat/turns/<int:turn>", views.turn, name="turn"),
    path("playground/chat/turns/<int:turn>/stop", views.stop, name="stop"),
    path("playground/chat/turns/<int:turn>/recheck", views.recheck, name="recheck"),
    path("playground/chat/turns/<int:turn>/events", views.events, name="events"),
]
