"""Whom we believe: vendor roots by fingerprint, or development roots that taint the verdict.

A chain carries its own root, so no certificate file is needed: the last certificate must have the
pinned SHA-256, byte for byte (attestation.md 3). Anchors are chosen by settings, never by a report.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

from attestation.engine.limits import JSON
from net import strictjson
from net.errors import BadAnswer

INTEL_SGX_ROOT = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
NVIDIA_DEVICE_ROOT = "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"
NVIDIA_RIM_ROOT = "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1"
NRAS_ISSUER = "https://nras.attestation.nvidia.com"
_NAMES = ("intel", "nvidia", "rim", "nras_issuer")


class BadAnchors(ValueError):
    """The anchors file is not what interfaces.md 1 describes."""


@dataclass(frozen=True)
class Anchors:
    """SHA-256 fingerprints (hex) of three roots, and the issuer of NVIDIA's tokens.

    `intel_der` is the root itself where it is not Intel's: dcap-qvl knows Intel's by heart.
    """

    intel: str = INTEL_SGX_ROOT
    nvidia: str = NVIDIA_DEVICE_ROOT
    rim: str = NVIDIA_RIM_ROOT
    nras_issuer: str = NRAS_ISSUER
    intel_der: bytes | None = None

    @property
    def development(self) -> bool:
        """True where anything but a vendor is believed, even beside the vendors."""
        return self != Anchors()


VENDOR = Anchors()


def load(text: bytes) -> Anchors:
    """Anchors from `{"intel", "nvidia", "rim": base64 DER, "nras_issuer"}` (interfaces.md 1).

    They count as development anchors whatever they are. Raises BadAnchors.
    """
    try:
        document: Any = strictjson.loads(text, JSON)
    except BadAnswer as error:
        raise BadAnchors(f"anchors: {error}") from None
    if not isinstance(document, dict) or not all(
        isinstance(document.get(name), str) for name in _NAMES
    ):
        raise BadAnchors(f"anchors: expected an object with the texts {', '.join(_NAMES)}")
    intel, nvidia, rim = (_der(name, document[name]) for name in _NAMES[:3])
    return Anchors(
        intel=hashlib.sha256(intel).hexdigest(),
        nvidia=hashlib.sha256(nvidia).hexdigest(),
        rim=hashlib.sha256(rim).hexdigest(),
        nras_issuer=document["nras_issuer"],
        intel_der=intel,
    )


def _der(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BadAnchors(f"anchors: {name} is not base64") from None
