"""`app-sk-` provider keys: one wallet signature that lets its bearer spend a whole sub-account
(provider-protocol.md 2.1).

A key is `"app-sk-" + base64(raw + "|" + signature)`. `raw` is compact JSON; what is signed is the
EIP-191 digest of the 32 bytes keccak256(raw). A verifier must therefore work on the **received**
raw string, never on one it serialised again. Times inside a key are milliseconds; `now` arguments
are unix seconds, as the reference server compares them.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from eth_utils.crypto import keccak

from protocol.addresses import is_address
from protocol.digests import BadSignature, personal_digest, recover, signature_bytes

PREFIX = "app-sk-"
BEARER_PREFIX = "Bearer app-sk-"
EPHEMERAL_TOKEN_ID = 255
MAX_PERSISTENT_TOKEN_ID = 254
MAX_EPHEMERAL_MS = 86_400_000
MAX_KEY_CHARS = 4096

_INT64 = (-(2**63), 2**63 - 1)


class KeyRejected(ValueError):
    """The key must not be honoured.

    The text is the reference server's, without its `validate session: ` prefix.
    """


@dataclass(frozen=True)
class KeyFields:
    """What a key says.

    `timestamp` and `expires_at` in ms since 1970 (0 = never expires); addresses as their author
    wrote them.
    """

    address: str
    provider: str
    timestamp: int
    expires_at: int
    nonce: str
    generation: int
    token_id: int

    @property
    def ephemeral(self) -> bool:
        """Slot 255: at most 24 h, not revocable one by one."""
        return self.token_id == EPHEMERAL_TOKEN_ID


@dataclass(frozen=True)
class SignedKey:
    """A decoded key: the exact signed text, its fields, and the signature as 0x-hex.

    Nothing is verified yet.
    """

    raw: str
    fields: KeyFields
    signature: str


@dataclass(frozen=True)
class Revocation:
    """The sub-account's revocation state on chain (contracts.md 4.4)."""

    generation: int
    revoked_bitmap: int


def build(
    *,
    address: str,
    provider: str,
    now_ms: int,
    lifetime_ms: int,
    nonce: str,
    generation: int,
    token_id: int,
) -> KeyFields:
    """The fields of a new key; `lifetime_ms` 0 means it never expires.

    Raises ValueError for a slot outside 0-255 and for an ephemeral key that is eternal or lives
    longer than 24 h.
    """
    if not 0 <= token_id <= EPHEMERAL_TOKEN_ID:
        raise ValueError(f"token id must lie between 0 and 255, not {token_id}")
    if lifetime_ms < 0:
        raise ValueError("a key cannot expire before it was made")
    if token_id == EPHEMERAL_TOKEN_ID and not 0 < lifetime_ms <= MAX_EPHEMERAL_MS:
        raise ValueError("an ephemeral key lives at least 1 ms and at most 24 hours")
    expires_at = now_ms + lifetime_ms if lifetime_ms else 0
    return KeyFields(address, provider, now_ms, expires_at, nonce, generation, token_id)


def raw_message(fields: KeyFields) -> str:
    """The compact JSON that is hashed and signed, in the one key order all clients use."""
    ordered = {
        "address": fields.address,
        "provider": fields.provider,
        "timestamp": fields.timestamp,
        "expiresAt": fields.expires_at,
        "nonce": fields.nonce,
        "generation": fields.generation,
        "tokenId": fields.token_id,
    }
    return json.dumps(ordered, separators=(",", ":"), ensure_ascii=False)


def message_hash(raw: str) -> bytes:
    """The 32 bytes a wallet is asked to `personal_sign` (as bytes, not as hex text)."""
    return keccak(text=raw)


def signing_digest(raw: str) -> bytes:
    """The EIP-191 digest that the signature is over."""
    return personal_digest(message_hash(raw))


def encode(raw: str, signature: bytes | str) -> str:
    """The `app-sk-…` text of a signed message.

    Raises BadSignature unless the signature is 65 bytes.
    """
    hex_signature = "0x" + signature_bytes(signature).hex()
    return PREFIX + base64.b64encode(f"{raw}|{hex_signature}".encode()).decode()


def authorization(key: str) -> str:
    """The value of the `Authorization` header that carries `key`."""
    return f"Bearer {key}"


