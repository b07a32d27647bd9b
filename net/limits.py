"""How much of a stranger's answer we take, and how long we wait for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes of one exchange. `total` covers everything, redirects included; None means
    no such limit.
    """

    connect: float = 5.0
    first_byte: float = 20.0
    between: float = 30.0
    total: float | None = 60.0
    max_bytes: int = 1 << 20
    max_redirects: int = 2


@dataclass(frozen=True)
class JsonLimits:
    """Bounds of a JSON text that are checked before it is parsed. `max_marks`: see
    `protocol.marks`.
    """

    max_depth: int = 32
    max_bytes: int = 1 << 20
    max_marks: int = 1 << 19
