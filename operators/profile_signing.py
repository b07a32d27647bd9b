"""Words that a provider's wallet signs: written here, shown as they are, good once.

The text names the site, the chain, the provider, every field on a line of its own (no field may
hold a line break) and a nonce of the server's; it waits in the session until it is signed.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import siwe
from accounts.errors import Problem
from accounts.models import User
from ledger import selectors as ledger

#: A prepared statement is signed within this time, or written anew.
LIFETIME = dt.timedelta(minutes=10)
_SESSION = "operator_statement"
Field = tuple[str, str]


@dataclass(frozen=True)
class Prepared:
    """A statement that waits for its signature. `what`: note or profile; `fields` as the form has
    them."""

    what: str
    provider: str
    message: str
    nonce: str
    at: dt.datetime
    fields: dict[str, Any]


def require_provider(user: User) -> None:
    """Raises Problem unless the wallet offers, or offered, a service."""
    if not ledger.services_of(user.address, include_removed=True):
        raise Problem(
            "no_listing",
            _("This wallet has never offered a service."),
            _("Register one first, or sign in with the wallet that did."),
            status=403,
        )


def text(title: str, provider: str, said: Iterable[Field], nonce: str, at: dt.datetime) -> str:
    """Exactly what is signed."""
    lines = [f"{label}: {value}" for label, value in said]
    assert not any("\n" in line for line in lines)
    host = urlsplit(settings.SITE_URL).netloc
    return "\n".join(
        [
            f"{host} publishes for me: {title}",
            "",
            f"Provider: {provider}",
            f"Chain: {settings.CHAIN_ID}",
            *lines,
            "",
            "This is a message, not a transaction, and costs nothing.",
            f"Signed at: {at:%Y-%m-%dT%H:%M:%SZ}",
            f"Nonce: {nonce}",
        ]
    )


def prepare(
    request: HttpRequest, user: User, what: str, title: str, said: Iterable[Field], fields: Any
) -> Prepared:
    """Write the statement and keep it in the session; one of each sort waits at a time."""
    nonce, at = secrets.token_hex(16), timezone.now().replace(microsecond=0)
    message = text(title, user.address, said, nonce, at)
    request.session[f"{_SESSION}_{what}"] = {
        "message": message,
        "nonce": nonce,
        "at": at.isoformat(),
        "provider": user.address,
        "fields": fields,
    }
    return Prepared(what, user.address, message, nonce, at, fields)


def waiting(request: HttpRequest, user: User, what: str) -> Prepared | None:
    """The statement that waits for this user's signature, None where it is none or too old."""
    kept = _kept(request, user, what)
    if "message" not in kept:
        return None
    at = dt.datetime.fromisoformat(kept["at"])
    if timezone.now() - at > LIFETIME:
        return None
    return Prepared(what, kept["provider"], kept["message"], kept["nonce"], at, kept["fields"])


def typed(request: HttpRequest, user: User, what: str) -> dict[str, str]:
    """What the form held when the last statement was written; it outlives the statement."""
    return dict(_kept(request, user, what).get("fields", {}))


def _kept(request: HttpRequest, user: User, what: str) -> dict[str, Any]:
    kept = request.session.get(f"{_SESSION}_{what}")
    return kept if isinstance(kept, dict) and kept.get("provider") == user.address else {}


def forget(request: HttpRequest, user: User, what: str) -> None:
    """The statement waits no more; what was typed stays for the form."""
    kept = _kept(request, user, what)
    if kept:
        left = {name: kept[name] for name in ("provider", "fields")}
        request.session[f"{_SESSION}_{what}"] = left


def done(request: HttpRequest, what: str) -> None:
    """It was published: nothing of it is needed any more."""
    request.session.pop(f"{_SESSION}_{what}", None)


def signed(request: HttpRequest, user: User, what: str, signature: str) -> Prepared:
    """The waiting statement, once its provider's wallet has signed it; it waits no more, whatever
    the outcome. Raises Problem. The caller stores its nonce under a unique key."""
    found = waiting(request, user, what)
    forget(request, user, what)
    if found is None:
        raise Problem(
            "nothing_to_sign",
            _("No statement waits for a signature."),
            _("Write it again; what you typed is still in the form."),
        )
    siwe.require(user.address, found.message, signature)
    return found
