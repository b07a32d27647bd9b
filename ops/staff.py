"""Password accounts: for staff without a wallet at hand. Name and password first, then a code of an
authenticator app (TOTP, RFC 6238) or a recovery code; there is no session before both were right.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from base64 import b32encode
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.password_validation import validate_password
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django_otp.oath import TOTP
from eth_utils.address import to_checksum_address

from accounts import crypto, limits, roles, sessions
from accounts.errors import Problem
from accounts.models import User
from accounts.roles import Role
from net import callers
from net.cache import SharedRedisCache, keep, recall
from ops.models import PasswordAccount

BACKEND = "django.contrib.auth.backends.ModelBackend"
ISSUER = "0G Market"
#: Between password and code (seconds).
PENDING_SECONDS = 300
#: Sessions opened with a password end sooner than those of wallets (seconds).
SESSION_SECONDS = 12 * 3600
#: Wrong codes of one account, and passwords from one network address or for one name, per window.
TRIES, WINDOW_SECONDS = 10, 600
TRIES_OF_A_NAME = 30
#: From a network address where it signed in within so long, nobody else's tries of the name count.
KNOWN_SECONDS = 30 * 24 * 3600
#: Refused sign-ins are counted for so long (seconds).
REFUSALS_SECONDS = 30 * 24 * 3600
#: Steps of 30 s that a clock may be off.
TOLERANCE = 1
RECOVERY_CODES = 10
_PENDING = "staff_pending"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?")
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # none that look alike


@dataclass(frozen=True)
class Enrolment:
    """What an authenticator app needs: a QR code as a `data:` URI, and the same as text."""

    picture: str
    secret: str


def create(name: str, password: str, role: Role | None, *, superuser: bool = False) -> User:
    """A new account, without an authenticator yet. Raises ValidationError."""
    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        raise ValidationError("A name is 1 to 40 of a-z, 0-9, dot, dash and underscore.")
    if PasswordAccount.objects.filter(name=name).exists():
        raise ValidationError(f"{name} exists already.")
    validate_password(password)
    with transaction.atomic():
        # Random bytes: the chance that anybody has the key of this address is 2^-160.
        user = User.objects.for_address(to_checksum_address(secrets.token_bytes(20)))
        user.is_superuser = superuser
        user.set_password(password)
        user.save(update_fields=["is_superuser", "password"])
        PasswordAccount.objects.create(user=user, name=name)
        if role is not None:
            roles.give(user, role)
    return user


def change_password(account: PasswordAccount, password: str) -> None:
    """A new password; open sessions end. Raises ValidationError."""
    validate_password(password)
    account.user.set_password(password)
    account.user.save(update_fields=["password"])
    sessions.end_all(account.user)


def forget_authenticator(account: PasswordAccount) -> None:
    """The next sign-in enrols a new one; open sessions end."""
    account.secret_sealed, account.enrolled_at, account.recovery = "", None, []
    account.save(update_fields=["secret_sealed", "enrolled_at", "recovery"])
    sessions.end_all(account.user)


# --- first step -----------------------------------------------------------------------------------


def first_step(request: HttpRequest, name: str, password: str) -> PasswordAccount:
    """Name and password. Raises Problem, with one sentence for every reason; TooMany."""
    name = name.strip().lower()[:40]
    limits.spend("staff", limits.address(request), limit=TRIES, seconds=WINDOW_SECONDS)
    # Else a stranger who tries a name keeps its holder out for as long as they like.
    if recall(_known(request, name)) is None:
        limits.spend(
            "staff-name",
            hashlib.sha256(name.encode()).hexdigest()[:32],
            limit=TRIES_OF_A_NAME,
            seconds=WINDOW_SECONDS,
        )
    account = named(name)
    # The same work for a name that does not exist: the time of the answer must not tell.
    known = account.user.password if account is not None else _nobody()
    good = check_password(password[:1_000], known)
    if account is None or not good or not account.user.is_active:
        raise Problem("wrong", _("Name or password is wrong."), status=403)
    if not account.user.is_staff:
        raise Problem("no_role", _("This account has no role any more. Ask an admin."), status=403)
    request.session.cycle_key()
    request.session[_PENDING] = {"account": account.pk, "at": int(time.time())}
    return account


def _known(request: HttpRequest, name: str) -> str:
    """Where it is remembered that an account signed in from the network address of this request."""
    who = f"{limits.address(request)} {name}"
    return f"staff-known:{callers.tag(who, settings.SECRET_KEY)}"


def named(name: str) -> PasswordAccount | None:
    rows = PasswordAccount.objects.select_related("user")
    return rows.filter(name=name.strip().lower()[:40]).first()


def refused(name: str) -> None:
    """Count a refused sign-in, until the next good one or for a month; of any name, so that the
    time it takes tells none."""
    cast(SharedRedisCache, cache).count(_refusals(name), REFUSALS_SECONDS)


def refusals(account: PasswordAccount) -> int:
    """How many sign-ins were refused since the last call."""
    key = _refusals(account.name)
    found = int(cache.get(key, 0))
    cache.delete(key)
    return found


def _refusals(name: str) -> str:
    return f"staff-refused:{hashlib.sha256(name.strip().lower()[:40].encode()).hexdigest()[:32]}"


_NOBODYS: list[str] = []


def _nobody() -> str:
    if not _NOBODYS:
        _NOBODYS.append(make_password(secrets.token_urlsafe(16)))
    return _NOBODYS[0]


def pending(request: HttpRequest) -> PasswordAccount | None:
    """Whose password was right a moment ago, in this session."""
    held = request.session.get(_PENDING)
    if not isinstance(held, dict) or time.time() - held.get("at", 0) > PENDING_SECONDS:
        return None
    rows = PasswordAccount.objects.select_related("user")
    return rows.filter(pk=int(held["account"]), user__is_active=True).first()


# --- second step ----------------------------------------------------------------------------------


def enrolment(request: HttpRequest, account: PasswordAccount) -> Enrolment:
    """The secret that this sign-in offers; the same one until a code proves that it arrived."""
    import segno  # of all pages one draws with it

    held = request.session[_PENDING]
    if "secret" not in held:
        held["secret"] = crypto.seal(secrets.token_hex(20))
        request.session[_PENDING] = held
    secret = b32encode(bytes.fromhex(crypto.unseal(held["secret"]))).decode()
    label = quote(f"{ISSUER}:{account.name}")
    uri = f"otpauth://totp/{label}?secret={secret}&issuer={quote(ISSUER)}&digits=6&period=30"
    picture = segno.make(uri, error="m").svg_data_uri(scale=5, border=4, light="#fff")
    return Enrolment(picture, " ".join(secret[i : i + 4] for i in range(0, len(secret), 4)))


def enrol(request: HttpRequest, account: PasswordAccount, code: str) -> tuple[str, ...]:
    """Take the offered secret into use, open the session; the recovery codes, shown this once.
    Raises Problem, TooMany."""
    _count(account)
    held = request.session.get(_PENDING, {})
    if account.secret_sealed or "secret" not in held:
        raise Problem("enrolled_already", _("This account has an authenticator."), status=409)
    step = _step(crypto.unseal(held["secret"]), code, -1)
    if step is None:
        raise _wrong_code()
    codes = tuple(_recovery_code() for _ in range(RECOVERY_CODES))
    done = PasswordAccount.objects.filter(pk=account.pk, secret_sealed="").update(
        secret_sealed=held["secret"],
        enrolled_at=timezone.now(),
        last_step=step,
        recovery=[_digest(code) for code in codes],
    )
    if not done:
        raise Problem("enrolled_already", _("This account has an authenticator."), status=409)
    _open(request, account)
    return codes


def second_step(request: HttpRequest, account: PasswordAccount, code: str) -> bool:
    """A code of the app, or a recovery code (True): opens the session. Raises Problem, TooMany."""
    recovery = _use(account, code)
    _open(request, account)
    return recovery


def again(request: HttpRequest, account: PasswordAccount, password: str, code: str) -> bool:
    """Both once more, within the session of their owner, for what wants a fresh proof; whether the
    code was a recovery code. The CSRF token stays, and with it every open form. Raises Problem,
    TooMany.
    """
    limits.spend("staff", limits.address(request), limit=TRIES, seconds=WINDOW_SECONDS)
    if not check_password(password[:1_000], account.user.password):
        _count(account)
        raise Problem("wrong", _("The password is wrong."), status=403)
    recovery = _use(account, code)
    sessions.opened(request, account.user, request.session.session_key)
    return recovery


def _use(account: PasswordAccount, code: str) -> bool:
    """Whether it is a recovery code, which is spent. Raises Problem, TooMany."""
    _count(account)
    if not account.secret_sealed:
        raise Problem("not_enrolled", _("This account has no authenticator yet."), status=409)
    step = _step(crypto.unseal(account.secret_sealed), code, account.last_step)
    if step is not None:
        # Compare and set: of two requests with one code, one gets in.
        taken = PasswordAccount.objects.filter(pk=account.pk, last_step__lt=step)
        if taken.update(last_step=step):
            return False
    if _spend_recovery(account, code):
        return True
    raise _wrong_code()


def _count(account: PasswordAccount) -> None:
    limits.spend("staff-code", str(account.pk), limit=TRIES, seconds=WINDOW_SECONDS)


def _wrong_code() -> Problem:
    return Problem("wrong_code", _("This code is wrong, or was used already."), status=403)


def _step(secret: str, code: str, last: int) -> int | None:
    """The time step that a code belongs to, above `last`; None where it is wrong."""
    digits = code.replace(" ", "")
    if not re.fullmatch(r"[0-9]{6}", digits):
        return None
    clock = TOTP(bytes.fromhex(secret))
    if not clock.verify(int(digits), tolerance=TOLERANCE, min_t=last + 1):
        return None
    step: int = clock.t()
    return step


def _spend_recovery(account: PasswordAccount, code: str) -> bool:
    digest = _digest(code)
    with transaction.atomic():
        row = PasswordAccount.objects.select_for_update().get(pk=account.pk)
        if digest not in row.recovery:
            return False
        row.recovery = [kept for kept in row.recovery if kept != digest]
        row.save(update_fields=["recovery"])
    return True


def _recovery_code() -> str:
    """About 58 bits: enough behind a limit of TRIES, and short enough to copy."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    return "-".join(letters[i : i + 4] for i in (0, 4, 8))


def _digest(code: str) -> str:
    plain = re.sub(r"[\s-]", "", code.lower())
    return hashlib.sha256(plain.encode()).hexdigest()


def _open(request: HttpRequest, account: PasswordAccount) -> None:
    before = request.session.session_key
    request.session.pop(_PENDING, None)
    login(request, account.user, backend=BACKEND)
    request.session.set_expiry(SESSION_SECONDS)
    sessions.opened(request, account.user, before)
    keep(_known(request, account.name), True, KNOWN_SECONDS)
