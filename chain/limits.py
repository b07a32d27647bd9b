"""Reading from an error text that a log query was too wide. Pure.

Nodes phrase it in their own words, even against their own documentation (architecture.md 4-B.7).
"""

from __future__ import annotations

import re

_TOO_WIDE = (
    re.compile(r"block range|range (?:is )?too|range limit|exceed(?:s|ed)? (?:the )?(?:max|range)"),
    re.compile(
        r"query returned more than|more than \d+ (?:results|logs)|too many (?:results|logs|blocks)"
    ),
    re.compile(r"response (?:size|is too|too)|(?:max|limit)\w* .*(?:blocks|results|logs)"),
    re.compile(r"exceeds? limit|limited to|query timeout|try with this block range|eth_getlogs"),
)
_SPAN = re.compile(r"\[(0x[0-9a-f]+),\s*(0x[0-9a-f]+)\]")
_COUNT = re.compile(
    r"(?:up to|limited to|max(?:imum)?(?: is| of|:)?|at most|a)\s+(?:a\s+)?"
    r"([\d,]+)\s*(k?)(?:\s*-?\s*blocks?| range| block range)"
)


def log_limit(message: str) -> int | None:
    """The range (blocks) a node suggests for log queries; 0 when it names none.

    None when the message is not about the width of a query.
    """
    text = message.lower()
    if not any(pattern.search(text) for pattern in _TOO_WIDE):
        return None
    if span := _SPAN.search(text):
        first, last = (int(part, 16) for part in span.groups())
        return max(1, last - first + 1)
    if count := _COUNT.search(text):
        return int(count[1].replace(",", "")) * (1000 if count[2] else 1)
    return 0
