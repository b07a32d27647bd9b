"""The operator's doors: see, pause, resume, settle, count."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from hmac import compare_digest
from urllib.parse import parse_qs

from prometheus_client.exposition import CONTENT_TYPE_LATEST

from provider.admin import page
from provider.admin.guard import COOKIE, SESSION_SECONDS, Guard
from provider.admin.status import Status
from provider.errors import Refused
from provider.http import Answer, Receive, Request, Scope, Send, answered
from provider.metrics import Metrics
from provider.settle import Settler
from provider.switch import Switch

MAX_FORM_BYTES = 4096
HTML = "text/html; charset=utf-8"

log = logging.getLogger("provider.admin")


class AdminApp:
    """The ASGI application; `status` gathers what is shown and may block for a moment."""

    def __init__(
        self,
        guard: Guard,
        *,
        metrics: Metrics,
        switch: Switch,
        settler: Settler,
        status: Callable[[], Status],
    ) -> None:
        self._guard = guard
        self._metrics = metrics
        self._switch = switch
        self._settler = settler
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        answer = Answer(send, {"x-content-type-options": "nosniff", **page.HEADERS})
        await answered(request, answer, self._route(request, answer), log)

    async def _route(self, request: Request, answer: Answer) -> None:
        self._guard.near(request)
        door = (request.method, request.path)
        if door == ("GET", "/metrics"):
            await answer.whole(200, self._metrics.text(), CONTENT_TYPE_LATEST)
        elif door == ("GET", "/style.css"):
            await answer.whole(200, page.STYLE.encode(), "text/css; charset=utf-8")
        elif door == ("GET", "/"):
            await self._page(request, answer)
        elif door == ("GET", "/status.json"):
            await self._json(request, answer)
        elif door == ("POST", "/login"):
            await self._login(request, answer)
        elif door in (("POST", f"/{x}") for x in ("pause", "resume", "settle", "logout")):
            await self._order(request, answer)
        else:
            await answer.not_found()

    async def _page(self, request: Request, answer: Answer) -> None:
        secret = self._guard.form_secret(request)
        if not secret:
            await answer.whole(200, page.login(), HTML)
            return
        status = await asyncio.to_thread(self._status)
        await answer.whole(200, page.shown(status, secret), HTML)

    async def _json(self, request: Request, answer: Answer) -> None:
        if not self._guard.form_secret(request) and not self._guard.bearer(request):
            raise Refused(401, "give the token: Authorization: Bearer …")
        status = await asyncio.to_thread(self._status)
        await answer.json(200, status.document())

    async def _login(self, request: Request, answer: Answer) -> None:
        self._guard.own(request)
        if not self._guard.knows((await _form(request)).get("token", "").strip()):
            await answer.whole(403, page.login("That is not the token."), HTML)
            return
        cookie = f"{COOKIE}={self._guard.session()}; HttpOnly; SameSite=Strict; Path=/"
        await _home(answer, f"{cookie}; Max-Age={SESSION_SECONDS}")

    async def _order(self, request: Request, answer: Answer) -> None:
        """Something that changes the broker: by a form of our page, or with the token itself."""
        by_token = self._guard.bearer(request)
        if not by_token:
            self._guard.own(request)
            secret = self._guard.form_secret(request)
            given = (await _form(request)).get("secret", "")
            if not secret or not compare_digest(secret.encode(), given.encode()):
                raise Refused(403, "sign in again: the form is not of this session")
        order = request.path[1:]
        if order == "logout":
            await _home(answer, f"{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0")
            return
        log.warning("the operator says: %s", order)
        if order == "settle":
            self._settler.settle_soon()
        else:
            await asyncio.to_thread(self._switch.set, order == "pause")
        if by_token:
            await answer.json(200, {"paused": self._switch.paused})
        else:
            await _home(answer)


async def _form(request: Request) -> dict[str, str]:
    raw = await request.body(MAX_FORM_BYTES, "the form is too large")
    return {name: values[-1] for name, values in parse_qs(raw.decode("utf-8", "replace")).items()}


async def _home(answer: Answer, cookie: str = "") -> None:
    headers = {"location": "/", **({"set-cookie": cookie} if cookie else {})}
    await answer.whole(303, b"", "text/plain", headers)
