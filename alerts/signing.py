"""Standard Webhooks: how a POST proves that it comes from us, and when it is tried again. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import timedelta

_PREFIX = "whsec_"
_SECRET_BYTES = 32
#: Waits before each try after the first (standardwebhooks.com, "deliverability").
SCHEDULE = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)


def new_secret() -> str:
    """A fresh `whsec_…`: 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: `v1,` and base64 of HMAC-SHA256 over
    `id.timestamp.body`; `timestamp` in Unix seconds. Raises ValueError for no secret of ours."""
    if not secret.startswith(_PREFIX):
        raise ValueError("not a webhook secret")
    key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def next_wait(tried: int) -> timedelta | None:
    """How long after the `tried`-th failure to try again; None when enough was tried."""
    return SCHEDULE[tried - 1] if 0 < tried <= len(SCHEDULE) else None
