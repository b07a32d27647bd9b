"""Everything that outside services can add to one piece of evidence (attestation.md 5 and 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attestation.engine.evidence import Evidence
from attestation.sources.records import Cache, Note, Reference, Sources


@dataclass(frozen=True)
class Gathered:
    """Members of `engine.evidence.Context`, and where they came from.

    `rims` is None where the evidence holds no GPU. `clock_ahead`: by how many seconds our clock is
    ahead of Intel's service, None where it was not asked.
    """

    collateral: dict[str, str] | None = None
    rims: dict[str, bytes] | None = None
    ocsp: tuple[bytes, ...] = ()
    nras: Any = None
    jwks: Any = None
    references: tuple[Reference, ...] = ()
    notes: tuple[Note, ...] = ()
    clock_ahead: int | None = None

    @property
    def context(self) -> Mapping[str, Any]:
        """Keyword arguments of `engine.evidence.Context`."""
        names = ("collateral", "rims", "ocsp", "nras", "jwks")
        return {name: getattr(self, name) for name in names}


async def collect(evidence: Evidence, *, now: int, sources: Sources, cache: Cache) -> Gathered:
    """Never raises for what a service or a provider does."""
    raise NotImplementedError
