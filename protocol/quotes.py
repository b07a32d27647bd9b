"""Intel TDX quotes (versions 4 and 5) and dstack's runtime events: bytes in, fields out; judges
nothing.

Offsets, sizes and endianness are those of attestation.md 4 and 6.1. Everything is little endian.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field

MAX_QUOTE_BYTES = 32 << 10
TEE_TYPE_TDX = 0x81
KEY_TYPE_ECDSA_P256 = 2
QE_VENDOR_INTEL = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
CERTIFICATION_QE_REPORT = 6
CERTIFICATION_PCK_CHAIN = 5
QE_REPORT_BYTES = 384

#: Fields of a TD report in order, with their sizes in bytes.
BODY_TD10: tuple[tuple[str, int], ...] = (
    ("tee_tcb_svn", 16),
    ("mr_seam", 48),
    ("mr_signer_seam", 48),
    ("seam_attributes", 8),
    ("td_attributes", 8),
    ("xfam", 8),
    ("mr_td", 48),
    ("mr_config_id", 48),
    ("mr_owner", 48),
    ("mr_owner_config", 48),
    ("rtmr0", 48),
    ("rtmr1", 48),
    ("rtmr2", 48),
    ("rtmr3", 48),
    ("report_data", 64),
)
BODY_TD15 = (*BODY_TD10, ("tee_tcb_svn2", 16), ("mr_service_td", 48))
_TD10 = (2, 584)
_TD15 = (3, 648)
_MIN_SIGNATURE_SECTION = 134

#: dstack's own event type, in the register that the guest extends (attestation.md 6.1).
RUNTIME_EVENT = 0x08000001
RUNTIME_REGISTER = 3


class QuoteError(ValueError):
    """The bytes are not a TDX quote that we can read; the text says where it ends."""


@dataclass(frozen=True)
class Quote:
    """A quote taken apart. `signed_bytes` is the length of the part that the signature covers.

    `trailing` bytes follow the signature section; nobody signed them. `pck_pem` is empty where the
    certification data holds no chain.
    """

    raw: bytes
    version: int
    key_type: int
    tee_type: int
    vendor: bytes
    body_type: int
    body: dict[str, bytes]
    signed_bytes: int
    signature: bytes
    attestation_key: bytes
    trailing: int
    qe_report: bytes = b""
    qe_signature: bytes = b""
    qe_auth: bytes = b""
    certification_type: int = 0
    pck_pem: bytes = b""

    @property
    def attributes(self) -> int:
        """TDATTRIBUTES as a number, so that bit n is `attributes >> n & 1`."""
        return int.from_bytes(self.body["td_attributes"], "little")

    @property
    def is_td15(self) -> bool:
        return self.body_type == _TD15[0]

    @property
    def identity(self) -> str:
        """SHA-256 of the signed range: what a quote is known by, because its other bytes can be
        changed at will (attestation.md 4).
        """
        return hashlib.sha256(self.raw[: self.signed_bytes]).hexdigest()


@dataclass
class _Certification:
    """The certification data of the signature section, with the QE report unwrapped."""

    kind: int
    data: bytes
    qe_report: bytes = b""
    qe_signature: bytes = b""
    qe_auth: bytes = field(default=b"")


def parse(raw: bytes) -> Quote:
    """Take a TDX quote apart. Raises QuoteError for anything else (attestation.md 4)."""
    try:
        return _parse(raw)
    except (struct.error, IndexError) as error:
        raise QuoteError(f"truncated: {error}") from error


def _parse(raw: bytes) -> Quote:
    if len(raw) > MAX_QUOTE_BYTES:
        raise QuoteError(f"more than {MAX_QUOTE_BYTES} bytes")
    if len(raw) < 48 + 584 + 4:
        raise QuoteError(f"too short: {len(raw)} bytes")
    version, key_type, tee_type = struct.unpack_from("<HHI", raw, 0)
    body_type, start = _body_form(raw, version)
    body, position = {}, start
    for name, size in BODY_TD15 if body_type == _TD15[0] else BODY_TD10:
        body[name] = raw[position : position + size]
        position += size
    if len(raw) < position + 4:
        raise QuoteError("truncated body")
    (length,) = struct.unpack_from("<I", raw, position)
    section = raw[position + 4 : position + 4 + length]
    if len(section) != length or length < _MIN_SIGNATURE_SECTION:
        raise QuoteError("truncated signature section")
    certification = _certification(section)
    chain = certification.data if certification.kind == CERTIFICATION_PCK_CHAIN else b""
    return Quote(
        raw=raw,
        version=version,
        key_type=key_type,
        tee_type=tee_type,
        vendor=raw[12:28],
        body_type=body_type,
        body=body,
        signed_bytes=position,
        signature=section[:64],
        attestation_key=section[64:128],
        trailing=len(raw) - (position + 4 + length),
        qe_report=certification.qe_report,
        qe_signature=certification.qe_signature,
        qe_auth=certification.qe_auth,
        certification_type=certification.kind,
        pck_pem=chain.rstrip(b"\0"),
    )


def _body_form(raw: bytes, version: int) -> tuple[int, int]:
    """Body type and where the body starts."""
    if version == 4:
        return _TD10[0], 48
    if version != 5:
        raise QuoteError(f"unsupported quote version {version}")
    form = struct.unpack_from("<HI", raw, 48)
    if form not in (_TD10, _TD15):
        raise QuoteError(f"unsupported v5 body type {form[0]} size {form[1]}")
    return form[0], 54


def _certification(section: bytes) -> _Certification:
    kind, length = struct.unpack_from("<HI", section, 128)
    data = section[134 : 134 + length]
    if kind != CERTIFICATION_QE_REPORT:
        return _Certification(kind, data)
    if len(data) < 450:
        raise QuoteError("truncated QE report")
    (auth,) = struct.unpack_from("<H", data, 448)
    inner, inner_length = struct.unpack_from("<HI", data, 450 + auth)
    return _Certification(
        kind=inner,
        data=data[456 + auth : 456 + auth + inner_length],
        qe_report=data[:384],
        qe_signature=data[384:448],
        qe_auth=data[450 : 450 + auth],
    )


def runtime_digest(name: str, payload: bytes, version: int = 1) -> bytes:
    """The SHA-384 that dstack extends RTMR3 with for one event (attestation.md 6.1).

    `version` 2 (dstack >= 0.6) hashes RFC 8785 JSON, everything else the old concatenation.
    """
    if version == 2:
        document = {"name": name, "payload": payload.hex(), "type": RUNTIME_EVENT}
        preimage = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    else:
        preimage = RUNTIME_EVENT.to_bytes(4, "little") + b":" + name.encode() + b":" + payload
    return hashlib.sha384(preimage).digest()


def extend(register: bytes, digest: bytes) -> bytes:
    """The next value of a runtime measurement register; both are 48 bytes."""
    return hashlib.sha384(register + digest).digest()
