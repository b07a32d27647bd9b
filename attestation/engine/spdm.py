"""The SPDM measurement transcript of an NVIDIA GPU: bytes in, fields out (attestation.md 9.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from attestation.engine.limits import MAX_EVIDENCE_BYTES

REQUEST_BYTES = 37
SIGNATURE_BYTES = 96
_RESPONDER_NONCE_BYTES = 32
DRIVER, VBIOS, NVDEC0, CHIP_SKU, PROJECT, PROJECT_SKU = 3, 6, 11, 15, 17, 18
FWID, PROTECTED_PCIE, CHIP = 20, 21, 35
NVDEC0_DISABLED = b"\x55"
#: Drivers since CUDA 13.5 begin the opaque data with this, and give each value a type
#: (docs.nvidia.com/attestation/specs, "Opaque Data Format").
_MAGIC, _NEWEST_MAJOR = b"NVDAOD", 2


class EvidenceError(ValueError):
    """The bytes are not a measurement transcript; the text says why."""


@dataclass(frozen=True)
class Transcript:
    """Request and response. `blocks` are numbered from 1; `signed` is what the GPU's key covers;
    `typed`: the opaque data has a header and typed values.
    """

    nonce: bytes
    blocks: dict[int, bytes]
    opaque: dict[int, bytes]
    signed: bytes
    signature: bytes
    trailing: int
    typed: bool = False

    def text(self, kind: int) -> str:
        """An opaque value as text, padding removed; "" where it is absent."""
        return self.opaque.get(kind, b"").rstrip(b"\0").decode("latin1").strip()

    @property
    def vbios(self) -> str:
        """Version as NVIDIA prints it (00CF009602000000 is 96.00.CF.00.02); "" if absent."""
        value = self.opaque.get(VBIOS, b"")
        if len(value) != 8:
            return ""
        digits = value[::-1].hex()
        digits = digits[8:] + digits[6:8]
        return ".".join(digits[i : i + 2] for i in range(0, 10, 2)).upper()

    @property
    def board(self) -> str:
        return "_".join(self.text(kind) for kind in (PROJECT, PROJECT_SKU, CHIP_SKU))

    @property
    def rim_ids(self) -> tuple[str, str]:
        """Ids of the reference manifests for driver and VBIOS (attestation.md 9.3)."""
        driver, chip = self.text(DRIVER), self.text(CHIP)
        hopper = not chip or chip.startswith("GH100")
        name = f"NV_GPU_DRIVER_GH100_{driver}" if hopper else f"NV_GPU_CC_DRIVER_{chip}_{driver}"
        return name, f"NV_GPU_VBIOS_{self.board}_{self.vbios.replace('.', '')}".upper()


def parse(evidence: bytes) -> Transcript:
    """Walk the structure: padding may follow the signature. Raises EvidenceError."""
    try:
        return _parse(evidence)
    except (struct.error, IndexError) as error:
        raise EvidenceError(f"truncated: {error}") from None


def _parse(evidence: bytes) -> Transcript:
    if len(evidence) > MAX_EVIDENCE_BYTES:
        raise EvidenceError(f"more than {MAX_EVIDENCE_BYTES} bytes")
    if len(evidence) < REQUEST_BYTES + 8 + 34 + SIGNATURE_BYTES:
        raise EvidenceError(f"too short: {len(evidence)} bytes")
    if evidence[:2] != b"\x11\xe0":
        raise EvidenceError(f"not SPDM 1.1 GET_MEASUREMENTS (bytes {evidence[:2].hex()})")
    if evidence[REQUEST_BYTES : REQUEST_BYTES + 2] != b"\x11\x60":
        raise EvidenceError("no MEASUREMENTS response")
    blocks, position = _blocks(evidence)
    position += _RESPONDER_NONCE_BYTES
    (length,) = struct.unpack_from("<H", evidence, position)
    position += 2
    end = position + length
    if end + SIGNATURE_BYTES > len(evidence):
        raise EvidenceError("opaque data overruns")
    return Transcript(
        nonce=evidence[4:36],
        blocks=blocks,
        opaque=_opaque(evidence, position, end),
        signed=evidence[:end],
        signature=evidence[end : end + SIGNATURE_BYTES],
        trailing=len(evidence) - end - SIGNATURE_BYTES,
        typed=evidence[position:end].startswith(_MAGIC),
    )


def _blocks(evidence: bytes) -> tuple[dict[int, bytes], int]:
    """Measurements by number, and where the record ends."""
    count = evidence[REQUEST_BYTES + 4]
    length = int.from_bytes(evidence[REQUEST_BYTES + 5 : REQUEST_BYTES + 8], "little")
    position = REQUEST_BYTES + 8
    end, blocks = position + length, dict[int, bytes]()
    if end + 34 > len(evidence):
        raise EvidenceError("measurement record overruns")
    for _ in range(count):
        number, specification, size = struct.unpack_from("<BBH", evidence, position)
        value = evidence[position + 4 : position + 4 + size]
        (inner,) = struct.unpack_from("<H", value, 1)
        whole = len(value) == size and inner == size - 3
        if specification != 1 or not whole or number in blocks:
            raise EvidenceError(f"bad measurement block {number}")
        blocks[number] = value[3:]
        position += 4 + size
    if position != end:
        raise EvidenceError("measurement record length mismatch")
    return blocks, end


def _opaque(evidence: bytes, position: int, end: int) -> dict[int, bytes]:
    """Values by kind: {kind, length, value}, and between kind and length a type where there is a
    header.
    """
    head = "<HH"
    if evidence[position:end].startswith(_MAGIC):
        profile, major = struct.unpack_from("<HB", evidence, position + len(_MAGIC))
        if profile or major > _NEWEST_MAJOR:
            raise EvidenceError(f"opaque data of profile {profile}, version {major}: unknown")
        head, position = "<HxxH", position + len(_MAGIC) + 6
    values = {}
    while position < end:
        kind, length = struct.unpack_from(head, evidence, position)
        position += struct.calcsize(head)
        values[kind] = evidence[position : position + length]
        position += length
    if position != end:
        raise EvidenceError("opaque data length mismatch")
    return values
