"""Uptime bars as shapes and words: pure.

One path per state keeps a list of bars small. States differ by shape as well as by colour: up
fills the height, degraded two thirds of it, down one third; no data is a line at the foot.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from probes.fold import NO_DATA, WORDS

#: Units of the drawing: a cell and the gap after it, and the height.
STEP, WIDTH, HEIGHT = 4, 3, 24
_HEIGHTS = {"up": 24, "degraded": 16, "down": 8, NO_DATA: 2}
SAID = {"up": "up", "degraded": "degraded", "down": "down", NO_DATA: "no data"}


@dataclass(frozen=True)
class Shape:
    """All cells of one state: `path` is an SVG path."""

    state: str
    path: str


@dataclass(frozen=True)
class Bar:
    """`text` is the whole bar in words; `width` in units of the drawing."""

    cells: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    width: int = 0
    text: str = "no data"


NO_BAR = Bar()


@lru_cache(maxsize=4096)
def bar_of(letters: str, span: dt.timedelta) -> Bar:
    """The bar of a row of `fold.LETTERS`, each for one `span`."""
    return bar([WORDS[letter] for letter in letters], span)


def bar(cells: Sequence[str], span: dt.timedelta) -> Bar:
    """The bar of states (up, degraded, down, none), oldest first."""
    counts = Counter(cells)
    said = ", ".join(f"{counts[state]} {SAID[state]}" for state in SAID if counts[state])
    return Bar(
        cells=tuple(cells),
        shapes=tuple(Shape(state, _path(cells, state)) for state in _HEIGHTS if counts[state]),
        width=max(0, len(cells) * STEP - (STEP - WIDTH)),
        text=f"{len(cells)} cells of {_said(span)}, oldest first: {said}" if cells else "no data",
    )


def _path(cells: Sequence[str], state: str) -> str:
    height = _HEIGHTS[state]
    return "".join(
        f"M{n * STEP} {HEIGHT - height}h{WIDTH}v{height}h-{WIDTH}z"
        for n, found in enumerate(cells)
        if found == state
    )


def _said(span: dt.timedelta) -> str:
    minutes = int(span.total_seconds()) // 60
    for unit, size in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes % size == 0:
            number = minutes // size
            return f"{number} {unit}{'' if number == 1 else 's'}"
    raise ValueError(span)
