"""What every request under `/api/` passes: rate limit, CORS, revalidation, and errors that are
always problem documents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.decorators import sync_only_middleware

from accounts.limits import address
from marketplace import limits, problems

Door = Callable[[HttpRequest], HttpResponse]

#: Anybody may read from any page (CORS `*`). A preview only reads too, though it is a POST.
PREVIEW = "/api/v1/transactions/preview"
EXPOSED = (
    "ETag, Last-Modified, RateLimit, RateLimit-Policy, RateLimit-Limit, RateLimit-Remaining, "
    "RateLimit-Reset, Retry-After, X-Request-ID"
)


def _ours(request: HttpRequest) -> bool:
    """The docs page is HTML for people and has the site's own error pages."""
    return request.path.startswith("/api/") and not request.path.startswith("/api/docs")


def _decide(request: HttpRequest) -> limits.Decision:
    return limits.take(limits.API, address(request), _cost(request.path))


def _cost(path: str) -> int:
    if path == PREVIEW:
        return limits.PREVIEW_COST
    return limits.CSV_COST if path.endswith((".csv", "/bundle")) else 1


def _before(request: HttpRequest, decision: limits.Decision) -> HttpResponse | None:
    if not decision.allowed:
        detail = (
            f"Wait {max(1, decision.retry_s)} seconds: {decision.limit.per_minute} units flow back "
            f"in a minute, and this request costs {_cost(request.path)}."
        )
        return problems.document(request, problems.Problem("rate_limited", detail))
    if request.method == "OPTIONS":
        response = HttpResponse(status=204)
        methods = "POST" if request.path == PREVIEW else "GET, HEAD"
        response["Access-Control-Allow-Methods"] = f"{methods}, OPTIONS"
        response["Access-Control-Allow-Headers"] = "Content-Type, If-None-Match, X-Request-ID"
        response["Access-Control-Max-Age"] = "86400"
        response["Access-Control-Allow-Origin"] = "*"
        return response
    if request.method == "HEAD":
        # The same answer as GET; the server leaves out the body.
        request.method = "GET"
    return None


def _revalidated(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """An answer without an ETag of its own gets one made of its bytes; a caller who has it gets
    an empty 304.
    """
    if response.streaming:
        return response
    if "ETag" not in response.headers:
        response["ETag"] = f'W/"{hashlib.sha256(response.content).hexdigest()[:24]}"'
    response.headers.setdefault("Cache-Control", "no-cache")
    found: HttpResponse | None = get_conditional_response(
        request, etag=response["ETag"], response=response
    )
    return found if found is not None else response


def _after(request: HttpRequest, response: HttpResponse, decision: limits.Decision) -> HttpResponse:
    if response.status_code >= 400 and not problems.is_problem(response):
        response = problems.of_status(request, response.status_code, response.headers)
    if request.method == "GET" and response.status_code == 200:
        response = _revalidated(request, response)
    for name, value in decision.headers.items():
        response.headers.setdefault(name, value)
    if request.method == "GET" or request.path == PREVIEW:
        response["Access-Control-Allow-Origin"] = "*"
        response["Access-Control-Expose-Headers"] = EXPOSED
        # A program's answer is for programs: a browser that opens it must not guess a type.
        response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


@sync_only_middleware
def api_gate(get_response: Door) -> Door:
    """Stands right behind the request id: even a refused Host becomes a problem document."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not _ours(request):
            return get_response(request)
        decision = _decide(request)
        early = _before(request, decision)
        return _after(request, early or get_response(request), decision)

    return middleware
