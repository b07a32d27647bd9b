"""Uptime bars as shapes: pure; their words are `templatetags.health.bar_text`.

One path per state keeps a list of bars small. States differ by shape as well as by colour: up
fills the height, degraded two thirds of it, down one third; no data is a line at the foot.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from probes.fold import NO_DATA, WORDS

#: Units of the drawing: a cell and the gap after it, and the height.
STEP, WIDTH, HEIGHT = 4, 3, 24
_HEIGHTS = {"up": 24, "degraded": 16, "down": 8, NO_DATA: 2}


@dataclass(frozen=True)
class Shape:
    """All cells of one state: `path` is an SVG path."""

    state: str
    path: str


@dataclass(frozen=True)
class Bar:
    """`width` in units of the drawing; each cell stands for one `span`."""

    cells: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    width: int = 0
    span: dt.timedelta = dt.timedelta()


NO_BAR = Bar()


@lru_cache(maxsize=4096)
def bar_of(letters: str, span: dt.timedelta) -> Bar:
    """The bar of a row of `fold.LETTERS`, each for one `span`."""
    return bar([WORDS[letter] for letter in letters], span)


def bar(cells: Sequence[str], span: dt.timedelta) -> Bar:
    """The bar of states (up, degraded, down, none), oldest first."""
    found = set(cells)
    return Bar(
        cells=tuple(cells),
        shapes=tuple(Shape(state, _path(cells, state)) for state in _HEIGHTS if state in found),
        width=max(0, len(cells) * STEP - (STEP - WIDTH)),
        span=span,
    )


def _path(cells: Sequence[str], state: str) -> str:
    height = _HEIGHTS[state]
    return "".join(
        f"M{n * STEP} {HEIGHT - height}h{WIDTH}v{height}h-{WIDTH}z"
        for n, found in enumerate(cells)
        if found == state
    )
