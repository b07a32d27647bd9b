"""Personal access tokens: what somebody's own programs may do here, how much, and for how long
(features.md K4, G17).

A token is 256 random bits, so its plain SHA-256 is enough to recognise it and useless to whoever
reads the database. Amounts are neuron.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import actions, money
from accounts.errors import Problem
from accounts.models import AccessToken, User

PREFIX = "zgm_"
DAYS = (7, 30, 90, 365)
DEFAULT_DAYS = 90
DEFAULT_PER_MINUTE = 60
MOST_PER_MINUTE = 600
MOST_TOKENS = 50
MOST_LISTED = 20
MAX_MODEL_CHARS = 200
#: After a token was replaced, the old secret goes on for this long, so that no program stops.
OVERLAP = timedelta(hours=24)
#: `last_used_at` is this exact.
USED_EVERY = timedelta(minutes=1)
SCOPES = ("inference", "read")

_SECRET = re.compile(r"zgm_[A-Za-z0-9_-]{43}")
_HINT_CHARS = 8


def page() -> str:
    """Where tokens are made, in full: whoever reads a program's log is not on the site."""
    return f"{settings.SITE_URL}/account/keys"


@dataclass(frozen=True)
class Limits:
    """What can be changed of a token, checked: its name and what holds it."""

    label: str
    spend_limit: int | None = None
    per_minute: int = DEFAULT_PER_MINUTE
    model_names: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    verified_only: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Settings as the page sends them. Raises Problem with the field's rule."""
        label = " ".join(_text(given, "label").replace("\0", "").split())
        if not 0 < len(label) <= 60:
            raise _bad("label", _("must have 1 to 60 characters."))
        rate = given.get("per_minute", DEFAULT_PER_MINUTE)
        if type(rate) is not int or not 1 <= rate <= MOST_PER_MINUTE:
            raise _bad(
                "per_minute",
                _("must be a whole number from 1 to %(most_per_minute)s.")
                % {"most_per_minute": MOST_PER_MINUTE},
            )
        return cls(
            label=label,
            spend_limit=_limit(_text(given, "spend_limit")),
            per_minute=rate,
            model_names=_models(_text(given, "models")),
            providers=_providers(_text(given, "providers")),
            verified_only=given.get("verified_only") is True,
        )


@dataclass(frozen=True)
class Wanted(Limits):
    """Checked settings of a new token: what cannot be changed as well."""

    scopes: tuple[str, ...] = ()
    days: int = DEFAULT_DAYS

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Settings as the page sends them. Raises Problem with the field's rule."""
        limits = Limits.of(given)
        asked = given.get("scopes")
        scopes = tuple(s for s in SCOPES if isinstance(asked, list) and s in asked)
        if not scopes:
            raise _bad("scopes", _("must name `inference`, `read` or both."))
        days = given.get("days", DEFAULT_DAYS)
        if type(days) is not int or days not in DAYS:
            raise _bad("days", _("must be one of %(days)s.") % {"days": ", ".join(map(str, DAYS))})
        return cls(scopes=scopes, days=days, **vars(limits))


@dataclass(frozen=True)
class Made:
    """A token with its secret, for the person's eyes now and never again."""

    row: AccessToken
    secret: str


def create(user: User, wanted: Wanted) -> Made:
    """A new token. Raises Problem `too_many_tokens`."""
    now = timezone.now()
    secret = _secret()
    with transaction.atomic():
        # The owner's row orders concurrent doors, so the limit is exact.
        User.objects.select_for_update().get(pk=user.pk)
        if living(user, now).count() >= MOST_TOKENS:
            raise Problem(
                "too_many_tokens",
                _("You have %(most_tokens)s tokens.") % {"most_tokens": MOST_TOKENS},
                _("Revoke one that no program uses any more."),
                status=409,
            )
        row = user.access_tokens.create(
            label=wanted.label,
            digest=digest_of(secret),
            hint=secret[:_HINT_CHARS],
            may_infer="inference" in wanted.scopes,
            may_read="read" in wanted.scopes,
            model_names=list(wanted.model_names),
            providers=list(wanted.providers),
            verified_only=wanted.verified_only,
            spend_limit=wanted.spend_limit,
            per_minute=wanted.per_minute,
            expires_at=now + timedelta(days=wanted.days),
        )
    return Made(row, secret)


def change(user: User, token_id: int, limits: Limits) -> None:
    """New settings for the same secret; what it has spent stays counted. Raises Problem
    `no_such_token`."""
    values = {**vars(limits), "model_names": list(limits.model_names)}
    values["providers"] = list(limits.providers)
    if not living(user, timezone.now()).filter(pk=token_id).update(**values):
        raise _gone()


def rotate(user: User, token_id: int) -> Made:
    """A new secret for the same token: settings, counts and expiry stay, and the old secret ends
    after OVERLAP (at once if it had itself been replaced). Raises Problem `no_such_token`.
    """
    now = timezone.now()
    secret = _secret()
    changed = (
        living(user, now)
        .filter(pk=token_id)
        .update(
            previous_digest=F("digest"),
            previous_until=now + OVERLAP,
            digest=digest_of(secret),
            hint=secret[:_HINT_CHARS],
        )
    )
    if not changed:
        raise _gone()
    return Made(user.access_tokens.get(pk=token_id), secret)


