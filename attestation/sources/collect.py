"""Everything that outside services can add to one piece of evidence (attestation.md 5 and 9)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from attestation.engine.evidence import Evidence
from attestation.sources import needs, nras, ocsp, pcs, rim
from attestation.sources.fetch import Fetcher
from attestation.sources.obtain import Retriever
from attestation.sources.records import Cache, Note, Reference, Sources
from net.client import Client

T = TypeVar("T")
#: Beyond this, windows are judged at the wrong moment and collateral seems expired.
MOST_CLOCK_SECONDS = 300


@dataclass(frozen=True)
class Gathered:
    """Members of `engine.evidence.Context`, and where they came from.

    `now` is the moment to judge at: the one that was asked for, or the issue of a document a moment
    later. `rims` is None where the evidence holds no GPU.
    """

    now: int
    collateral: dict[str, str] | None = None
    rims: dict[str, bytes] | None = None
    ocsp: tuple[bytes, ...] = ()
    nras: Any = None
    jwks: Any = None
    references: tuple[Reference, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def context(self) -> Mapping[str, Any]:
        """Keyword arguments of `engine.evidence.Context`."""
        names = ("now", "collateral", "rims", "ocsp", "nras", "jwks")
        return {name: getattr(self, name) for name in names}


async def collect(evidence: Evidence, *, now: int, sources: Sources, cache: Cache) -> Gathered:
    """What can be had within `sources.seconds`, for a verdict at `now` (unix seconds).

    Raises nothing for what a service or a provider does; the cache's own errors pass through.
    """
    wanted = await asyncio.to_thread(needs.of, evidence, sources.anchors)
    async with Client(sources.policy, connections=16) as client:
        retriever = Retriever(Fetcher(client, sources), cache, now)
        for text in wanted.notes:
            retriever.note("", "", text)
        found = await asyncio.gather(
            _in_time("collateral", _collateral(wanted, retriever, sources), retriever, sources),
            _in_time("rim", _rims(wanted, retriever, sources), retriever, sources),
            _in_time(
                "ocsp", ocsp.answers(wanted.questions, retriever, sources.ocsp), retriever, sources
            ),
            _in_time("nras", _nras(wanted, retriever, sources), retriever, sources),
        )
    documents, manifests, revocations, tokens = found
    _clock(retriever)
    return Gathered(
        now=retriever.now,
        collateral=documents,
        rims=manifests if manifests is not None or not wanted.transcripts else {},
        ocsp=revocations or (),
        nras=tokens.nras if tokens else None,
        jwks=tokens.jwks if tokens else None,
        references=tuple(sorted(retriever.references, key=lambda r: (r["source"], r["key"]))),
        notes=tuple(retriever.notes),
    )


async def _in_time(
    source: str, asking: Awaitable[T | None], retriever: Retriever, sources: Sources
) -> T | None:
    """One service's part; a slow one costs only its own rows."""
    try:
        async with asyncio.timeout(sources.seconds):
            return await asking
    except TimeoutError:
        retriever.note(source, "", f"gave up after {sources.seconds:g} s")
        return None


async def _collateral(
    wanted: needs.Needs, retriever: Retriever, sources: Sources
) -> dict[str, str] | None:
    if wanted.platform is None:
        return None
    return await pcs.collateral_for(wanted.platform, retriever, sources.pcs, sources.anchors)


async def _rims(
    wanted: needs.Needs, retriever: Retriever, sources: Sources
) -> dict[str, bytes] | None:
    if not wanted.transcripts:
        return None
    return await rim.manifests(
        wanted.rim_ids, wanted.transcripts, retriever, sources.rim, sources.anchors
    )


async def _nras(wanted: needs.Needs, retriever: Retriever, sources: Sources) -> nras.Tokens | None:
    if wanted.nras is None:
        return None
    return await nras.tokens(wanted.nras, retriever, sources.nras, sources.anchors)


def _clock(retriever: Retriever) -> None:
    """Note a clock of ours that is wrong, which would make documents seem expired."""
    ahead = pcs.clock_ahead(retriever.fetched)
    if ahead is not None and abs(ahead) > MOST_CLOCK_SECONDS:
        way = "ahead of" if ahead > 0 else "behind"
        retriever.note(
            "clock",
            "",
            f"this site's clock is {abs(ahead)} s {way} Intel's: documents may seem expired",
        )
