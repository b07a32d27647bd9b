"""What a service says it is: which evidence to ask for, never a proof of anything. Pure.

The chain's own words (`verifiability`, `additionalInfo`: provider-protocol.md 3.4) are written by
the provider; changing them withdraws the owner's acknowledgement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from attestation.engine.reviewed import MAX_DECLARED
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits
from protocol.addresses import is_address

#: tee: broker and model in one TD; separated: two; centralized: the broker only routes to an
#: upstream; standard: no TEE at all; opml, zkml: other proofs, which nobody offers a check for yet.
Word = Literal["tee", "separated", "centralized", "standard", "opml", "zkml"]
EndpointName = Literal["broker", "model"]

#: Alone or after `sha256:`; several may be named.
_DIGEST = re.compile(r"(?<![0-9a-z])[0-9a-f]{64}(?![0-9a-z])")
_SHAPE = JsonLimits(max_depth=8, max_bytes=64 << 10)


@dataclass(frozen=True)
class Declared:
    """`endpoints`: whose evidence to expect. `model_signer`: of a separated model TEE, or ""."""

    word: Word
    endpoints: tuple[EndpointName, ...]
    model_signer: str = ""


def of(verifiability: str, additional_info: str) -> Declared:
    """What these two texts of a listing declare. Never raises; nothing said means one TD."""
    info = _object(additional_info)
    kind = str(info.get("ProviderType", "")).lower()
    said = verifiability.strip().lower()
    if kind == "standard" or said == "standard":
        return Declared("standard", ())
    if said in ("opml", "zkml"):
        return Declared("opml" if said == "opml" else "zkml", ())
    if kind == "centralized":
        return Declared("centralized", ("broker",))
    if info.get("TargetSeparated") is True:
        signer = info.get("TargetTeeAddress")
        known = isinstance(signer, str) and is_address(signer) and int(signer, 16)
        return Declared("separated", ("broker", "model"), str(signer) if known else "")
    return Declared("tee", ("broker",))


def images(additional_info: str) -> tuple[str, ...]:
    """SHA-256 (hex, lower case) of the images that a listing declares for its broker."""
    given = _object(additional_info).get("ImageDigest")
    found = _DIGEST.findall(given.lower()) if isinstance(given, str) else []
    return tuple(dict.fromkeys(found))[:MAX_DECLARED]


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = strictjson.loads(text.encode("utf-8", "replace"), _SHAPE)
    except BadAnswer:
        return {}
    return value if isinstance(value, dict) else {}
