"""Is a GPU's chain revoked? Stored OCSP answers, judged at the verification's time (9.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from attestation.engine import certificates
from attestation.engine.evidence import Context, excerpt
from attestation.engine.limits import MAX_OCSP_ANSWERS
from attestation.engine.verdicts import FAIL, NOT_CHECKED, PASS, WARN, Report, Verdict
from net.marks import N_

_Status = ocsp.OCSPCertStatus


class BadAnswer(ValueError):
    """An answer that proves nothing; the text says why."""


@dataclass
class _Findings:
    good: int = 0
    revoked: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


def verify(i: int, chain: Sequence[x509.Certificate], context: Context, report: Report) -> None:
    """Add gpuN.revocation. The leaf is never asked about: NVIDIA answers "unauthorized"."""
    title, group = N_("GPU %(number)s: device chain is not revoked") % {"number": i}, f"GPU {i}"
    if not context.ocsp:
        report.add(
            f"gpu{i}.revocation",
            group,
            title,
            NOT_CHECKED,
            detail=N_("needs answers of NVIDIA's OCSP service"),
            source="NVIDIA OCSP",
            required=False,
        )
        return
    found = _Findings()
    answers = _readable(context.ocsp, found)
    asked = range(1, len(chain) - 1)
    for number in asked:
        _judge(chain[number], chain[number + 1], answers, certificates.at(context.now), found)
    # A genuine "revoked" is about the device; a stale or badly signed answer is about our copy.
    verdict: Verdict = PASS if found.good == len(asked) else NOT_CHECKED
    if found.revoked or found.bad:
        verdict = FAIL if found.revoked else WARN
    report.add(
        f"gpu{i}.revocation",
        group,
        title,
        verdict,
        got="; ".join(found.revoked + found.bad) or f"{found.good} of {len(asked)} good",
        source="NVIDIA OCSP",
        required=bool(found.revoked),
    )


def _readable(given: Sequence[bytes], found: _Findings) -> list[ocsp.OCSPResponse]:
    """Answers that say something: an unsigned "unauthorized" is skipped."""
    answers = []
    for der in given[:MAX_OCSP_ANSWERS]:
        try:
            answer = ocsp.load_der_ocsp_response(der)
            if answer.response_status == ocsp.OCSPResponseStatus.SUCCESSFUL:
                # The library reads these late; an answer without them says nothing.
                _ = answer.serial_number, answer.signature_hash_algorithm
                _ = answer.certificate_status, answer.certificates
        except (ValueError, UnsupportedAlgorithm) as error:
            found.bad.append(f"unreadable answer ({excerpt(error)})")
            continue
        if answer.response_status == ocsp.OCSPResponseStatus.SUCCESSFUL:
            answers.append(answer)
    return answers


def _judge(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    answers: Sequence[ocsp.OCSPResponse],
    now: datetime,
    found: _Findings,
) -> None:
    """Count the first answer about this certificate."""
    for answer in answers:
        if answer.serial_number != certificate.serial_number:
            continue
        name = certificates.subject(certificate)
        try:
            authentic(answer, issuer, now)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            found.bad.append(f"{name}: {str(error) or type(error).__name__}")
            return
        if answer.certificate_status == _Status.REVOKED:
            found.revoked.append(f"{name} revoked {answer.revocation_time_utc:%Y-%m-%d}")
        elif answer.certificate_status == _Status.GOOD:
            found.good += 1
        return


def authentic(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> None:
    """Signed by the issuer or its delegate, and current. Raises ValueError, TypeError,
    InvalidSignature or UnsupportedAlgorithm.
    """
    signer = issuer
    if answer.certificates:
        signer = answer.certificates[0]
        _delegated(signer, issuer, now)
    key, algorithm = signer.public_key(), answer.signature_hash_algorithm
    if not isinstance(key, ec.EllipticCurvePublicKey) or algorithm is None:
        raise BadAnswer("signed with an unexpected kind of key")
    key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(algorithm))
    until = answer.next_update_utc
    if until is None or not answer.this_update_utc <= now <= until:
        raise BadAnswer("outside its validity window")


def _delegated(signer: x509.Certificate, issuer: x509.Certificate, now: datetime) -> None:
    signer.verify_directly_issued_by(issuer)
    try:
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        raise BadAnswer("responder certificate without the OCSP usage") from None
    if ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
        raise BadAnswer("responder certificate without the OCSP usage")
    expired = certificates.outside_validity([signer], now)
    if expired:
        raise BadAnswer(expired)
