"""JSON from strangers is bounded before it is parsed."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.errors import BadAnswer
from net.limits import JsonLimits
from net.strictjson import depth, loads, members

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


def real_depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(real_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(real_depth, value), default=0)
    return 0


@given(JSON)
def test_depth_is_that_of_the_value(value: Any) -> None:
    text = json.dumps(value).encode()
    assert depth(text) == real_depth(value)
    assert loads(text) == value


@given(st.dictionaries(st.text(), JSON), st.sampled_from([None, 1]), st.integers(-(2**99), 2**99))
def test_members_stand_as_they_were_written(value: Any, indent: int | None, whole: int) -> None:
    value = {**value, "whole": whole}
    text = f" {json.dumps(value, indent=indent)}\n".encode()
    assert loads(text).keys() == value.keys()
    assert json.loads(orjson.dumps(members(text))) == value
    twice = b'{"a": 1.00 ,"b":{} , "a" :[ ]}'
    assert orjson.dumps(members(twice)) == b'{"a":[ ],"b":{}}' and members(b"{ }") == {}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nul",
        b"NaN",
        b"Infinity",
        b"[1,]",
        b"'a'",
        b'"\xff"',
        b"\x00",
        b"{} {}",
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(BadAnswer):
        loads(text)


def test_limits() -> None:
    limits = JsonLimits(max_depth=3, max_bytes=100)
    assert loads(b"[[[1]]]", limits) == [[[1]]]
    assert loads(b"[[],[],[],[],[]]", limits) == [[]] * 5
    assert loads(b'["[[[[[[[["]', limits) == ["[" * 8]
    assert loads(rb'["\"[[[[[[["]', limits) == ['"' + "[" * 7]
    with pytest.raises(BadAnswer):
        loads(b"[[[[1]]]]", limits)
    with pytest.raises(BadAnswer):
        loads(b'"' + b"x" * 100 + b'"', limits)
    with pytest.raises(BadAnswer):
        loads(b"[" * 500_000, JsonLimits())
    with pytest.raises(BadAnswer, match="values"):  # half a GB of lists, made in seconds
        loads(b"[" + b"[]," * 2_700_000 + b"1]", JsonLimits(max_bytes=8 << 20))
    marks = JsonLimits(max_marks=3)
    assert loads(b"[1,2,3]", marks) == [1, 2, 3]
    with pytest.raises(BadAnswer, match="more than 3 values"):
        loads(b"[1,2,3,4]", marks)


def test_a_string_that_never_ends_costs_linear_time() -> None:
    """Escaped quotes in an unfinished string: once each, not once for every one before it."""
    started = time.process_time()
    for tail in (b"", b"\\"):
        with pytest.raises(BadAnswer):
            loads(b"[" * 33 + b'"' + b'\\"' * 200_000 + tail, JsonLimits())
    assert time.process_time() - started < 2  # was minutes
    assert depth(b'[["[[' + b'\\"' * 5 + b"[[") == 2
