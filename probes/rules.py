"""What a provider's robots.txt says to us (RFC 9309): pure.

Only a group that names us counts: `User-agent: *` speaks to search engines, and most servers keep
all of them out.
"""

from __future__ import annotations

from typing import Any
from urllib.robotparser import RobotFileParser

#: Our product token, as a group has to name it.
AGENT = "0g-market-probe"
MAX_BYTES = 64 << 10


def forbids(text: bytes, path: str) -> bool:
    """Whether the file asks us by name to leave `path` alone."""
    parser: Any = RobotFileParser()
    parser.parse(text[:MAX_BYTES].decode("utf-8", "replace").splitlines())
    parser.default_entry = None
    # The parser takes any part of a name for the name, and an empty one for everybody's; but not a
    # name with a version, as requests say it.
    parser.entries = [entry for entry in parser.entries if AGENT in map(_token, entry.useragents)]
    for entry in parser.entries:
        entry.useragents = [AGENT]
    return not parser.can_fetch(AGENT, path)


def _token(name: str) -> str:
    return name.partition("/")[0].strip().lower()
