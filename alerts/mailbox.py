"""Proving that a mail address belongs to the person, with a code that is mailed to it."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from accounts import crypto, limits
from accounts.errors import Problem
from accounts.models import User
from alerts import deliver, services, words
from alerts.models import Channels, Delivery

CODE_LIVES = dt.timedelta(minutes=30)
_DIGITS = 6
#: Codes in an hour: of one wallet, to one address, and from one network address: anybody makes
#: wallets, and names somebody else's address.
PER_WALLET, PER_ADDRESS, PER_CALLER = 5, 5, 20


def ask(user: User, address: str, caller: str = "") -> None:
    """Mail a code to `address`; nothing else is sent there before it came back. `caller`: the
    network address that asks (`limits.address`). Raises Problem."""
    if not deliver.mail_works():
        raise Problem("no_mail", _("This site sends no mail."), _("Use a webhook or the feed."))
    limits.spend("mail-codes", user.address, limit=PER_WALLET, seconds=3600)
    address = address.strip()
    try:
        validate_email(address)
    except ValidationError:
        raise Problem("invalid_email", _("This is no mail address.")) from None
    if caller:
        limits.spend("mail-codes-from", caller, limit=PER_CALLER, seconds=3600)
    limits.spend("mail-codes-to", address.casefold(), limit=PER_ADDRESS, seconds=3600)
    code = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}d}"
    way = services.channels_of(user)
    Channels.objects.filter(pk=way.pk).update(
        email="",
        sealed_email=crypto.seal(address),
        email_verified_at=None,
        code_digest=_digest(user, code),
        code_sent_at=timezone.now(),
        email_error="",
    )
    # The page on which they ask is the newest that is known of what they read.
    User.objects.filter(pk=user.pk).update(language=translation.get_language())
    text = "\n".join(
        (
            _("Your code is %(code)s. It is good for 30 minutes.") % {"code": code},
            "",
            _("At %(site)s the wallet %(wallet)s asked to be told by mail at this address.")
            % {"site": settings.SITE_URL, "wallet": user.address},
            _("If that was not you, do nothing: nothing more is sent.") + "\n",
        )
    )
    error = deliver.send_mail(address, _("0G Market: your code"), text)
    if error:
        raise Problem(
            "mail_failed",
            words.translated(error),
            _("Check the address, or try again later."),
            status=502,
        )


def prove(user: User, code: str) -> None:
    """Take the code that was mailed. Raises Problem."""
    limits.spend("mail-proofs", user.address, limit=10, seconds=600)
    way, now = services.channels_of(user), timezone.now()
    alive = way.code_sent_at is not None and now - way.code_sent_at < CODE_LIVES
    good = alive and hmac.compare_digest(way.code_digest, _digest(user, code.strip()))
    # Compare and set: an address that was asked for meanwhile is not proven by this one's code.
    asked = Channels.objects.filter(pk=way.pk, sealed_email=way.sealed_email, email=way.email)
    same = asked.filter(code_digest=way.code_digest)
    if not good or not same.update(email_verified_at=now, code_digest=""):
        raise Problem(
            "wrong_code", _("This is not the code, or it is too old."), _("Ask for another.")
        )


def forget(user: User) -> None:
    """No more mail, and the address is deleted."""
    Channels.objects.filter(user=user).update(
        email="", sealed_email="", email_verified_at=None, code_digest="", email_error=""
    )


def test(user: User) -> None:
    """A test mail on its way. Raises Problem."""
    limits.spend("mail-tests", user.address, limit=5, seconds=3600)
    way = services.channels_of(user)
    if way.email_verified_at is None:
        raise Problem("no_mail_address", _("There is no proven mail address yet."))
    now = timezone.now()
    Delivery.objects.create(user=user, created_at=now, due_at=now)


def _digest(user: User, code: str) -> str:
    return hashlib.sha256(f"{user.pk}:{code}".encode()).hexdigest()
