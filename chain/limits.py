"""Reading error texts of log queries: too wide, or too often? Pure.

Nodes phrase it in their own words, even against their own documentation (architecture.md 4-B.7);
the wordings that were seen in the field are the cases of `tests/pure/test_limits.py`.
"""

from __future__ import annotations

import re

_RATE = re.compile(
    r"rate.?limit|too many requests|(?:request|compute units?|capacity|throughput|call).{0,40}"
    r"(?:per second|limit (?:exceeded|reached)|quota)|requests? (?:count|limit) exceeded|slow down|"
    r"daily request|exceeded.{0,30}(?:quota|credits)|try again later"
)
#: About something else, although the words are near.
_NOT_WIDTH = re.compile(r"beyond (?:the )?(?:current )?head|gas|invalid block range")
_TOO_WIDE = tuple(
    re.compile(text)
    for text in (
        r"block ?range|blocks? distance|range (?:is )?too|range limit|ranges? over",
        r"range.{0,40}(?:exceed|bigger|larger|greater|limit|max|allowed)",
        r"exceed\w* .{0,30}(?:range|blocks|limit)|limit(?:ed)? (?:to|of|exceeded)",
        r"query returned more than|returns? too many|more than [\d,]+ (?:results|logs)",
        r"too many (?:results|logs|blocks|records)|(?:results|logs) .{0,30}(?:exceed|limit)",
        r"response (?:size|is too|too|exceed)|too (?:large|big)",
        r"(?:max|limit)\w*\b.{0,60}(?:blocks|results|logs|range)",
        r"(?:query|request|execution) time(?:d)? ?out|reduc\w+ .{0,30}(?:range|blocks)",
        r"(?:smaller|narrower) (?:block )?range|retry with|eth_getlogs (?:is|requests)",
    )
)
_SPANS = (
    re.compile(r"\[(0x[0-9a-f]+),\s*(0x[0-9a-f]+)\]"),
    re.compile(r"(?:range|blocks?|retry with|try with)[^\d]{0,20}(\d+)\s*(?:-|to|\.\.)\s*(\d+)\b"),
)
_NUMBER = r"(\d[\d,_]*)\s*(k?)"
_COUNTS = tuple(
    re.compile(text)
    for text in (
        # "up to a 2K block range", "limited to a 10,000 range", "at most 1000 blocks"
        r"(?:up to|limited to|limit of|at most|less than|no more than|within)\s+(?:an?\s+)?"
        rf"{_NUMBER}\s*-?\s*(?:blocks?\b|range|block range|$|[.,)])",
        # "maximum is set to 2048", "max: 10000", "max range of 5000", "max block range 100000"
        r"(?:max(?:imum)?|limit)\b\D{0,50}?" + _NUMBER + r"(?!\s*(?:results|logs|bytes|mb|gb))",
        # "ranges over 10000 blocks are not supported", "greater than 1024"
        rf"(?:over|greater than|more than|exceeds?)\s+{_NUMBER}\s*blocks?\b",
    )
)

_PRUNED = re.compile(
    r"missing trie node|(?:historical )?state.{0,40}(?:not available|unavailable|pruned)|pruned|"
    r"archive|no state (?:found|available)|distance to target block exceeds"
)


def is_pruned(message: str) -> bool:
    """Whether a node says that it no longer keeps the state of an old block."""
    return bool(_PRUNED.search(message.lower()))


def is_rate_limit(message: str) -> bool:
    """Whether a node says that we ask too often."""
    text = message.lower()
    return bool(_RATE.search(text)) and not re.search(r"block range|range limit", text)


def log_limit(message: str) -> int | None:
    """The range (blocks) a node suggests for log queries; 0 when it names none.

    None when the message is not about the width of a query.
    """
    text = message.lower()
    if _NOT_WIDTH.search(text) or not any(pattern.search(text) for pattern in _TOO_WIDE):
        return None
    if (span := _SPANS[0].search(text)) is not None:
        return _width(int(span[1], 16), int(span[2], 16))
    if (span := _SPANS[1].search(text)) is not None and re.search(r"(?:re)?try with|should", text):
        return _width(int(span[1]), int(span[2]))
    for pattern in _COUNTS:
        if count := pattern.search(text):
            return int(re.sub(r"[,_]", "", count[1])) * (1000 if count[2] else 1)
    return 0


def _width(first: int, last: int) -> int:
    return max(1, last - first + 1)
