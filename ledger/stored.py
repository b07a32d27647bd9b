"""Reading what rows of history hold as JSON: providers' own words, of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def fields(value: Any) -> Mapping[str, Any]:
    """The fields of a `before` or `after`; none where it is no object."""
    return value if isinstance(value, dict) else {}


def integer(value: Any) -> int:
    """A uint256 as it is stored, in decimal digits; 0 for anything else."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 80 else 0
