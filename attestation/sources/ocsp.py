"""NVIDIA's OCSP responder: is a device's certificate revoked? (attestation.md 9.4)"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from attestation.engine import certificates
from attestation.engine import ocsp as judged
from attestation.sources.fetch import Request
from attestation.sources.needs import Question
from attestation.sources.obtain import Retriever, Unusable
from attestation.sources.records import Answer

_MAX_BYTES = 64 << 10
_AT_ONCE = 6
_SUCCESSFUL = ocsp.OCSPResponseStatus.SUCCESSFUL


async def answers(
    questions: Sequence[Question], retriever: Retriever, base: str
) -> tuple[bytes, ...]:
    """DER answers to those questions that got one."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(question: Question) -> Answer | None:
        async with gate:
            return await retriever.obtain(
                _request(question, base), lambda answer: _window(answer, question, retriever)
            )

    found = await asyncio.gather(*map(one, questions))
    usable = [answer for answer in found if answer is not None]
    retriever.use(*usable)
    return tuple(answer.body for answer in usable if answer.body is not None)


def _request(question: Question, base: str) -> Request:
    builder = ocsp.OCSPRequestBuilder().add_certificate(
        question.certificate, question.issuer, hashes.SHA384()
    )
    return Request(
        "ocsp",
        question.key,
        base,
        method="POST",
        headers={"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"},
        body=builder.build().public_bytes(Encoding.DER),
        max_bytes=_MAX_BYTES,
    )


def _window(answer: Answer, question: Question, retriever: Retriever) -> tuple[int, int]:
    """An authentic answer about this certificate: good, revoked or unknown."""
    name = certificates.common_name(question.certificate)
    try:
        said = ocsp.load_der_ocsp_response(answer.body or b"")
        if said.response_status != _SUCCESSFUL:
            raise Unusable(f"{name}: the service answered {said.response_status.name.lower()}")
        if said.serial_number != question.certificate.serial_number:
            raise Unusable(f"{name}: an answer about another certificate")
        retriever.issued(int(said.this_update_utc.timestamp()))
        judged.authentic(said, question.issuer, certificates.at(retriever.now))
        until = said.next_update_utc
        if until is None:
            raise Unusable(f"{name}: an answer without an end")
        return int(said.this_update_utc.timestamp()), int(until.timestamp())
    except Unusable:
        raise
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise Unusable(f"{name}: {str(error)[:120] or type(error).__name__}") from None
