"""Deterministic keys and certificates, and the little DER they need."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

Hash = hashes.SHA256 | hashes.SHA384
NOTICE = "DEVELOPMENT ONLY"
_NOT_BEFORE, _NOT_AFTER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)
_ORDER = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,  # noqa: E501
}


@dataclass(frozen=True)
class Authority:
    """A certificate and its key. Deterministic: the same seed and name give the same pair."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    algorithm: Hash

    def issue(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        ca: bool = False,
        serial_number: str | None = None,
        extensions: Sequence[x509.ExtensionType] = (),
    ) -> Authority:
        """A certificate under this one; `serial_number` is the subject's attribute."""
        subject = _name(name, serial_number)
        issuer = self.certificate.subject
        built = _builder(subject, issuer, key, self.key, ca=ca, extensions=extensions)
        signed = built.sign(self.key, self.algorithm, ecdsa_deterministic=True)
        return Authority(signed, key, self.algorithm)

    def sign(self, message: bytes, *, fresh: bool = False) -> bytes:
        return raw_sign(self.key, message, self.algorithm, fresh=fresh)


def root(name: str, key: ec.EllipticCurvePrivateKey, algorithm: Hash) -> Authority:
    """A self-signed authority."""
    subject = _name(name, None)
    built = _builder(subject, subject, key, key, ca=True, extensions=())
    return Authority(built.sign(key, algorithm, ecdsa_deterministic=True), key, algorithm)


def derive(seed: bytes, label: str, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    """The key that this seed has for this purpose."""
    digest = hashlib.sha512(seed + label.encode()).digest()
    secret = int.from_bytes(digest, "big") % (_ORDER[curve.name] - 1) + 1
    return ec.derive_private_key(secret, curve)


def raw_sign(
    key: ec.EllipticCurvePrivateKey, message: bytes, algorithm: Hash, *, fresh: bool = False
) -> bytes:
    """r || s, big endian, each as wide as the curve's order; `fresh`: others at each call."""
    width = (key.curve.key_size + 7) // 8
    signature = key.sign(message, ec.ECDSA(algorithm, deterministic_signing=not fresh))
    r, s = decode_dss_signature(signature)
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


def pem(*authorities: Authority) -> bytes:
    return b"".join(a.certificate.public_bytes(Encoding.PEM) for a in authorities)


def der(authority: Authority) -> bytes:
    return authority.certificate.public_bytes(Encoding.DER)


def element(tag: int, value: bytes) -> bytes:
    """A DER element."""
    length = len(value)
    if length < 128:
        return bytes([tag, length]) + value
    width = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | width]) + length.to_bytes(width, "big") + value


def sequence(*parts: bytes) -> bytes:
    return element(0x30, b"".join(parts))


def object_id(dotted: str) -> bytes:
    """A DER object identifier."""
    first, second, *rest = map(int, dotted.split("."))
    content = bytes([first * 40 + second])
    for value in rest:
        digits = [value & 0x7F]
        while value := value >> 7:
            digits.append(value & 0x7F | 0x80)
        content += bytes(reversed(digits))
    return element(6, content)


def _name(name: str, serial_number: str | None) -> x509.Name:
    attributes = [
        x509.NameAttribute(NameOID.COMMON_NAME, f"{NOTICE} {name}"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, NOTICE),
    ]
    if serial_number:
        attributes.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number))
    return x509.Name(attributes)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
    extensions: Sequence[x509.ExtensionType],
) -> x509.CertificateBuilder:
    # Two machines of one seed have certificates of one name: the key tells them apart.
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    number = hashlib.sha256(subject.public_bytes() + issuer.public_bytes() + spki).digest()[:16]
    usage = x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number((int.from_bytes(number, "big") >> 1) + 1)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder
