"""Paths of the playground (interfaces.md 4)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, re_path

from inference import (
    views,
    views_chats,
    views_log,
    views_pictures,
    views_presets,
    views_shares,
    views_turns,
)

app_name = "inference"

_CHAT = "playground/chat/<uuid:chat>"
_TURN = "playground/chat/turns/<int:turn>"

urlpatterns: list[URLPattern | URLResolver] = [
    path("playground", views.home, name="home"),
    path("playground/chat", views.new, name="new"),
    path("playground/chat/start", views.start, name="start"),
    path("playground/chat/side", views.side, name="side"),
    path("playground/chat/estimate", views.estimate, name="estimate"),
    path(_CHAT, views.chat, name="chat"),
    path(f"{_CHAT}/send", views.send, name="send"),
    path("playground/chat/able", views_pictures.able, name="able"),
    path(f"{_CHAT}/pictures", views_pictures.add, name="add_picture"),
    path(f"{_CHAT}/rename", views_chats.rename, name="rename"),
    path(f"{_CHAT}/delete", views_chats.delete, name="delete"),
    path(f"{_CHAT}/undo", views_chats.undo, name="undo"),
    path(f"{_CHAT}/share", views_shares.share, name="share"),
    path("playground/shares/<int:share>/end", views_shares.end, name="share_end"),
    path("shared/<str:token>", views_shares.shared, name="shared"),
    path("moderation/shared/<str:digest>", views_shares.reported, name="shared_reported"),
    re_path(
        r"^playground/chat/(?P<chat>[0-9a-f-]{36})\.(?P<form>json|md)$",
        views_chats.download,
        name="download",
    ),
    path(_TURN, views_turns.turn, name="turn"),
    path(f"{_TURN}/stop", views_turns.stop, name="stop"),
    path(f"{_TURN}/recheck", views_turns.recheck, name="recheck"),
    path(f"{_TURN}/show", views_turns.show, name="show"),
    path(f"{_TURN}/forget", views_turns.forget, name="forget"),
    path(f"{_TURN}/inspect", views_log.inspect, name="inspect"),
    path(f"{_TURN}/request.json", views_log.request_body, name="request_body"),
    path("playground/presets", views_presets.own, name="presets"),
    path("playground/presets.json", views_presets.file, name="presets_file"),
    path("playground/presets/import", views_presets.take_in, name="presets_import"),
    path("playground/presets/<int:preset>/delete", views_presets.delete, name="preset_delete"),
    path(
        "playground/presets/<int:preset>/versions",
        views_presets.versions,
        name="preset_versions",
    ),
    path(
        "playground/presets/<int:preset>/versions/<int:version>",
        views_presets.restore,
        name="preset_restore",
    ),
    path("playground/presets/<int:preset>/undo", views_presets.undo, name="preset_undo"),
    path("playground/requests", views_log.log, name="requests"),
    path("playground/requests.csv", views_log.log_csv, name="requests_csv"),
    path(f"{_TURN}/events", views_turns.events, name="events"),
    path("", include("inference.media.urls")),
]
