"""HTTP and websockets in one ASGI application (uvicorn)."""

from __future__ import annotations

import asyncio
import gc
import os
from functools import partial
from typing import Any

import django
from asgiref.sync import sync_to_async
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import WebsocketDenier
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import response_for_exception
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import re_path

# What is read from here on stays: nothing of it is garbage, now or later, and to look through it
# again and again would cost answers a good part of their speed.
_collecting = gc.isenabled()
gc.disable()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
django.setup(set_prefix=False)


class Handler(ASGIHandler):
    """Makes pages of errors in the thread of their request.

    Django makes them in a thread that belongs to no request: the connection that such a page asks
    the database with is never given back, so a handful of 404s takes the pool from all others, and
    one that broke stays broken.
    """

    async def _get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        try:
            answer: HttpResponseBase = await super()._get_response_async(request)  # type: ignore[misc]
            return answer
        except Exception as error:
            return await sync_to_async(response_for_exception)(request, error)

    async def run_get_response(self, request: HttpRequest) -> HttpResponseBase:
        """What is sent in more than one piece waits for its reader or for news, but keeps no
        connection to the database meanwhile: there are a handful.
        """
        answer: HttpResponseBase = await super().run_get_response(request)
        if not isinstance(answer, HttpResponse) or len(answer.content) > self.chunk_size:
            await sync_to_async(close_old_connections)()
        return answer


http: Any = Handler()

from accounts.sockets import signed  # noqa: E402  (models need a configured Django)
from inference.hub import CHORES  # noqa: E402
from inference.lifespan import lifespan  # noqa: E402
from inference.openai.app import PREFIX, relay  # noqa: E402
from inference.openai.reply import Receive, Scope, Send  # noqa: E402
from marketplace import bodies, components, presence, traffic  # noqa: E402
from marketplace import urls as urls  # noqa: E402  (all pages: else the first visitor waits for them)
from marketplace.assets import Assets  # noqa: E402
from marketplace.languages import Spoken  # noqa: E402
from marketplace.origins import Guarded  # noqa: E402
from marketplace.relayed import Tagged  # noqa: E402
from marketplace.routing import websocket_urlpatterns  # noqa: E402

for chore in (presence.tell, traffic.tell):
    if chore not in CHORES:
        CHORES.append(chore)


tagged = Tagged(relay)


async def web(scope: Scope, receive: Receive, send: Send) -> None:
    """The relay stands beside Django: its streams pass no middleware."""
    if f"{scope['path']}/".startswith(PREFIX):  # also without what comes behind it
        await tagged(scope, receive, send)
        return
    limit = bodies.most(scope["path"])
    over = bodies.declared(scope) > limit
    if not over:
        bounded = bodies.Bounded(receive, limit)
        await http(scope, bounded, send)
        over = bounded.over  # Django left without a word
    if over:
        if scope["path"].startswith("/api/"):
            answer = partial(bodies.refuse, limit=limit)
        else:  # told by a page, which a middleware makes
            answer = partial(http, {**scope, "too_large": limit}, bodies.unread())
        await bodies.heard_out(receive, send, answer)


async def living(scope: Scope, receive: Receive, send: Send) -> None:
    """While the process lives it looks at the site's parts."""
    watching = asyncio.create_task(components.keep_watch())
    try:
        await lifespan(scope, receive, send)
    finally:
        watching.cancel()


#: A path that no socket has is refused (403); alone, the router would raise, a traceback each time.
sockets = URLRouter([*websocket_urlpatterns, re_path("", WebsocketDenier.as_asgi())])
application = ProtocolTypeRouter(
    {
        "http": Assets(web),
        "lifespan": living,
        "websocket": presence.Counted(Guarded(Spoken(signed(sockets)))),
    }
)
gc.freeze()
if _collecting:
    gc.enable()
