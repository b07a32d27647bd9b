"""NVIDIA's RIM service: signed golden measurements by id (attestation.md 9.3)."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attestation.engine import certificates, rim
from attestation.engine.anchors import Anchors
from attestation.engine.evidence import Context
from attestation.engine.limits import JSON, MAX_RIM_BYTES
from attestation.engine.spdm import Transcript
from attestation.engine.verdicts import FAIL, Report
from attestation.sources.fetch import Request
from attestation.sources.obtain import Retriever, Unusable
from attestation.sources.records import Answer
from net import strictjson
from net.errors import BadAnswer

#: A manifest of an id is for ever; it is asked for again when its signer ends, or does not fit.
_FOR_EVER = 1 << 40
#: Not asked twice within an hour: a GPU that truly differs would ask at each run.
_AGAIN_SECONDS = 3600
_CERTIFICATE = re.compile(rb"X509Certificate>([A-Za-z0-9+/=\s]+)<")
_MAX_BYTES = 2 * MAX_RIM_BYTES


async def manifests(
    ids: Sequence[str],
    transcripts: Sequence[Transcript],
    retriever: Retriever,
    base: str,
    anchors: Anchors,
) -> dict[str, bytes]:
    """{id: signed XML} of those that could be had.

    NVIDIA issues new revisions under an old id (trap 28): where kept ones do not fit a GPU, they
    are fetched once more before anybody is blamed.
    """
    found = await _all(ids, retriever, base, anchors, again=False)
    if _contradicted(found, transcripts, retriever.now, anchors):
        old = [
            id
            for id, answer in found.items()
            if retriever.now - answer.fetched_at >= _AGAIN_SECONDS
        ]
        found |= await _all(old, retriever, base, anchors, again=True)
    retriever.use(*found.values())
    return {id: xml(answer) for id, answer in found.items()}


async def _all(
    ids: Sequence[str], retriever: Retriever, base: str, anchors: Anchors, *, again: bool
) -> dict[str, Answer]:
    def window(answer: Answer) -> tuple[int, int]:
        return _window(answer, retriever.now, anchors)

    requests = [Request("rim", id, f"{base}/v1/rim/{id}", max_bytes=_MAX_BYTES) for id in ids]
    answers = await asyncio.gather(
        *(retriever.obtain(r, window, refresh=_FOR_EVER, again=again) for r in requests)
    )
    return {answer.key: answer for answer in answers if answer is not None}


def _contradicted(
    found: Mapping[str, Answer], transcripts: Sequence[Transcript], now: int, anchors: Anchors
) -> bool:
    """True where a GPU's measurements or versions differ from what the manifests say."""
    context = Context(
        now=now, anchors=anchors, rims={id: xml(answer) for id, answer in found.items()}
    )
    report = Report("rim")
    for number, transcript in enumerate(transcripts):
        rim.verify(number, transcript, context, report)
    return any(row.verdict == FAIL for row in report.checks)


def xml(answer: Answer) -> bytes:
    """The manifest inside the service's JSON. Raises Unusable."""
    try:
        document: Any = strictjson.loads(answer.body or b"", JSON)
        return base64.b64decode("".join(document["rim"].split()), validate=True)
    except (BadAnswer, ValueError, KeyError, TypeError, AttributeError):
        raise Unusable("the answer holds no manifest") from None


def _window(answer: Answer, now: int, anchors: Anchors) -> tuple[int, int]:
    """As long as its signer's certificates, once it is authentic."""
    manifest = xml(answer)
    try:
        rim.load(manifest, certificates.at(now), anchors.rim)
        chain = [
            certificates.load_der(base64.b64decode(b"".join(text.split())))
            for text in _CERTIFICATE.findall(manifest)
        ]
        start = max(c.not_valid_before_utc for c in chain)
        end = min(c.not_valid_after_utc for c in chain)
        return int(start.timestamp()), int(end.timestamp())
    except ValueError as error:
        raise Unusable(f"the manifest proves nothing: {str(error)[:160]}") from None
