"""Open sessions of a wallet: where it is signed in, ending them, and how fresh its proof is."""

from __future__ import annotations

import time
from datetime import datetime

from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import limits, sockets
from accounts.errors import Problem
from accounts.models import SignIn, User
from accounts.session_store import LENGTH, name_of
from net import callers
from net.cache import first

#: A dangerous act needs a wallet signature at most this old (features.md F8).
FRESH_SECONDS = 600
#: "Last seen" is this exact.
_SEEN_EVERY_SECONDS = 300
#: The code of what is refused because it is older.
STALE = "step_up_required"
#: The same for an account with a password, which has no wallet to ask.
STALE_PASSWORD = "password_step_up_required"
_PROVED = "proved_at"
_SHOWN = 50


def opened(request: HttpRequest, user: User, before: str | None) -> None:
    """Write down a session that a signature has just opened; `before` is the key it had."""
    request.session[_PROVED] = int(time.time())
    request.session.save()
    if before != request.session.session_key:
        forgotten(before)
    SignIn.objects.update_or_create(
        session_key=name_of(request.session.session_key),
        defaults={
            "user": user,
            "agent": request.headers.get("User-Agent", "")[:120].replace("\0", ""),
            "network": _network(request),
            "seen_at": timezone.now(),
        },
    )


def seen(request: HttpRequest) -> None:
    """Remember that a session was used, at most every five minutes."""
    name = name_of(request.session.session_key)
    if name and first(f"seen:{name}", _SEEN_EVERY_SECONDS):
        network = _network(request)
        SignIn.objects.filter(session_key=name).update(seen_at=timezone.now(), network=network)


def _network(request: HttpRequest) -> str:
    return callers.part(limits.address(request))


def living(now: datetime) -> Exists:
    """Of rows of `SignIn`: their session is open; none is that is named as 0.1.0 did. A wallet that
    proved itself once more has one that is older than a session lives."""
    rows = Session.objects.alias(characters=Length("session_key")).filter(characters=LENGTH)
    return Exists(rows.filter(session_key=OuterRef("session_key"), expire_date__gt=now))


def over(now: datetime) -> QuerySet[Session]:
    """Those that have ended, and those of 0.1.0: none comes in with them any more."""
    rows = Session.objects.alias(characters=Length("session_key"))
    return rows.filter(Q(expire_date__lt=now) | Q(characters__lt=LENGTH))


def of(user: User) -> tuple[SignIn, ...]:
    """Open sessions, the last used first."""
    return tuple(user.sign_ins.filter(living(timezone.now())).order_by("-seen_at")[:_SHOWN])


def end(user: User, sign_in_id: int) -> None:
    """Close one of the user's sessions; somebody else's is not found and stays."""
    _end(user.sign_ins.filter(pk=sign_in_id))


def end_all(user: User) -> int:
    """Close every session of the user; how many there were."""
    return _end(user.sign_ins.all())


def end_everybodys() -> int:
    """Close every session that somebody signed in; how many there were."""
    return _end(SignIn.objects.filter(living(timezone.now())))


def forgotten(session_key: str | None) -> None:
    """A session was closed by its own sign-out, or by another sign-in in its browser."""
    if name := name_of(session_key):
        SignIn.objects.filter(session_key=name).delete()
        sockets.tell(name)


def require_fresh(request: HttpRequest) -> None:
    """Raises Problem `step_up_required` unless the wallet signed in within the last ten minutes."""
    if is_fresh(request):
        return
    if isinstance(request.user, User) and request.user.has_usable_password():
        raise Problem(
            STALE_PASSWORD,
            _("This needs a password and a code that are at most 10 minutes old."),
            _("Give them at /ops/sign-in/again, in another tab; what you typed here stays."),
            status=403,
        )
    raise Problem(
        STALE,
        _("This needs a signature that is at most 10 minutes old."),
        _("Sign in once more; you stay where you are."),
        status=403,
    )


def is_fresh(request: HttpRequest) -> bool:
    """Whether `require_fresh` would pass."""
    proved = request.session.get(_PROVED)
    return isinstance(proved, int) and abs(time.time() - proved) <= FRESH_SECONDS


def _end(found: QuerySet[SignIn]) -> int:
    """Not one that was opened meanwhile: it lives, and must stay in the list to be ended."""
    rows = list(found)
    for row in rows:
        _close(row)
        row.delete()
    return len(rows)


def _close(row: SignIn) -> None:
    """The session first: a socket that is told looks no more, one that connects now must fail."""
    Session.objects.filter(pk=row.session_key).delete()
    sockets.tell(row.session_key)