def parse(key: str) -> SignedKey:
    """Decode an `app-sk-…` text without judging it.

    Raises KeyRejected if it is not even well formed.
    """
    return parse_authorization(authorization(key))


def parse_authorization(header: str | None) -> SignedKey:
    """Decode an `Authorization` header (server steps 1-3). Raises KeyRejected."""
    if not header or not header.startswith(BEARER_PREFIX):
        raise KeyRejected(
            "missing or invalid Authorization header, must be "
            "Bearer app-sk-<base64(rawMessage:signature)>"
        )
    encoded = header[len(BEARER_PREFIX) :]
    try:
        if len(encoded) > MAX_KEY_CHARS:
            raise ValueError("too long")
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyRejected("invalid base64 in Authorization header") from error
    raw, separator, signature = decoded.partition(b"|")
    if not separator:
        raise KeyRejected("invalid Authorization payload, expect base64(rawMessage:signature)")
    try:
        text = raw.decode()
        return SignedKey(text, _fields(json.loads(text)), signature.decode("ascii", "replace"))
    except (ValueError, RecursionError) as error:
        raise KeyRejected("invalid session token format in Authorization") from error


def _fields(token: object) -> KeyFields:
    """Typed fields of the decoded JSON; an absent one is zero, as in the reference server.

    Raises ValueError.
    """
    if not isinstance(token, dict):
        raise ValueError("not an object")

    def text(name: str) -> str:
        value = token.get(name, "")
        if not isinstance(value, str):
            raise ValueError(f"{name} is not a string")
        return value

    def number(name: str, low: int, high: int) -> int:
        value = token.get(name, 0)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{name} is not an integer in range")
        return value

    return KeyFields(
        address=text("address"),
        provider=text("provider"),
        timestamp=number("timestamp", *_INT64),
        expires_at=number("expiresAt", *_INT64),
        nonce=text("nonce"),
        generation=number("generation", 0, 2**64 - 1),
        token_id=number("tokenId", 0, EPHEMERAL_TOKEN_ID),
    )


def check_fields(fields: KeyFields, *, provider: str, now: int) -> None:
    """Server steps 4-6: provider, ephemeral rules, expiry (`now` in unix seconds).

    Raises KeyRejected.
    """
    if fields.provider.lower() != provider.lower():
        raise KeyRejected("session token is for different provider")
    if fields.ephemeral:
        if fields.expires_at == 0:
            raise KeyRejected("ephemeral token must have an expiration time")
        if fields.expires_at - fields.timestamp > MAX_EPHEMERAL_MS:
            raise KeyRejected("ephemeral token duration cannot exceed 24 hours")
    if fields.expires_at != 0 and now > fields.expires_at // 1000:
        raise KeyRejected("session token expired")
    if not is_address(fields.address):
        raise KeyRejected("invalid session token format in Authorization")


def check_revocation(fields: KeyFields, state: Revocation | None) -> None:
    """Server step 7 against the chain; `None` (no sub-account) passes. Raises KeyRejected."""
    if state is None:
        return
    if fields.generation < state.generation:
        raise KeyRejected("session token has been revoked (generation expired)")
    if fields.generation > state.generation:
        raise KeyRejected("invalid session token (future generation)")
    if not fields.ephemeral and state.revoked_bitmap >> fields.token_id & 1:
        raise KeyRejected("session token has been revoked")


def check_signature(key: SignedKey) -> None:
    """Server step 8: the named address signed exactly this raw text. Raises KeyRejected."""
    try:
        signer = recover(signing_digest(key.raw), key.signature)
    except BadSignature as error:
        raise KeyRejected(str(error)) from error
    if signer.lower() != key.fields.address.lower():
        raise KeyRejected("signature verification failed: address mismatch")


def verify(header: str | None, *, provider: str, now: int, state: Revocation | None) -> KeyFields:
    """Every check of a provider in its documented order (provider-protocol.md 2.1).

    `now` is unix seconds, `state` the sub-account's revocation state or None where there is no
    account. Raises KeyRejected with the reference server's text.
    """
    key = parse_authorization(header)
    check_fields(key.fields, provider=provider, now=now)
    check_revocation(key.fields, state)
    check_signature(key)
    return key.fields
