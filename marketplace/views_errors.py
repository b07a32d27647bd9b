"""Pages for what went wrong: what happened, what it means, what to do, and the request id.

A page's script is told the same as a problem document, in words that it can show. Paths under
`/api/` answer with their own (`marketplace.problems`).
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import Resolver404, resolve
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from redis.exceptions import RedisError

from accounts.errors import Problem
from accounts.http import NotSignedIn, own_form, own_path, typed
from accounts.models import User
from accounts.pages_parts import SignedOut
from accounts.pages_transaction import Link
from accounts.problems import problem
from accounts.roles import RoleNeeded
from marketplace import pages, problems

log = logging.getLogger(__name__)

_TEXTS = {
    400: (
        gettext_noop("The request could not be understood"),
        gettext_noop("Something in it is malformed. Nothing was changed."),
    ),
    403: (
        gettext_noop("You have no access to this page"),
        gettext_noop("Sign in with the wallet it belongs to, then open the page again."),
    ),
    404: (
        gettext_noop("There is nothing at this address"),
        gettext_noop(
            "The link may be old, or the address was mistyped. Services that were removed stay "
            "reachable."
        ),
    ),
    405: (
        gettext_noop("This page does not take that kind of request"),
        gettext_noop("Nothing was changed."),
    ),
    413: (
        gettext_noop("This is too much at once"),
        gettext_noop("Nothing was changed. Go back, and send less of it."),
    ),
    429: (
        gettext_noop("Too many requests"),
        gettext_noop("This site answers only so many requests from one visitor at a time."),
    ),
    500: (
        gettext_noop("This page failed on our side"),
        gettext_noop(
            "Your money and your account are not affected: they live on the chain. We have a "
            "record of the failure."
        ),
    ),
    503: (
        gettext_noop("This part is not available right now"),
        gettext_noop("It usually returns within a minute."),
    ),
}
#: What was lost may be the answer alone: a commit whose word did not come, news of what was stored.
_SENT = gettext_noop(
    "What you sent may have been done all the same: look before you send it again."
)

# What stands when even rendering fails; no template, no database.
_LAST_RESORT = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Failure</title>"
    "<h1>This page failed on our side</h1><p>Request id {}</p>"
)


#: What programs read, most of which accept anything.
_FILES = (".atom", ".csv", ".json")


def for_script(request: HttpRequest) -> bool:
    """Whether a page's script asked, which reads JSON and shows its sentences, or a program for a
    file beside a page; who opens that in a browser reads a page."""
    if request.path.startswith("/api/"):
        return False
    if request.path.endswith(_FILES):
        return "text/html" not in request.headers.get("Accept", "")
    return request.accepts("application/json") and not request.accepts("text/html")


def error(
    request: HttpRequest,
    status: int,
    text: str = "",
    retry_seconds: int | None = None,
    *,
    sign_in: bool = False,
    title: str = "",
    links: tuple[Link, ...] = (),
) -> HttpResponse:
    """The error page of a status; `title` and `text` replace its own, `retry_seconds` becomes
    `Retry-After`, `sign_in` offers the door of the staff, `links` lead to what says more."""
    usual, explanation = _TEXTS.get(status) or _TEXTS[500 if status >= 500 else 400]
    title, said = title or _(usual), text or _(explanation)
    if for_script(request):
        code = problems.code_of(status)
        response = problem(request, Problem(code, f"{title}.", said, status=status))
    else:
        # What may pass can be sent again, as it was typed.
        again = _again(request, "") if status in (429, 503) and own_form(request) else None
        page = pages.ErrorPage(status, title, said, retry_seconds, again, sign_in, links)
        seen = {"page": page, "failed": status >= 500}
        body = render_to_string("marketplace/error.html", seen, request)
        response = HttpResponse(body, status=status)
        if again is not None:
            response["Cache-Control"] = "no-store"
    patch_vary_headers(response, ["Accept"])
    if retry_seconds is not None:
        response["Retry-After"] = str(retry_seconds)
    return response


def above(path: str) -> tuple[Link, ...]:
    """The nearest page above an address that only forms are sent to, to go on from there."""
    parts = path.strip("/").split("/")
    for end in range(len(parts) - 1, 0, -1):
        page = "/" + "/".join(parts[:end])
        try:
            resolve(page)
        except Resolver404:
            continue
        return (Link(_("Open the page that this belongs to"), page),)
    return ()


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        return too_large(request, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
    return error(request, 400)


def too_large(request: HttpRequest, most: int) -> HttpResponse:
    """More than the `most` bytes that are taken."""
    said = _("Up to %(n)s MB at once.") % {"n": most >> 20}
    here, came = f"{request.scheme}://{request.get_host()}", request.headers.get("Referer", "")
    form = own_path(request, came.removeprefix(here), "") if came.startswith(here) else ""
    links = (Link(_("Go back"), form),) if form else ()
    return error(request, 413, f"{said} {_(_TEXTS[413][1])}", links=links)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RoleNeeded) and _lost_its_session(request):
        return _kept(request, _(_SIGNED_OUT), _(_SIGN_IN))
    return error(request, 403, str(exception), sign_in=isinstance(exception, RoleNeeded))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Expired form or foreign origin: the usual cause is a page left open over a sign-in. What was
    typed into a page of ours is kept, and sent again where the person says so.
    """
    if own_form(request):
        return _kept(
            request,
            _("This form was older than your sign-in"),
            _("It was not accepted, and nothing was changed. What you typed is kept."),
        )
    if "X-CSRFToken" in request.headers and "HX-Request" not in request.headers:
        title = _("This page is older than your sign-in, so nothing was done.")
        fix = _("Copy what you typed, and reload the page.")
        return problem(request, Problem("page_too_old", title, fix, status=403))
    return error(
        request,
        403,
        _(
            "The form was older than your session, so it was not accepted. Reload the page and "
            "try again."
        ),
    )


