"""Where a picture is to be changed: rectangles and strokes, as numbers. Pure.

Coordinates are thousandths of the picture's width and height, so that a mask drawn by hand, by keys
or typed is the same thing. The server draws it (`inference.media.uploads`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import orjson

from inference.errors import BadPrompt
from net.marks import N_

WHOLE = 1000
MAX_SHAPES = 100
MAX_POINTS = 5000
_RULE = N_("The marked places cannot be read. Mark them again.")


@dataclass(frozen=True)
class Rectangle:
    """From the upper left corner, in thousandths."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Stroke:
    """A line through `points`, `radius` thousandths of the width to each side."""

    radius: int
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Mask:
    """Everything inside any of these is to be made anew; empty: the whole picture."""

    shapes: tuple[Rectangle | Stroke, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.shapes)

    @classmethod
    def of(cls, given: object) -> Self:
        """From JSON text or what `stored` gave: `[[left, top, width, height]]` are rectangles,
        `{"r": radius, "p": [[x, y]]}` strokes. Raises BadPrompt.
        """
        if given is None or given == "":
            return cls()
        try:
            rows = orjson.loads(given) if isinstance(given, str | bytes) else given
        except orjson.JSONDecodeError:
            raise BadPrompt(_RULE) from None
        if not isinstance(rows, list) or len(rows) > MAX_SHAPES:
            raise BadPrompt(_RULE)
        shapes = tuple(_shape(row) for row in rows)
        if sum(len(x.points) for x in shapes if isinstance(x, Stroke)) > MAX_POINTS:
            raise BadPrompt(
                N_("A mask has up to %(max_points)s points. Use fewer strokes."),
                max_points=f"{MAX_POINTS:,}",
            )
        return cls(shapes)

    @classmethod
    def rectangle(cls, left: int, top: int, width: int, height: int) -> Self:
        return cls((_shape_of([left, top, width, height]),))

    def stored(self) -> list[Any]:
        return [
            [x.left, x.top, x.width, x.height]
            if isinstance(x, Rectangle)
            else {"r": x.radius, "p": [list(point) for point in x.points]}
            for x in self.shapes
        ]


def _shape(row: object) -> Rectangle | Stroke:
    if isinstance(row, list):
        return _shape_of(row)
    if isinstance(row, dict) and isinstance(row.get("p"), list) and 0 < len(row["p"]) <= MAX_POINTS:
        (radius,) = _numbers([row.get("r")], 1)
        points = tuple((x, y) for x, y in (_numbers(point, 2) for point in row["p"]))
        return Stroke(max(1, radius), points)
    raise BadPrompt(_RULE)


def _shape_of(row: list[Any]) -> Rectangle:
    left, top, width, height = _numbers(row, 4)
    if not width or not height:
        raise BadPrompt(N_("A rectangle needs a width and a height."))
    return Rectangle(left, top, min(width, WHOLE - left), min(height, WHOLE - top))


def _numbers(row: object, count: int) -> tuple[int, ...]:
    if not isinstance(row, list) or len(row) != count:
        raise BadPrompt(_RULE)
    if not all(type(x) is int and 0 <= x <= WHOLE for x in row):
        raise BadPrompt(_RULE)
    return tuple(row)
