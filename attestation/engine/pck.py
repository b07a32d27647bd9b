"""Intel's extension in a PCK certificate: which CPU package, and how far it is patched.

OID 1.2.840.113741.1.13.1 (attestation.md 4). A small DER walker: only what is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509

_OID = "1.2.840.113741.1.13.1"
_NESTED = ("2", "7")
_TEXT_LIMIT = 4_096


@dataclass(frozen=True)
class Pck:
    """Values of the extension; None where the certificate has none. SVNs as Intel counts them."""

    ppid: bytes | None = None
    fmspc: bytes | None = None
    cpu_svn: bytes | None = None
    pce_svn: int | None = None
    platform_instance_id: bytes | None = None
    dynamic_platform: bool | None = None
    cached_keys: bool | None = None
    smt_enabled: bool | None = None


def read(certificate: x509.Certificate) -> Pck:
    """The extension's values. Raises ValueError where it is absent or malformed."""
    try:
        found = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(_OID))
    except x509.ExtensionNotFound:
        raise ValueError("no SGX extension") from None
    value = found.value
    if not isinstance(value, x509.UnrecognizedExtension) or len(value.value) > _TEXT_LIMIT:
        raise ValueError("SGX extension of an unexpected form")
    try:
        _, top, _ = _element(value.value)
        values = dict(_entries(top))
        return _pck(values)
    except IndexError:
        raise ValueError("truncated SGX extension") from None


def _pck(values: dict[str, bytes]) -> Pck:
    pce = values.get("2.17")
    return Pck(
        ppid=values.get("1"),
        fmspc=values.get("4"),
        cpu_svn=values.get("2.18"),
        pce_svn=None if pce is None else int.from_bytes(pce, "big"),
        platform_instance_id=values.get("6"),
        dynamic_platform=_flag(values, "7.1"),
        cached_keys=_flag(values, "7.2"),
        smt_enabled=_flag(values, "7.3"),
    )


def _flag(values: dict[str, bytes], leaf: str) -> bool | None:
    value = values.get(leaf)
    return None if not value else bool(value[0])


def _entries(sequence: bytes) -> Iterator[tuple[str, bytes]]:
    """Pairs of OID below ours ("2.17") and value, nested sequences walked."""
    position = 0
    while position < len(sequence):
        _, entry, position = _element(sequence, position)
        _, oid, after = _element(entry)
        _, value, _ = _element(entry, after)
        leaf = _dotted(oid).removeprefix(_OID + ".")
        if leaf in _NESTED:
            yield from _entries(value)
        else:
            yield leaf, value


def _element(data: bytes, start: int = 0) -> tuple[int, bytes, int]:
    """Tag, value and end of the DER element at `start`."""
    tag, length, header = data[start], data[start + 1], 2
    if length & 0x80:
        width = length & 0x7F
        length = int.from_bytes(data[start + 2 : start + 2 + width], "big")
        header += width
    end = start + header + length
    return tag, data[start + header : end], end


def _dotted(oid: bytes) -> str:
    parts, value = [oid[0] // 40, oid[0] % 40], 0
    for octet in oid[1:]:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            parts.append(value)
            value = 0
    return ".".join(map(str, parts))
