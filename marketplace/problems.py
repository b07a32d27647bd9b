"""Problem documents (RFC 9457): the one shape of every error under `/api/`.

Fields as interfaces.md fixes them: `type, title, status, detail, code, request_id`; refused
parameters add `errors` (`[{"field", "message", "code"}]`). `type` points to the explanation of
the code on `/api/docs`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from accounts.codes import CODES, explained

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
#: What every 401 has to say (RFC 9110, 15.5.2): how one proves who one is.
CHALLENGE = {"WWW-Authenticate": "Bearer"}
_BY_STATUS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    422: "invalid_parameter",
    429: "rate_limited",
    503: "unavailable",
}


@dataclass
class Problem(Exception):
    """Raise it anywhere below an API door; `code` is a key of `CODES`."""

    code: str
    detail: str
    errors: Sequence[Mapping[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


def not_found(what: str) -> Problem:
    return Problem("not_found", f"{what} is not known here.")


def document(request: HttpRequest, problem: Problem, status: int = 0) -> HttpResponse:
    """The response of a problem; `status` overrides the code's own (for statuses we have no code
    for).
    """
    known = CODES[problem.code]
    body: dict[str, Any] = {
        "type": explained(known.code),
        "title": known.title,
        "status": status or known.status,
        "detail": problem.detail,
        "code": known.code,
        "request_id": getattr(request, "request_id", ""),
    }
    if problem.errors:
        body["errors"] = [dict(error) for error in problem.errors]
    response = HttpResponse(
        orjson.dumps(body), content_type=CONTENT_TYPE, status=status or known.status
    )
    response["Cache-Control"] = "no-store"
    for name, value in problem.headers.items():
        response[name] = value
    return response


def code_of(status: int) -> str:
    """The code that says of an error no more than its status does."""
    return _BY_STATUS.get(status, "internal_error" if status >= 500 else "bad_request")


def of_status(request: HttpRequest, status: int, headers: Mapping[str, str]) -> HttpResponse:
    """The problem document of an error that something else answered in its own words."""
    code = code_of(status)
    detail = CODES[code].meaning
    kept = {name: headers[name] for name in ("Allow", "Retry-After") if name in headers}
    if kept.get("Allow") == "GET":
        kept["Allow"] = "GET, HEAD"  # the gate answers HEAD as it does GET
    if status == HTTPStatus.NOT_FOUND:
        detail = "There is nothing under this path; /api/docs lists what there is."
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not allowed here; allowed: {kept.get('Allow', 'GET, HEAD')}."
    if status == HTTPStatus.UNAUTHORIZED:
        detail = f"Send a personal access token; {settings.SITE_URL}/account/keys makes one."
        kept |= CHALLENGE
    return document(request, Problem(code, detail, headers=kept), status)


def is_problem(response: HttpResponse) -> bool:
    return str(response.headers.get("Content-Type", "")).startswith(CONTENT_TYPE)


def install(api: NinjaAPI) -> None:
    """Answer everything that can go wrong in `api` with a problem document."""
    handlers: dict[type[Exception], Callable[..., HttpResponse]] = {
        Problem: _problem,
        ValidationError: _validation,
        HttpError: _http_error,
        Http404: _missing,
        DatabaseError: _store_down,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def _problem(request: HttpRequest, error: Problem) -> HttpResponse:
    return document(request, error)


def _validation(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Each refused parameter by name; what was sent is not repeated (it may be hostile or huge)."""
    errors = [
        {
            "field": _field(entry),
            "message": str(entry.get("msg", "invalid")),
            "code": str(entry.get("type", "invalid")),
        }
        for entry in error.errors
    ]
    codes = [entry["code"] for entry in errors]
    code = next((one for one in codes if one in CODES), "invalid_parameter")
    detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in errors)
    return document(request, Problem(code, detail, errors))


def _field(entry: Mapping[str, Any]) -> str:
    """The parameter that is meant: what a rule about several names itself (`ctx`), or the innermost
    name of the place; within a repeated parameter the place ends with a number.
    """
    named = entry.get("ctx", {}).get("field")
    names = [part for part in entry.get("loc", ()) if isinstance(part, str)]
    return str(named or (names[-1] if names else ""))


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    return of_status(request, error.status_code, {})


def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
    return of_status(request, HTTPStatus.NOT_FOUND, {})


def _store_down(request: HttpRequest, error: DatabaseError) -> HttpResponse:
    log.error("database error in the API", exc_info=error)
    return document(
        request,
        Problem(
            "unavailable", "The database does not answer right now.", headers={"Retry-After": "5"}
        ),
    )


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("unexpected error in the API", exc_info=error)
    return document(request, Problem("internal_error", CODES["internal_error"].meaning))
