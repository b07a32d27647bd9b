"""One question to a provider: its evidence, with everything about the answer that matters later.

What fails on the way is a transport error and no verdict; an answer without evidence is one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from attestation.declared import EndpointName
from attestation.engine.limits import MAX_BODY_BYTES
from attestation.sources.fetch import date_of, said
from net.client import Client
from net.errors import (
    BadStatus,
    BrokenOff,
    InsecureConnection,
    NetError,
    Refused,
    TimedOut,
    TooLarge,
    Unreachable,
)
from net.limits import Limits

NONCE_BYTES = 32
LIMITS = Limits(connect=5, first_byte=20, between=10, total=30, max_bytes=MAX_BODY_BYTES)
#: Seconds before each further attempt, after a transport error only.
PAUSES = (1.0, 3.0)
BODY_SIGNATURE = "ZG-Quote-Signature"
_KEPT = ("Content-Type", "Date", "Server", "Provider", BODY_SIGNATURE)
_MAX_HEADER = 1024
#: These statuses say "not now"; any other 4xx and 501 say "there is no evidence here".
_PASSING = frozenset({408, 425, 429})
_NOT_IMPLEMENTED = 501


@dataclass(frozen=True)
class Asked:
    """What one question brought; times in unix seconds.

    `error` says why there is no body; `refused`: the provider answered, but handed over nothing;
    `mute`: nobody said a word, which happens to everybody where our own line is down.
    `body_signature` is "" where the header was absent.
    """

    url: str
    nonce: str
    status: int = 0
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    http_date: int | None = None
    tls_fingerprint: str = ""
    body_signature: str = ""
    error: str = ""
    refused: bool = False
    mute: bool = False

    @property
    def moment(self) -> datetime | None:
        """The provider's own clock."""
        return None if self.http_date is None else datetime.fromtimestamp(self.http_date, UTC)


def fresh_nonce() -> str:
    """32 random bytes as hex."""
    return secrets.token_hex(NONCE_BYTES)


def evidence_url(base: str, endpoint: EndpointName, model: str, nonce: str) -> str:
    """Where this endpoint hands over its evidence (provider-protocol.md 4.1); the nonce is always
    sent.
    """
    root = base.rstrip("/")
    if endpoint == "broker":
        return f"{root}/v1/quote?nonce={nonce}"
    query = f"model={quote(model, safe='')}&nonce={nonce}&signing_algo=ecdsa"
    return f"{root}/v1/proxy/attestation/report?{query}"


async def ask(client: Client, url: str, nonce: str, *, pauses: tuple[float, ...] = PAUSES) -> Asked:
    """Never raises for what a provider does; a body may still be anything."""
    for pause in (*pauses, None):
        try:
            return await _once(client, url, nonce)
        except NetError as error:
            if pause is None or not _may_pass(error):
                return _failed(url, nonce, error)
            await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns")


async def _once(client: Client, url: str, nonce: str) -> Asked:
    async with client.open("GET", url, limits=LIMITS) as answer:
        headers = {name: answer.header(name)[:_MAX_HEADER] for name in _KEPT}
        return Asked(
            url=url,
            nonce=nonce,
            status=answer.status,
            body=await answer.read(),
            headers={name: value for name, value in headers.items() if value},
            http_date=date_of(headers["Date"]),
            tls_fingerprint=answer.tls_fingerprint,
            body_signature=headers[BODY_SIGNATURE][:200],
        )


def _failed(url: str, nonce: str, error: NetError) -> Asked:
    if isinstance(error, BadStatus):
        return Asked(url, nonce, error.status, error=said(error), refused=not _may_pass(error))
    refused = isinstance(error, TooLarge)
    return Asked(url, nonce, error=str(error), refused=refused, mute=_is_mute(error))


def _is_mute(error: NetError) -> bool:
    if isinstance(error, TimedOut):
        return error.stage in ("connect", "first_byte")
    return isinstance(error, Unreachable | Refused) and not isinstance(error, InsecureConnection)


def _may_pass(error: NetError) -> bool:
    """True for what another attempt may heal, and for what is no word about evidence."""
    if isinstance(error, BadStatus):
        if error.status in _PASSING or error.status == _NOT_IMPLEMENTED:
            return error.status in _PASSING
        return not 400 <= error.status < 500
    if isinstance(error, TimedOut):
        return error.stage in ("connect", "first_byte")  # a body that drips would drip again
    return isinstance(error, Unreachable | BrokenOff)
