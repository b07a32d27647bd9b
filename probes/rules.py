"""What a provider's robots.txt says to us (RFC 9309): pure.

Only a group that names us counts: `User-agent: *` speaks to search engines, and most servers keep
all of them out.
"""

from __future__ import annotations

from urllib.robotparser import RobotFileParser

#: Our product token, as a group has to name it.
AGENT = "0g-market-probe"
MAX_BYTES = 64 << 10


def forbids(text: bytes, path: str) -> bool:
    """Whether the file asks us by name to leave `path` alone."""
    parser = RobotFileParser()
    parser.parse(text[:MAX_BYTES].decode("utf-8", "replace").splitlines())
    parser.default_entry = None  # type: ignore[attr-defined]
    return not parser.can_fetch(AGENT, path)
