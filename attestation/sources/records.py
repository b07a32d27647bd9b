"""One answer of an outside service, and where answers are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict

from attestation.engine.anchors import NRAS_ISSUER, VENDOR, Anchors
from net.addresses import Policy

Source = Literal["tcb_info", "qe_identity", "pck_crl", "root_crl", "rim", "ocsp", "nras", "jwks"]

INTEL_PCS = "https://api.trustedservices.intel.com"
NVIDIA_RIM = "https://rim.attestation.nvidia.com"
NVIDIA_OCSP = "https://ocsp.ndis.nvidia.com"
NVIDIA_NRAS = NRAS_ISSUER


@dataclass(frozen=True)
class Sources:
    """Base URLs without a slash at the end, whom to believe, and how patient to be.

    `pauses`: seconds before each further attempt. `seconds`: for everything that one piece of
    evidence needs. `policy` allows private addresses only for a devnet's own services.
    """

    pcs: str = INTEL_PCS
    rim: str = NVIDIA_RIM
    ocsp: str = NVIDIA_OCSP
    nras: str = NVIDIA_NRAS
    anchors: Anchors = VENDOR
    policy: Policy = field(default_factory=Policy)
    pauses: tuple[float, ...] = (0.5, 2.0)
    answer_seconds: float = 15.0
    seconds: float = 60.0


@dataclass(frozen=True)
class Answer:
    """What one request brought. Times are unix seconds.

    `key` is an FMSPC, a CA, a RIM id, a certificate's SHA-256 or a request's SHA-256; "" where
    there is one document only. `status` is 0 where no answer came; `error` says why there is no
    usable body, which then is None. A usable answer has `valid_from` and `valid_until`.
    """

    source: Source
    key: str
    url: str
    fetched_at: int
    status: int = 0
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    http_date: int | None = None
    valid_from: int | None = None
    valid_until: int | None = None
    error: str = ""

    @property
    def sha256(self) -> str:
        """Of the body, lower-case hex; "" without one."""
        return hashlib.sha256(self.body).hexdigest() if self.body is not None else ""

    def usable(self, now: int) -> bool:
        """True where the body may be judged by at `now`."""
        return (
            not self.error
            and self.body is not None
            and self.valid_from is not None
            and self.valid_until is not None
            and self.valid_from <= now <= self.valid_until
        )

    def reference(self) -> Reference:
        return Reference(
            source=self.source,
            key=self.key,
            sha256=self.sha256,
            url=self.url,
            fetched_at=self.fetched_at,
        )


class Reference(TypedDict):
    """Names the stored answer that a verdict rests on."""

    source: Source
    key: str
    sha256: str
    url: str
    fetched_at: int


class Note(TypedDict):
    """What could not be had, and why, or what a document says, in one line for people."""

    source: str
    key: str
    text: str


class Cache(Protocol):
    """Where answers are kept: failures as well, so that an operator sees them."""

    async def find(self, source: Source, key: str, now: int) -> Answer | None:
        """The newest answer that is `usable(now)`."""
        ...

    async def keep(self, answer: Answer) -> None:
        """Write one answer down."""
        ...
