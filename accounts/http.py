"""Requests with a known person, and what a page says to everybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import limits, pages_parts, sessions
from accounts.errors import Problem
from accounts.models import User
from ledger.selectors import MAX_PAGE
from protocol import keys


class NotSignedIn(Http404):
    """A door to one's own things, without a session. A form that a page of ours sent there is kept
    and can be sent again (`marketplace.views_errors`)."""


def user_of(request: HttpRequest) -> User:
    """The signed-in user; a door without one shows no private thing (404)."""
    if not isinstance(request.user, User):
        raise NotSignedIn("not signed in")
    sessions.seen(request)
    return request.user


def signed_out(request: HttpRequest, title: str) -> HttpResponse:
    """The page for somebody without a session. Raises NotSignedIn for a form of ours."""
    if own_form(request):
        raise NotSignedIn("not signed in")
    return render(request, "accounts/signed_out.html", {"page": pages_parts.SignedOut(title)})


def unless_fresh(request: HttpRequest, title: str, back: str = "/account") -> HttpResponse | None:
    """The page that asks for a fresh signature of the wallet, with a way `back`; None where there
    is one. A form that was sent is sent once more after it, as it was typed."""
    try:
        sessions.require_fresh(request)
    except Problem as problem:
        page = pages_parts.StepUp(title, problem.title, back)
        return render(request, "accounts/step_up.html", {"page": page}, status=problem.status)
    return None


def taker(
    request: HttpRequest, title: str, back: str = "/account/transactions"
) -> User | HttpResponse:
    """The person who may take a file away now (features.md F8), or the page that says what is
    missing, with a way `back`. Raises TooMany.
    """
    if not request.user.is_authenticated:
        return signed_out(request, title)
    user = user_of(request)
    if (asked := unless_fresh(request, title, back)) is not None:
        return asked
    limits.spend("exports", user.address, limit=20, seconds=60)
    return user


def number_of(request: HttpRequest, name: str = "page") -> int:
    """The page number in the address bar, 1 where it means nothing."""
    return page_number(request.GET.get(name, ""))


def page_number(text: str) -> int:
    """The page that `text` names, from 1 to MAX_PAGE; 1 where it means nothing."""
    fine = text.isascii() and text.isdigit() and 0 < len(text) <= _DIGITS
    return min(max(1, int(text)), MAX_PAGE) if fine else 1


def row_number(text: str) -> int | None:
    """The number of a row that somebody wrote into an address; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def own_path(request: HttpRequest, target: str, otherwise: str) -> str:
    """`target` where it is a path of this site, else `otherwise`."""
    own = {request.get_host()}
    good = target.startswith("/") and url_has_allowed_host_and_scheme(target, allowed_hosts=own)
    return target if good else otherwise


def typed(request: HttpRequest) -> tuple[tuple[str, str], ...]:
    """What a form sent, for hidden fields that send it once more; neither its CSRF token nor what
    proves a person.
    """
    return tuple(
        (name, value)
        for name, values in request.POST.lists()
        for value in values
        if name != "csrfmiddlewaretoken" and not name.startswith(PROOF)
    )


def own_form(request: HttpRequest) -> bool:
    """Whether a page of ours sent this form, by the browser's word, which no other site can change.
    Files cannot be sent again, what proves a person should not stand in a page, and scripts show
    none: but a form that HTMX sent goes once more by itself (app.js).
    """
    headers = request.headers
    return (
        request.method == "POST"
        and headers.get("Origin") == f"{request.scheme}://{request.get_host()}"
        and headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
        and ("X-CSRFToken" not in headers or "HX-Request" in headers)
        and request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data")
        and not request.FILES
        and not any(_proves(name, str(value)) for name, value in request.POST.items())
    )


def _proves(name: str, value: str) -> bool:
    """Whether who reads this field could be taken for, or pay by, the person."""
    return "password" in name or name == "code" or value.lstrip().startswith(keys.PREFIX)


def uuid_of(text: str) -> UUID | None:
    """The id that somebody wrote into an address; None for anything else."""
    try:
        return UUID(text)
    except ValueError:
        return None


_DIGITS = len(str(MAX_PAGE))
#: Begins the names of what somebody with a password proves themselves by, amid a form's own fields.
PROOF = "proof-"


def in_pieces(
    request: HttpRequest, parts: Iterator[bytes]
) -> Iterator[bytes] | AsyncIterator[bytes]:
    """Content for a StreamingHttpResponse that is never whole in memory. Between pieces no database
    connection is held: a slow reader costs us nothing."""

    def step() -> bytes | None:
        part = next(parts, None)
        if not connection.in_atomic_block:
            connection.close()
        return part

    async def pieces() -> AsyncIterator[bytes]:
        while (part := await sync_to_async(step)()) is not None:
            yield part

    # Each protocol streams its own kind of iterator; the other would be read into memory first.
    return pieces() if isinstance(request, ASGIRequest) else parts
