"""Addresses in EIP-55 form. Alone in a module that loads in no time (chain.helper)."""

from __future__ import annotations

import re
from functools import lru_cache

from eth_hash.auto import keccak

_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}\Z")
_WRITTEN = re.compile(r"0x[0-9a-fA-F]{40}\Z")


def is_address(text: str) -> bool:
    """Whether a text is `0x` and 40 hex digits, in letters of any case."""
    return _WRITTEN.match(text) is not None


def is_mistyped(address: str) -> bool:
    """Whether letters of both cases contradict the checksum of EIP-55: somebody's typing error."""
    digits = address[2:]
    return digits not in (digits.lower(), digits.upper()) and digits != checksum(address)[2:]


@lru_cache(maxsize=1 << 17)
def checksum(address: str) -> str:
    """The EIP-55 form of a 0x-hex address of any case; ValueError for anything else."""
    if not _ADDRESS.match(address):
        raise ValueError(f"not an address: {address[:50]!r}")
    digits = address[2:].lower()
    capital = keccak(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if mark >= "8" else digit
        for digit, mark in zip(digits, capital, strict=False)
    )
