"""How much evidence is looked at (attestation.md 12). Checked before parsing."""

from __future__ import annotations

from net.limits import JsonLimits

MAX_BODY_BYTES = 2 << 20
MAX_GPUS = 16
MAX_EVENTS = 5_000
MAX_CERTIFICATES = 10
MAX_CHAIN_BYTES = 64 << 10
MAX_EVIDENCE_BYTES = 64 << 10
MAX_CCEL_BYTES = 1 << 20
MAX_COMPOSE_BYTES = 256 << 10
#: Nodes of a YAML document after its aliases are followed: a small text can expand without end.
MAX_YAML_NODES = 50_000
MAX_YAML_DEPTH = 64
#: The same of its text: one long word can be named a thousand times.
MAX_YAML_CHARACTERS = 1 << 20
MAX_YAML_NUMBER = 200
MAX_RIM_BYTES = 1 << 20
MAX_OCSP_ANSWERS = 16 * MAX_CERTIFICATES
MAX_TOKEN_BYTES = 64 << 10
#: Text of one row: a stranger's value is cut here, after it was compared whole.
MAX_ROW_TEXT = 4_096

JSON = JsonLimits(max_depth=64, max_bytes=MAX_BODY_BYTES)


class TooMuch(ValueError):
    """The evidence is larger than anything honest."""


def check(what: str, size: int, most: int) -> None:
    """Raises TooMuch where `size` exceeds `most`."""
    if size > most:
        raise TooMuch(f"{what}: {size} is more than {most}")
