"""How an address is written where there is no room for all of it."""

from __future__ import annotations


def short(address: str) -> str:
    """`0x1234…abcd` (6 + 4 characters, ux.md 2); shorter texts as they are."""
    return f"{address[:6]}…{address[-4:]}" if len(address) > 12 else address
