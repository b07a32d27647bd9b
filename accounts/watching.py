"""Listings that somebody keeps an eye on: in the session before sign-in, in rows after it.

Signing in adds what the session held to the wallet's own. A listing is (serving contract,
provider), both EIP-55.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.db import transaction
from django.http import HttpRequest

from accounts.models import User, Watch

Listed = tuple[str, str]
KEY = "watched"
#: Of one person; a longer list is nobody's favourites, and a session is not a warehouse.
MOST = 200


def of(request: HttpRequest) -> frozenset[Listed]:
    """What this visitor watches (1 query; none without a session)."""
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return frozenset()
    if request.user.is_authenticated:
        return frozenset(of_user(request.user))
    return frozenset(_held(request))


def of_user(user: User) -> list[Listed]:
    """The newest first."""
    return list(user.watches.order_by("-pk").values_list("serving", "provider")[:MOST])


def put(request: HttpRequest, listed: Listed, on: bool) -> bool:
    """Watch a listing or stop; False where the list is full."""
    if request.user.is_authenticated:
        return _put_row(request.user, listed, on)
    held = [one for one in _held(request) if one != listed]
    if on and len(held) >= MOST:
        return False
    request.session[KEY] = [list(one) for one in ([*held, listed] if on else held)]
    request.session.set_expiry(None)  # whatever it was begun for (`views_session.prepare`)
    return True


def _put_row(user: User, listed: Listed, on: bool) -> bool:
    serving, provider = listed
    if not on:
        user.watches.filter(serving=serving, provider=provider).delete()
        return True
    with transaction.atomic():
        if not _room(user):
            return user.watches.filter(serving=serving, provider=provider).exists()
        Watch.objects.get_or_create(user=user, serving=serving, provider=provider)
    return True


def _room(user: User) -> int:
    """How many more they may watch. Holds the person's row, in a transaction: so MOST holds."""
    User.objects.select_for_update().get(pk=user.pk)
    return max(0, MOST - user.watches.count())


def _held(request: HttpRequest) -> list[Listed]:
    held = request.session.get(KEY, [])
    return [(one[0], one[1]) for one in held if isinstance(one, list) and len(one) == 2]


def merge(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    """What was watched before signing in is watched after it."""
    held = _held(request)
    request.session.pop(KEY, None)
    if not held:
        return
    with transaction.atomic():
        room, own = _room(user), set(of_user(user))
        new = [one for one in held if one not in own][:room]
        Watch.objects.bulk_create(
            [Watch(user=user, serving=a, provider=b) for a, b in new], ignore_conflicts=True
        )


def connect() -> None:
    user_logged_in.connect(merge, dispatch_uid="accounts.watching")
