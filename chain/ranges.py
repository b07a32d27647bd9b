"""Algebra of block ranges: what is wanted, minus what is covered, is what to fetch. Pure.

A range is `(first, last)`, both included, first <= last. A normal form is sorted, and neither
overlapping nor adjacent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Range = tuple[int, int]


def normal(ranges: Iterable[Range]) -> list[Range]:
    """The same blocks in normal form; ValueError for a range that ends before it starts."""
    result: list[Range] = []
    for first, last in sorted(ranges):
        if last < first:
            raise ValueError(f"range {first}-{last} ends before it starts")
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


def gaps(wanted: Range, covered: Iterable[Range]) -> list[Range]:
    """The parts of `wanted` that no range of `covered` holds, in normal form."""
    first, last = wanted
    found = []
    for start, end in normal(covered):
        if end < first:
            continue
        if start > last:
            break
        if start > first:
            found.append((first, start - 1))
        first = end + 1
    if first <= last:
        found.append((first, last))
    return found


def pieces(whole: Range, size: int) -> Iterator[Range]:
    """`whole` cut into consecutive ranges of at most `size` blocks."""
    first, last = whole
    while first <= last:
        end = min(last, first + size - 1)
        yield first, end
        first = end + 1


def blocks(ranges: Iterable[Range]) -> int:
    """How many blocks the ranges hold, each counted once."""
    return sum(last - first + 1 for first, last in normal(ranges))
