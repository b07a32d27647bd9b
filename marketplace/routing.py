"""Websocket paths of all apps."""

from __future__ import annotations

from typing import Any

from django.urls import path

from alerts.consumers import InboxConsumer
from finetune.consumers import TaskConsumer
from inference.consumers import ChatConsumer
from marketplace.consumers import LiveConsumer

websocket_urlpatterns: list[Any] = [
    path("ws/chat/<uuid:chat>", ChatConsumer.as_asgi()),
    path("ws/inbox", InboxConsumer.as_asgi()),
    path("ws/tasks/<uuid:task>", TaskConsumer.as_asgi()),
    path("ws/live", LiveConsumer.as_asgi()),
]
