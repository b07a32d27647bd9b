"""Whether a block's bloom filter names a contract: yes may be wrong, no never is. Pure.

Yellow paper 4.3.1: three 11-bit values of keccak256(address) are set in 2048 bits.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from eth_hash.auto import keccak

_BLOOM = re.compile(r"0x[0-9a-f]{512}\Z")


def names_one_of(bloom: Any, addresses: Collection[str]) -> bool:
    """Whether any of `addresses` may have logged; False for a bloom the node left out."""
    if not isinstance(bloom, str) or not _BLOOM.match(bloom):
        return False
    bits = int(bloom, 16)
    return bits != 0 and any(bits & mask == mask for mask in map(_mask, addresses))


@lru_cache(1024)
def _mask(address: str) -> int:
    digest = keccak(bytes.fromhex(address[2:]))
    mask = 0
    for first in (0, 2, 4):
        mask |= 1 << (int.from_bytes(digest[first : first + 2], "big") & 2047)
    return mask
