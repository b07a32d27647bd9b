"""Ranges against plain sets of numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import ranges

RANGE = st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda t: (t[0], t[0] + t[1]))
RANGES = st.lists(RANGE, max_size=8)


def numbers(items: list[ranges.Range]) -> set[int]:
    return {n for first, last in items for n in range(first, last + 1)}


def is_normal(items: list[ranges.Range]) -> bool:
    return all(a[1] + 1 < b[0] for a, b in pairwise(items))


@given(RANGES)
def test_normal_form_keeps_the_blocks(items: list[ranges.Range]) -> None:
    result = ranges.normal(items)
    assert numbers(result) == numbers(items)
    assert is_normal(result)
    assert ranges.blocks(items) == len(numbers(items))


@given(RANGE, RANGES)
def test_gaps_are_wanted_minus_covered(wanted: ranges.Range, covered: list[ranges.Range]) -> None:
    result = ranges.gaps(wanted, covered)
    assert numbers(result) == numbers([wanted]) - numbers(covered)
    assert is_normal(result)


@given(RANGE, st.integers(1, 9))
def test_pieces_cut_without_loss(whole: ranges.Range, size: int) -> None:
    result = list(ranges.pieces(whole, size))
    assert [n for a, b in result for n in range(a, b + 1)] == sorted(numbers([whole]))
    assert all(b - a < size for a, b in result)


def test_a_backwards_range_is_refused() -> None:
    with pytest.raises(ValueError, match="ends before"):
        ranges.normal([(3, 2)])