_SIGNED_OUT = gettext_noop("Your session is over")
_SIGN_IN = gettext_noop(
    "Sign in, then send the form again. Nothing was changed, and what you typed is kept."
)


def _lost_its_session(request: HttpRequest) -> bool:
    """Whether somebody who is not signed in sent a form that only a session may have shown."""
    return not isinstance(request.user, User) and own_form(request)


def _kept(request: HttpRequest, title: str, text: str) -> HttpResponse:
    """The page of a form that was refused for its age alone: what was typed, to be sent again."""
    sender = request.user.address if isinstance(request.user, User) else ""
    page = pages.ErrorPage(403, title, text, again=_again(request, sender))
    body = render_to_string("marketplace/error.html", {"page": page}, request)
    return HttpResponse(body, status=403, headers={"Cache-Control": "no-store"})


def _again(request: HttpRequest, sender: str) -> pages.Again:
    return pages.Again(sender, request.get_full_path(), typed(request))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, NotSignedIn):
        if _lost_its_session(request):
            return _kept(request, _(_SIGNED_OUT), _(_SIGN_IN))
        if request.method == "POST" and for_script(request):
            return error(request, 404, _(_SIGN_IN), title=_(_SIGNED_OUT))
        if request.method == "GET" and _read_as_page(request):
            # Whether it is there is told to nobody else; who comes back to their own may sign in.
            page = SignedOut(_("Sign in to see this"))
            answer = render(request, "accounts/signed_out.html", {"page": page}, status=404)
            patch_vary_headers(answer, ["Accept", "HX-Request"])
            return answer
    said = exception.args[0] if isinstance(exception, Http404) and exception.args else ""
    # A resolver's 404 carries a debug structure, get_object_or_404 and some of ours a note for
    # programmers; readers get whole sentences, which are translated where they are raised.
    told = isinstance(said, str) and said.endswith(".") and not said.endswith("given query.")
    return error(request, 404, said if told else "")


def _read_as_page(request: HttpRequest) -> bool:
    """Whether the answer is a page of its own in a browser: no part of one, no file."""
    asked = request.accepts("text/html") and not for_script(request)
    return asked and "HX-Request" not in request.headers


def too_many_requests(request: HttpRequest, retry_seconds: int) -> HttpResponse:
    return error(request, 429, retry_seconds=retry_seconds)


#: PostgreSQL's word for a disk without room.
_DISK_FULL = "53100"
_AWAY_SECONDS = 10


def database_away(request: HttpRequest, failure: Exception) -> HttpResponse:
    """The database is away for a moment, or takes nothing more: a page says so, and when to come
    back."""
    if getattr(failure.__cause__, "sqlstate", "") != _DISK_FULL:
        request.database_away = True  # type: ignore[attr-defined]  # its page asks it nothing
        return _away(request, _("The database does not answer just now."))
    text = _(
        "This site has run out of room, so nothing was changed. Reading still works; "
        "whoever hosts it has to make room."
    )
    return error(request, 503, text, retry_seconds=_AWAY_SECONDS)


def _away(request: HttpRequest, *said: str) -> HttpResponse:
    text = _told(request, *said, _(_TEXTS[503][1]))
    return error(request, 503, text, retry_seconds=_AWAY_SECONDS)


def _told(request: HttpRequest, *said: str) -> str:
    """These sentences, and to whoever sent something that it may have been done."""
    sent = request.method not in ("GET", "HEAD")
    return " ".join([*said, _(_SENT)] if sent else said)


def server_error(request: HttpRequest, *args: Any) -> HttpResponse:
    failure = sys.exc_info()[1]
    try:
        if isinstance(failure, InterfaceError | OperationalError):
            return database_away(request, failure)
        if isinstance(failure, RedisError):
            return _away(request)
        return error(request, 500, _told(request, _(_TEXTS[500][1])))
    except Exception:  # the outermost frame: an error page must not fail (architecture.md 4-D)
        log.exception(
            "the error page failed", extra={"request_id": getattr(request, "request_id", "")}
        )
        return HttpResponse(_LAST_RESORT.format(getattr(request, "request_id", "")), status=500)
