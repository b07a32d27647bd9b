"""The way out that every mail carries: an address that ends mails without signing in (RFC 2369), by
one POST of the mail program itself (RFC 8058).
"""

from __future__ import annotations

import hashlib

from django.conf import settings
from django.core import signing

from alerts.models import Channels

_SIGNER = signing.Signer(salt="alerts.unsubscribe")


def headers(way: Channels) -> dict[str, str]:
    """What a mail to this person says about it."""
    token = _SIGNER.sign(f"{way.user_id}-{_digest(way.address)}")
    url = f"{settings.SITE_URL}/account/unsubscribe/{token}"
    found = {"List-Unsubscribe": f"<{url}>"}
    if url.startswith("https://"):
        found["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return found


def way_of(token: str) -> Channels | None:
    """Whose mails a token ends; None for one of ours never made, or for another address."""
    try:
        user, _, digest = _SIGNER.unsign(token).partition("-")
    except signing.BadSignature:
        return None
    way = Channels.objects.filter(user_id=int(user)).first()
    return way if way is not None and way.address and _digest(way.address) == digest else None


def _digest(email: str) -> str:
    """The address itself stands in no log of addresses."""
    return hashlib.sha256(email.encode()).hexdigest()[:24]