def revoke(user: User, token_id: int) -> bool:
    """End a token now, with whatever secrets it has. False for somebody else's."""
    return bool(_revoked(user.access_tokens.filter(pk=token_id)))


def revoke_all() -> int:
    """End everybody's tokens; how many worked."""
    return _revoked(AccessToken.objects.filter(expires_at__gt=timezone.now()))


def _revoked(rows: QuerySet[AccessToken]) -> int:
    return rows.filter(revoked_at=None).update(
        revoked_at=timezone.now(), previous_digest="", previous_until=None
    )


def living(user: User, now: datetime) -> Any:
    """The user's tokens that still work."""
    return user.access_tokens.filter(revoked_at=None, expires_at__gt=now)


def state(token: AccessToken, now: datetime) -> str:
    """`active`, `spent` (its limit is reached), `expired` or `revoked`."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at <= now:
        return "expired"
    limit = token.spend_limit
    return "spent" if limit is not None and token.spent >= limit else "active"


# --- at the doors ---------------------------------------------------------------------------------


def secret_of(authorization: str) -> str:
    """The secret of an `Authorization` header. Raises Problem `no_token` or `token_unknown`."""
    scheme, _, secret = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Problem(
            "no_token",
            "This needs a personal access token.",
            f"Send `Authorization: Bearer zgm_…`; tokens are made on {page()}.",
            status=401,
        )
    secret = secret.strip()
    if not _SECRET.fullmatch(secret):
        raise _unknown(
            "A provider's key (app-sk-…) works at that provider only."
            if secret.startswith("app-sk-")
            else f"Tokens are made on {page()}."
        )
    return secret


def find(secret: str, scope: str = "", now: datetime | None = None) -> AccessToken:
    """The living token of a secret, with its user (1 query).

    Raises Problem: `token_unknown`, `token_revoked`, `token_expired` (401) or, where it lacks
    `scope`, `insufficient_scope` (403).
    """
    now = now or timezone.now()
    digest = digest_of(secret)
    known = Q(digest=digest) | Q(previous_digest=digest, previous_until__gt=now)
    token = AccessToken.objects.select_related("user").filter(known).first()
    if token is None or not token.user.is_active:
        raise _unknown(f"Tokens are made on {page()}.")
    again = f"Make a new one on {page()}."
    if token.revoked_at is not None:
        raise Problem("token_revoked", "This token was revoked.", again, status=401)
    if token.expires_at <= now:
        raise Problem("token_expired", "This token has expired.", again, status=401)
    if scope and scope not in token.scopes:
        raise Problem(
            "insufficient_scope",
            f"This token does not have the scope `{scope}`.",
            "Make a token that has it.",
            status=403,
        )
    return token


def used(token: AccessToken, now: datetime) -> None:
    """Remember that a token was used; one write a minute."""
    if token.last_used_at is None or token.last_used_at < now - USED_EVERY:
        AccessToken.objects.filter(pk=token.pk).update(last_used_at=now)


#: Gives the token's number where `most` could be set aside for one request: token and secret still
#: live, and its limit holds it: where there is one, only of a request that bounds its answer
#: (`bounded`). One statement, so that requests at the same time cannot pass the limit together; the
#: relay puts the request's row behind it.
RESERVE = """
UPDATE accounts_accesstoken SET spent = spent + %(most)s, last_used_at = %(now)s
WHERE id = %(token)s AND revoked_at IS NULL AND expires_at > %(now)s
    AND (spend_limit IS NULL OR %(bounded)s AND spend_limit >= spent + %(most)s)
    AND (digest = %(digest)s OR (previous_digest = %(digest)s AND previous_until > %(now)s))
RETURNING id
"""
#: Replaces what was set aside for a request by what it cost; the relay puts it behind the end of
#: the request's row, so that neither is there without the other.
CORRECT = """
UPDATE accounts_accesstoken SET spent = GREATEST(spent + %(more)s, 0)
"""


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _gone() -> Problem:
    return Problem("no_such_token", _("There is no such token, or it has ended."), status=404)


def _unknown(fix: str) -> Problem:
    return Problem("token_unknown", "This is not a token of this site.", fix, status=401)


def _bad(name: str, rule: str) -> Problem:
    return Problem("invalid_request", f"`{name}` {rule}")


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or len(value) > 10_000:
        raise _bad(name, _("must be a text."))
    return value


def _limit(text: str) -> int | None:
    if not text.strip():
        return None
    try:
        limit = money.parse(text)
    except ValueError as error:
        raise _bad("spend_limit", _("cannot be read: %(error)s") % {"error": error}) from None
    if limit <= 0:
        raise _bad("spend_limit", _("must be more than nothing; leave it empty for no limit."))
    return limit


def _models(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if len(names) > MOST_LISTED or any(len(n) > MAX_MODEL_CHARS or "\0" in n for n in names):
        raise _bad(
            "models",
            _("must be up to %(most_listed)s names, one per line.") % {"most_listed": MOST_LISTED},
        )
    return names


def _providers(text: str) -> tuple[str, ...]:
    words = text.replace(",", " ").split()
    if len(words) > MOST_LISTED:
        raise _bad(
            "providers",
            _("must be up to %(most_listed)s addresses.") % {"most_listed": MOST_LISTED},
        )
    try:
        return tuple(dict.fromkeys(actions.address(word) for word in words))
    except ValueError as error:
        raise _bad("providers", f"{error}.") from None
