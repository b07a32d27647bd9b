"""Answers for programs and page scripts: JSON in, JSON or a problem document (RFC 9457) out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import orjson
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from accounts.codes import explained
from accounts.errors import NodeError, Problem, TooMany, WrongChain

MAX_BODY_BYTES = 64 * 1024
Door = Callable[..., HttpResponse]
Answer = TypeVar("Answer", bound=HttpResponseBase)


def answer(body: dict[str, Any], *, status: int = 200) -> HttpResponse:
    response = HttpResponse(orjson.dumps(body), content_type="application/json", status=status)
    response["Cache-Control"] = "no-store"
    return response


def problem(request: HttpRequest, error: Problem) -> HttpResponse:
    """The problem document of a refusal; `fix` and `arguments` are extension members, left out
    where there is nothing to say. `about:blank` would promise the status's own phrase as the title
    (RFC 9457, 4.2.1).
    """
    body: dict[str, Any] = {
        "type": explained(error.code),
        "title": error.title,
        "status": error.status,
        "detail": error.said,
        "code": error.code,
        **({"fix": error.fix} if error.fix else {}),
        "request_id": getattr(request, "request_id", ""),
    }
    arguments = getattr(error, "arguments", ())
    if arguments:
        body["arguments"] = [str(argument) for argument in arguments]
    response = HttpResponse(
        orjson.dumps(body), content_type="application/problem+json", status=error.status
    )
    response["Cache-Control"] = "no-store"
    if isinstance(error, TooMany):
        for name, value in error.headers.items():
            response[name] = value
    return response


def of_node(error: NodeError, *, looking: bool = False) -> Problem:
    """What a person needs to know when the chain node is the trouble; `looking`: they were about
    to send nothing, and may have come for what they sent."""
    if isinstance(error, WrongChain):
        return Problem(
            "wrong_chain", str(error), _("The operator has to fix CHAIN_RPC_URLS."), status=503
        )
    said = _("The chain does not answer right now, so this cannot be checked. Nothing was sent.")
    if looking:
        said = _(
            "The chain does not answer right now, so nothing can be looked up there. What was "
            "sent before is not affected."
        )
    return Problem("chain_unreachable", said, _("Try again in a minute."), status=503)


def json_door(view: Callable[..., Answer]) -> Callable[..., Answer | HttpResponse]:
    """Turn what `accounts` raises into problem documents."""

    @wraps(view)
    def door(request: HttpRequest, *args: Any, **kwargs: Any) -> Answer | HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Problem as error:
            return problem(request, error)
        except NodeError as error:
            return problem(request, of_node(error))

    return door


def body_of(request: HttpRequest) -> dict[str, Any]:
    """The JSON object of a request. Raises Problem for anything else."""
    try:
        too_large = len(request.body) > MAX_BODY_BYTES
    except RequestDataTooBig:
        too_large = True
    if too_large:
        raise Problem("body_too_large", "The request is larger than 64 KB.", status=413)
    try:
        body = orjson.loads(request.body or b"{}")
    except orjson.JSONDecodeError:
        raise Problem("malformed_json", "The request is not JSON.") from None
    if not isinstance(body, dict):
        raise Problem("malformed_json", "The request is not a JSON object.")
    return body


def text_of(body: dict[str, Any], name: str, *, limit: int = 200) -> str:
    """A required string of a JSON body. Raises Problem."""
    value = body.get(name)
    if not isinstance(value, str) or not value or len(value) > limit:
        raise Problem("invalid_request", f"`{name}` must be a text of 1 to {limit} characters.")
    return value


def signed_in(view: Door) -> Door:
    """Only for people with a session; otherwise a problem document, never a redirect to a page."""

    @wraps(view)
    def door(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return problem(
                request,
                Problem(
                    "signed_out",
                    _("You are not signed in."),
                    _("Connect your wallet and sign in."),
                    status=401,
                ),
            )
        return view(request, *args, **kwargs)

    return door
