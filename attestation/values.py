"""Values of rows for reading: long hex by its ends, and what differs marked. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Hex digits: the first 16 and last 8 bytes of what is longer than SHORT.
SHORT, HEAD, TAIL = 48, 32, 16


@dataclass(frozen=True)
class Segment:
    """A piece of a value; `differs` where expected and got are not the same."""

    text: str
    differs: bool = False


@dataclass(frozen=True)
class Value:
    """What a row expected or got. `short` is empty where the whole is short enough to stand."""

    segments: tuple[Segment, ...]
    whole: str
    short: str


def ends(text: str) -> str:
    return text if len(text) <= SHORT else f"{text[:HEAD]}…{text[-TAIL:]}"


def one(text: str) -> Value | None:
    """A value that stands alone; None where there is none."""
    return _value(text, None)


def pair(expected: Any, got: Any, *, marked: bool) -> tuple[Value | None, Value | None]:
    """Both sides of a row; `marked` shows where they differ."""
    left, right = _shown(expected), _shown(got)
    if not (marked and left and right):
        return _value(left, None), _value(right, None)
    ours, theirs = _compared(left, right)
    return _value(left, ours), _value(right, theirs)


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


def _value(text: str, segments: tuple[Segment, ...] | None) -> Value | None:
    if not text:
        return None
    if segments is not None:
        return Value(segments, text, "")
    return Value((Segment(text),), text, ends(text) if _is_long_hex(text) else "")


def _is_long_hex(text: str) -> bool:
    digits = text.removeprefix("0x")
    return len(digits) > 2 * SHORT and all(c in "0123456789abcdefABCDEF" for c in digits)


def _compared(expected: str, got: str) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """Both texts with what is not the same marked: place by place where they are equally long,
    else the middle between a common beginning and a common end. Nothing is marked of two sentences
    that only share some letters: there is no place where they differ.
    """
    if len(expected) == len(got):
        return _by_place(expected, got), _by_place(got, expected)
    start = _common(expected, got)
    end = _common(expected[start:][::-1], got[start:][::-1])
    if 2 * (start + end) < min(len(expected), len(got)):
        return (Segment(expected),), (Segment(got),)
    return _middle(expected, start, end), _middle(got, start, end)


def _by_place(text: str, other: str) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    start = 0
    for i in range(1, len(text) + 1):
        if i == len(text) or (text[i] != other[i]) != (text[start] != other[start]):
            segments.append(Segment(text[start:i], text[start] != other[start]))
            start = i
    return tuple(segments)


def _common(one: str, other: str) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _middle(text: str, start: int, end: int) -> tuple[Segment, ...]:
    stop = len(text) - end
    parts = ((text[:start], False), (text[start:stop], True), (text[stop:], False))
    return tuple(Segment(part, differs) for part, differs in parts if part)
