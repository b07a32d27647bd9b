"""X.509 chains judged at a given time, and raw ECDSA signatures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attestation.engine.limits import MAX_CERTIFICATES, MAX_CHAIN_BYTES, check

_UNREADABLE = (
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def at(now: int) -> datetime:
    """Unix seconds as a moment. Raises ValueError or OverflowError outside years 1 to 9999."""
    return datetime.fromtimestamp(now, UTC)


def load_pem(text: bytes) -> list[x509.Certificate]:
    """Every PEM certificate of a text, in order; none is an empty list. Raises ValueError."""
    check("certificate chain bytes", len(text), MAX_CHAIN_BYTES)
    # Counted by their beginnings: each that has no end makes the search read all the rest.
    check("certificates", text.count(b"-----BEGIN CERTIFICATE-----"), MAX_CERTIFICATES)
    return [_whole(x509.load_pem_x509_certificate, pem) for pem in _PEM.findall(text)]


def load_der(der: bytes) -> x509.Certificate:
    """One certificate. Raises ValueError."""
    return _whole(x509.load_der_x509_certificate, der)


def load_list(der: bytes) -> x509.CertificateRevocationList:
    """A revocation list whose issuer and window can be read. Raises ValueError."""
    try:
        found = x509.load_der_x509_crl(der)
        _ = found.issuer, found.last_update_utc, found.next_update_utc
    except _UNREADABLE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return found


@lru_cache(maxsize=128)
def _whole(load: Callable[[bytes], x509.Certificate], data: bytes) -> x509.Certificate:
    """A certificate whose every part can be read: the library parses keys and extensions late.

    Remembered by its bytes (at most 8 MiB together), as one report brings the same few several
    times, and so does every report of a vendor. Raises ValueError.
    """
    try:
        certificate = load(data)
        certificate.public_key()
        _ = certificate.extensions
    except _UNREADABLE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return certificate


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER bytes, lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def common_name(certificate: x509.Certificate) -> str:
    """The subject's common name, "" where it has none."""
    return _attribute(certificate, x509.NameOID.COMMON_NAME) or ""


def serial_number(certificate: x509.Certificate) -> str | None:
    """The subject's serialNumber attribute: what NVIDIA names a GPU by (attestation.md 9.2)."""
    return _attribute(certificate, x509.NameOID.SERIAL_NUMBER)


def subject(certificate: x509.Certificate, width: int = 60) -> str:
    return certificate.subject.rfc4514_string()[:width]


def path(chain: Sequence[x509.Certificate]) -> str:
    """The chain in words, leaf first."""
    return " <- ".join(map(common_name, chain))


def outside_validity(chain: Sequence[x509.Certificate], now: datetime) -> str | None:
    """What is wrong with the dates, or None."""
    for certificate in chain:
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            return (
                f"{subject(certificate)} not valid at {now:%Y-%m-%d}: "
                f"{certificate.not_valid_before_utc:%Y-%m-%d} to "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}"
            )
    return None


def bad_issuer(chain: Sequence[x509.Certificate], *, need_ca: bool = True) -> str | None:
    """The first link that its parent did not sign (or may not sign), or None."""
    for child, parent in pairwise(chain):
        problem = _link_problem(child, parent)
        if problem:
            return f"{subject(child)}: bad issuer signature ({problem})"
        if need_ca and not is_ca(parent):
            return f"{subject(parent)} is not a CA"
    return None


@lru_cache(maxsize=512)
def _link_problem(child: x509.Certificate, parent: x509.Certificate) -> str:
    """Why `parent` did not sign `child`, "" where it did. Remembered by both certificates' bytes:
    the upper links of every chain are the same few.
    """
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        return type(error).__name__
    return ""


def is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def revoked(
    chain: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
    now: datetime,
) -> str | None:
    """Why the chain is not known to be unrevoked (each issuer needs a current list), or None."""
    for child, parent in pairwise(chain):
        issued = next((crl for crl in lists if crl.issuer == parent.subject), None)
        if issued is None:
            return f"no revocation list from {subject(parent)}"
        if not _list_signed(issued, parent):
            return f"revocation list of {subject(parent)}: signature invalid"
        until = issued.next_update_utc
        if until is None or not issued.last_update_utc <= now <= until:
            return f"revocation list of {subject(parent)} outside its validity window"
        if issued.get_revoked_certificate_by_serial_number(child.serial_number) is not None:
            return f"{subject(child)} is revoked"
    return None


def chain_problem(
    chain: Sequence[x509.Certificate],
    pin: str,
    roots: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
    now: datetime,
) -> str | None:
    """Why a chain (leaf first) does not end in the pinned root, valid and unrevoked; or None.

    The last certificate must *be* the root; `roots` completes a chain that only names it.
    """
    if not chain:
        return "empty chain"
    if fingerprint(chain[-1]) != pin:
        if not roots or chain[-1].issuer != roots[0].subject:
            return "chain does not end in the pinned root"
        chain = [*chain, roots[0]]
    return outside_validity(chain, now) or bad_issuer(chain) or revoked(chain, lists, now)


def _list_signed(issued: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    try:
        return isinstance(key, ec.EllipticCurvePublicKey) and issued.is_signature_valid(key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def signed_by(
    key: object, signature: bytes, message: bytes, algorithm: hashes.HashAlgorithm
) -> bool:
    """True where `signature` (r || s, big endian, two halves) is by `key` over `message`.

    False for any key that is not an elliptic-curve key.
    """
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    half = len(signature) // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(algorithm))
    except InvalidSignature:
        return False
    return True


def _attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str | None:
    found = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else None
