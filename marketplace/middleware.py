"""Cross-cutting request behaviour."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.cache import patch_vary_headers
from django.utils.decorators import sync_only_middleware

from accounts.errors import NodeError, Problem, TooMany
from accounts.pages_parts import PastTheEnd
from accounts.problems import of_node, problem
from marketplace import logs, traffic, views_errors
from probes import exchange

_GIVEN = re.compile(r"[A-Za-z0-9_-]{8,64}")

type_sync = Callable[[HttpRequest], HttpResponse]


def identifier_of(given: str) -> str:
    """The caller's X-Request-ID where it is harmless, else a fresh one; from here on it stands on
    each line of the log."""
    identifier = given if _GIVEN.fullmatch(given) else secrets.token_hex(8)
    logs.current.set(identifier)
    return identifier


def _tag(request: HttpRequest) -> str:
    """The id that error pages and problem documents show."""
    identifier = identifier_of(request.headers.get("X-Request-ID", ""))
    request.request_id = identifier  # type: ignore[attr-defined]
    return identifier


def _said(request: HttpRequest, response: HttpResponse, began: float) -> None:
    """Counted, and one line per request where those are wanted: the route's pattern, because paths
    name people's addresses and queries what they look for."""
    traffic.count(request.path, response.status_code, began)
    if logs.requests.isEnabledFor(logging.INFO):
        route = getattr(request.resolver_match, "route", "") if request.resolver_match else ""
        logs.requests.info(
            "%s %s %s",
            *(request.method, f"/{route}" if request.resolver_match else "-", response.status_code),
            extra={
                "status": response.status_code,
                "milliseconds": round((time.perf_counter() - began) * 1000, 1),
            },
        )


@sync_only_middleware
def request_id(get_response: type_sync) -> type_sync:
    """Give every request an id, returned as `X-Request-ID` and put on each line of the log."""

    def middleware(request: HttpRequest) -> HttpResponse:
        identifier, began = _tag(request), time.perf_counter()
        response = get_response(request)
        response["X-Request-ID"] = identifier
        _said(request, response, began)
        return response

    return middleware


#: What no page needs. The one that records speech allows itself the microphone.
PERMISSIONS = "camera=(), display-capture=(), geolocation=(), microphone=()"


@sync_only_middleware
def permissions(get_response: type_sync) -> type_sync:
    """Switch off what a browser could be asked for, unless the page said otherwise."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        return response

    return middleware


class Sessions(SessionMiddleware):
    """Sessions whose cookie goes only with the request that ended them, and whose pages no shared
    cache may keep: whoever is signed in has their wallet in the header, and a position on some.
    Nor may it keep a page that brings a cookie: the key to everybody's forms is in both.

    Whoever signs in as another account gets a new session, and the page of before may still be
    asking for something with the old one. Django's answer to that would take the cookie away, which
    is the new one by then, and nobody would be signed in.
    """

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        gone = not request.session.modified
        answer: HttpResponse = super().process_response(request, response)
        if gone and request.session.is_empty():
            answer.cookies.pop(settings.SESSION_COOKIE_NAME, None)
        if answer.cookies or (request.session.accessed and not request.session.is_empty()):
            answer.headers.setdefault("Cache-Control", "private, no-cache")
        return answer


@sync_only_middleware
def designed_errors(get_response: type_sync) -> type_sync:
    """Pages for a method that a page does not take, and for what a page raised instead of
    answering: a rate limit, a silent chain. Stands next to the views; programs get theirs from
    their own doors.

    Being the innermost, it makes all others run in the one thread of the request. Static files need
    that thread anyway; with an asynchronous middleware inside, each step of Django's own would
    leave it and come back (2 ms of every request, tests/db/test_page_errors.py).
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if isinstance(request, ASGIRequest) and "too_large" in request.scope:  # of `asgi.web`
            page = views_errors.too_large(request, request.scope["too_large"])
            page["Connection"] = "close"  # the body is not read
            return page
        response = get_response(request)
        for_people = request.accepts("text/html") and not request.path.startswith("/api/")
        if response.status_code != 405 or response.content or not for_people:
            return response
        page = views_errors.error(request, 405, links=views_errors.above(request.path))
        page["Allow"] = response.headers["Allow"]
        return page

    middleware.process_exception = _page_of  # type: ignore[attr-defined]
    return middleware


@sync_only_middleware
def dollars(get_response: type_sync) -> type_sync:
    """Amounts in US dollars beside those in 0G, where the host has a source of the price
    (`probes.exchange`), unless the reader switched them off in the footer (`static/js/dollars.js`).
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        with exchange.wanted(request.COOKIES.get("dollars") != "off"):
            return get_response(request)

    return middleware


def _page_of(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    """The page of an expected refusal; None for everything else, which is a failure."""
    if isinstance(exception, PastTheEnd):
        return HttpResponseRedirect(exception.path)
    if isinstance(exception, NodeError):
        exception = of_node(exception, looking=request.method in ("GET", "HEAD"))
    if isinstance(exception, Problem) and views_errors.for_script(request):
        answer = problem(request, exception)
        patch_vary_headers(answer, ["Accept"])
        return answer
    if isinstance(exception, TooMany):
        page = views_errors.too_many_requests(request, exception.retry_after)
        for name, value in exception.headers.items():
            page[name] = value
        return page
    if isinstance(exception, Problem):
        return views_errors.error(request, exception.status, exception.said)
    return None
