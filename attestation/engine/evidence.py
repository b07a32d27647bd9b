"""What a verification is made of, and how members of a report are read."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from attestation.engine.anchors import VENDOR, Anchors
from attestation.engine.collateral import Collateral
from attestation.engine.limits import JSON
from attestation.engine.policy import DEFAULT, Policy
from net import strictjson
from net.errors import BadAnswer

Kind = Literal["report", "gpu", "gpu-payload"]
KINDS: tuple[Kind, ...] = ("report", "gpu", "gpu-payload")
#: Evidence is judged at moments between 1970 and here, unix seconds.
MOST_NOW = 1 << 40


@dataclass(frozen=True)
class Evidence:
    """What a provider handed over: a report's body as it was received, one GPU's binary evidence
    with its PEM chain, or an `nvidia_payload`.
    """

    kind: Kind
    body: bytes
    chain_pem: bytes = b""


@dataclass(frozen=True)
class Context:
    """Everything a verdict depends on; None where we do not have it, which is never green.

    now               unix seconds: the moment that every validity window is judged at
    collateral        Intel's documents for this platform (collateral.build)
    rims              {RIM id: signed XML}; an empty mapping means that we looked and found none
    ocsp              DER answers about the GPU's certificates
    nras, jwks        NVIDIA's detached token list and the key set stored with it
    onchain_signer    teeSignerAddress of the service; acknowledged: teeSignerAcknowledged
    nonce             hex, the one we sent; `accepts_nonce`: the endpoint documents the parameter
    tls_fingerprint   of the live connection, hex
    body_signature    ZG-Quote-Signature: "" asked for and absent, None not applicable
    declared_images   SHA-256 (hex) of images that the listing declares: claims, to be compared
    challenge       an exchange with the key (engine.exchange), or {"missing": why}; None: no row
    """

    now: int
    anchors: Anchors = VENDOR
    policy: Policy = DEFAULT
    collateral: Collateral | None = None
    rims: Mapping[str, bytes] | None = None
    ocsp: Sequence[bytes] = field(default_factory=tuple)
    nras: Any = None
    jwks: Any = None
    onchain_signer: str | None = None
    acknowledged: bool | None = None
    nonce: str | None = None
    accepts_nonce: bool = True
    tls_fingerprint: str | None = None
    body_signature: str | None = None
    declared_images: Sequence[str] = ()
    challenge: Mapping[str, Any] | None = None


class Unreadable(ValueError):
    """The evidence is not of a form that we know."""


def document(text: bytes) -> Any:
    """A stranger's JSON within our limits. Raises Unreadable."""
    try:
        return strictjson.loads(text, JSON)
    except BadAnswer as error:
        raise Unreadable(str(error)) from None


def nested(value: Any) -> Any:
    """A member that some senders give as JSON and some as a text of JSON. Raises Unreadable."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        return document(value.encode())
    return value


def hex_or_base64(value: Any) -> bytes:
    """Bytes written as hex (0x or not) or base64. Raises ValueError."""
    if not isinstance(value, str):
        raise Unreadable(f"expected a text, got {type(value).__name__}")
    text = value.strip().removeprefix("0x")
    try:
        return bytes.fromhex(text)
    except ValueError:
        return base64.b64decode(text)


def base64_or_pem(value: Any) -> bytes:
    """Bytes of a member that holds base64, or PEM as it is; nothing gives b"".

    Raises ValueError.
    """
    if not value:
        return b""
    if not isinstance(value, str):
        raise Unreadable(f"expected a text, got {type(value).__name__}")
    if value.lstrip().startswith("-----BEGIN"):
        return value.encode()
    return base64.b64decode(value)


def mapping(value: Any, what: str) -> dict[str, Any]:
    """The value, which has to be an object. Raises Unreadable."""
    if not isinstance(value, dict):
        raise Unreadable(f"{what} is not an object")
    return value


def excerpt(error: BaseException) -> str:
    """An error in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
