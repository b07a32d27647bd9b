"""The language somebody reads: their choice (a cookie), else what their browser asks for.

Pages only. What programs read (API, feeds, files, metrics) and `/admin/` is English for everybody,
so that it is one text for all caches and all readers (docs/decisions/0018).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, parse_cookie
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.decorators import sync_only_middleware
from django.utils.translation.trans_real import parse_accept_lang_header

Scope = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]

#: English whatever anybody asks for: doors of programs, and files.
_PROGRAMS = re.compile(
    r"/(api/(?!docs$)|admin(/|$)|metrics$|healthz$|readyz$|og/|badge/|\.well-known/)"
    r"|(?!/models/).*\.(json|csv|atom|xml|txt|md|png|svg)$"
)
#: Nobody needs more; parsing is cached by the whole text, which a stranger writes.
_LONGEST = 200


def of(path: str, cookies: Mapping[str, str], accepted: str) -> str:
    """The code of one of `settings.LANGUAGES` for a request to `path`."""
    return settings.LANGUAGE_CODE if _PROGRAMS.match(path) else _chosen(cookies, accepted)


def _chosen(cookies: Mapping[str, str], accepted: str) -> str:
    known = dict(settings.LANGUAGES)
    chosen = cookies.get(settings.LANGUAGE_COOKIE_NAME, "")
    if chosen in known:
        return chosen
    for code, weight in parse_accept_lang_header(accepted[:_LONGEST]):
        if weight and (language := code.partition("-")[0]) in known:
            return language
    return settings.LANGUAGE_CODE


def _asked(request: HttpRequest) -> str:
    """The language of a page's reader; empty for what programs read."""
    if _PROGRAMS.match(request.path_info):
        return ""
    return _chosen(request.COOKIES, request.headers.get("Accept-Language", ""))


def _told(response: HttpResponse, language: str) -> HttpResponse:
    if language:
        response.headers.setdefault("Content-Language", language)
        patch_vary_headers(response, ("Accept-Language", "Cookie"))
    return response


@sync_only_middleware
def spoken(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Answers a page in its reader's language, and tells caches what that depends on."""

    def middleware(request: HttpRequest) -> HttpResponse:
        language = _asked(request)
        with translation.override(language or settings.LANGUAGE_CODE):
            return _told(get_response(request), language)

    return middleware


class Spoken:
    """The same for a websocket, as an ASGI layer: the consumer inside runs in the language."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        headers = {key.lower(): value.decode("latin-1") for key, value in scope["headers"]}
        # As Django reads them: Python's own reader stops at the first cookie that it cannot read.
        cookies = parse_cookie(headers.get(b"cookie", ""))
        with translation.override(of(scope["path"], cookies, headers.get(b"accept-language", ""))):
            await self.application(scope, receive, send)
