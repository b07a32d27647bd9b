"""Requests with a known person."""

from __future__ import annotations

from django.http import Http404, HttpRequest

from accounts import sessions
from accounts.models import User


def user_of(request: HttpRequest) -> User:
    """The signed-in user; a door without one shows no private thing (404)."""
    if not isinstance(request.user, User):
        raise Http404("not signed in")
    sessions.seen(request)
    return request.user
