"""Cross-cutting request behaviour."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

_GIVEN = re.compile(r"[A-Za-z0-9_-]{8,64}")

type_sync = Callable[[HttpRequest], HttpResponse]
type_async = Callable[[HttpRequest], Awaitable[HttpResponse]]


def _tag(request: HttpRequest) -> str:
    """The caller's X-Request-ID where it is harmless, else a fresh one; error pages and problem
    documents show it."""
    given = request.headers.get("X-Request-ID", "")
    identifier = given if _GIVEN.fullmatch(given) else secrets.token_hex(8)
    request.request_id = identifier  # type: ignore[attr-defined]
    return identifier


@sync_and_async_middleware
def request_id(get_response: type_sync | type_async) -> type_sync | type_async:
    """Give every request an id, returned as `X-Request-ID`."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponse:
            identifier = _tag(request)
            response: HttpResponse = await get_response(request)
            response["X-Request-ID"] = identifier
            return response

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponse:
        identifier = _tag(request)
        response: HttpResponse = get_response(request)  # type: ignore[assignment]
        response["X-Request-ID"] = identifier
        return response

    return synchronous
