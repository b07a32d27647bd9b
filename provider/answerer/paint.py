"""Landscapes drawn by a program: the same words and the same number give the same picture. Pure.

No model of any kind: a dozen words choose colours and things, a random generator places them. Every
picture says so in its lower edge.

The canvas is kept as columns, because a landscape's column is a handful of runs (sky, hills,
water): a picture of a million pixels is a few thousand slices.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from provider.answerer.caption import stamp
from provider.answerer.png import Picture

Colour = tuple[int, int, int]

CAPTION = "PROCEDURAL, NO AI MODEL"
_WORD = re.compile(r"[a-z]+")
# Pixels of distance from the sun that share one glow.
GLOW_STEP = 3


@dataclass(frozen=True)
class Palette:
    """The colours of a time of day."""

    top: Colour
    horizon: Colour
    sun: Colour
    far: Colour
    near: Colour


DAY = Palette((64, 132, 204), (206, 228, 240), (255, 250, 225), (134, 162, 178), (44, 84, 62))
DUSK = Palette((48, 38, 92), (250, 150, 92), (255, 222, 150), (138, 92, 122), (36, 24, 48))
NIGHT = Palette((8, 12, 34), (38, 54, 96), (238, 240, 226), (34, 44, 74), (8, 12, 20))
DAWN = Palette((120, 150, 206), (252, 208, 196), (255, 240, 214), (168, 152, 178), (64, 66, 92))
PALETTES = {
    NIGHT: {"night", "midnight", "moon", "stars", "star", "galaxy", "space", "dark"},
    DUSK: {"dusk", "sunset", "evening", "fire", "autumn", "mars", "volcano"},
    DAWN: {"dawn", "sunrise", "morning", "spring", "pastel", "pink", "misty", "mist", "fog"},
    DAY: {"day", "noon", "summer", "sunny", "sky", "sun"},
}
TINTS: dict[str, Colour] = {
    "red": (200, 40, 40),
    "orange": (230, 130, 40),
    "gold": (220, 180, 60),
    "yellow": (230, 210, 70),
    "green": (50, 150, 70),
    "forest": (30, 110, 60),
    "blue": (40, 90, 210),
    "purple": (120, 60, 180),
    "violet": (130, 70, 200),
    "pink": (230, 120, 170),
    "desert": (214, 160, 96),
    "snow": (236, 242, 250),
    "winter": (226, 234, 246),
}
WATER = {
    "sea",
    "ocean",
    "water",
    "lake",
    "river",
    "harbour",
    "harbor",
    "lighthouse",
    "boat",
    "island",
}
TREES = {"forest", "tree", "trees", "wood", "woods", "pine", "jungle", "park"}
CITY = {"city", "town", "skyline", "buildings", "street", "tokyo", "york", "london"}
TOWER = {"lighthouse", "tower"}


def paint(prompt: str, seed: int, width: int, height: int) -> Picture:
    """A landscape of that size in pixels."""
    return _Scene(prompt, seed, width, height).picture()


class _Scene:
    """One picture while it is being drawn."""

    def __init__(self, prompt: str, seed: int, width: int, height: int) -> None:
        digest = hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "replace")).digest()
        self._dice = random.Random(digest)
        self._words = set(_WORD.findall(prompt.lower()))
        self._width, self._height = width, height
        self._seed = seed
        self._palette = self._choose_palette()
        self._night = self._palette is NIGHT
        self._horizon = round(height * self._dice.uniform(0.58, 0.7))
        #: One bytearray per column and channel, top to bottom.
        self._columns: list[list[bytearray]] = []

    def _choose_palette(self) -> Palette:
        for palette, words in PALETTES.items():
            if words & self._words:
                return palette
        return self._dice.choice((DAY, DUSK, DAWN, NIGHT))

    def picture(self) -> Picture:
        self._sky()
        if self._night:
            self._stars()
        self._clouds()
        self._hills()
        if WATER & self._words:
            self._water()
        if TOWER & self._words:
            self._tower()
        rows = self._rows()
        stamp(rows, self._width, self._height, f"{CAPTION}, SEED {self._seed}")
        return Picture(self._width, self._height, bytes(rows))

    # ---- sky -------------------------------------------------------------------------------

    def _sky(self) -> None:
        dice, palette = self._dice, self._palette
        radius = self._width * dice.uniform(0.04, 0.08)
        x0 = self._width * dice.uniform(0.15, 0.85)
        y0 = self._horizon * dice.uniform(0.25, 0.8)
        reach = self._width * (0.12 if self._night else 0.3)
        shades = self._shades(y0, reach)
        for x in range(self._width):
            away = abs(x - x0)
            shade = shades[min(round(away) // GLOW_STEP, len(shades) - 1)]
            column = [bytearray(channel) for channel in shade]
            if away < radius:
                half = math.sqrt(radius * radius - away * away)
                top, end = max(round(y0 - half), 0), max(round(y0 + half), 0)
                for channel, value in zip(column, palette.sun, strict=True):
                    channel[top:end] = bytes([value]) * len(channel[top:end])
            self._columns.append(column)

    def _shades(self, y0: float, reach: float) -> list[list[bytes]]:
        """Columns of sky at growing distances from the sun, until its glow is over."""
        palette, height = self._palette, self._height
        strength = 0.35 if self._night else 0.6
        base = [
            _mix(palette.top, palette.horizon, min(y / self._horizon, 1.0) ** 1.4)
            for y in range(height)
        ]
        glow = [strength * math.exp(-((y - y0) ** 2) / (reach * reach)) for y in range(height)]
        planes = [
            (
                bytes(c[i] for c in base),
                [sun * g - c[i] * g for c, g in zip(base, glow, strict=True)],
            )
            for i, sun in enumerate(palette.sun)
        ]
        shades = []
        for away in range(0, round(2.5 * reach), GLOW_STEP):
            share = math.exp(-away * away / (reach * reach))
            shades.append(
                [
                    bytes([int(v + d * share) for v, d in zip(plain, extra, strict=True)])
                    for plain, extra in planes
                ]
            )
        return shades or [[plain for plain, _ in planes]]

    def _stars(self) -> None:
        for _ in range(self._width * self._horizon // 900):
            column = self._columns[self._dice.randrange(self._width)]
            y, light = self._dice.randrange(self._horizon), self._dice.randrange(120, 256)
            for channel in column:
                channel[y] = max(channel[y], light)

    def _clouds(self) -> None:
        dice = self._dice
        lighter = bytes(min(255, i + (10 if self._night else 26)) for i in range(256))
        for _ in range(dice.randrange(2, 6)):
            x0, y0 = dice.randrange(self._width), self._horizon * dice.uniform(0.08, 0.6)
            for _ in range(dice.randrange(3, 7)):
                wide = self._width * dice.uniform(0.04, 0.14)
                self._puff(x0, y0, wide, wide * dice.uniform(0.12, 0.24), lighter)
                x0 += round(wide * dice.uniform(-0.9, 1.1))
                y0 += self._height * dice.uniform(-0.012, 0.012)

    def _puff(self, x0: float, y0: float, wide: float, tall: float, table: bytes) -> None:
        for x in range(max(round(x0 - wide), 0), min(round(x0 + wide), self._width)):
            half = tall * math.sqrt(max(1 - ((x - x0) / wide) ** 2, 0))
            top, end = max(round(y0 - half), 0), max(round(y0 + half * 0.6), 0)
            for channel in self._columns[x]:
                channel[top:end] = channel[top:end].translate(table)

    # ---- ground ----------------------------------------------------------------------------

    def _hills(self) -> None:
        count = self._dice.randrange(3, 6)
        tint = next((TINTS[word] for word in sorted(self._words) if word in TINTS), None)
        for layer in range(count):
            depth = (layer + 1) / count
            colour = _mix(self._palette.far, self._palette.near, depth)
            if tint is not None:
                colour = _mix(colour, tint, 0.2 if self._night else 0.45)
            tops = self._ridge(depth)
            if layer == count - 1 and TREES & self._words:
                self._plant(tops)
            if layer == count - 2 and CITY & self._words:
                self._build(tops)
            self._fill(tops, colour)
            if layer == count - 2 and CITY & self._words:
                self._windows(tops)

    def _ridge(self, depth: float) -> list[int]:
        """The upper edge of a row of hills; nearer ones are lower and smoother."""
        dice = self._dice
        base = self._horizon + (self._height - self._horizon) * (depth * 0.75 - 0.25)
        waves = [
            (
                self._height * dice.uniform(0.05, 0.09) * (1.15 - depth) / n,
                dice.uniform(0.7, 1.3) * n * math.tau / self._width,
                dice.uniform(0, math.tau),
            )
            for n in (1, 2, 4, 9, 21, 43)
        ]
        return [
            round(base + sum(size * math.sin(pace * x + start) for size, pace, start in waves))
            for x in range(self._width)
        ]

    def _plant(self, tops: list[int]) -> None:
        """Firs along a ridge."""
        ground = list(tops)
        for _ in range(self._width // 9):
            x0 = self._dice.randrange(self._width)
            tall = round(self._height * self._dice.uniform(0.05, 0.16))
            half = max(tall // 5, 1)
            for x in range(max(x0 - half, 0), min(x0 + half + 1, self._width)):
                reach = tall * (1 - abs(x - x0) / (half + 1))
                tops[x] = min(tops[x], round(ground[x] - reach))

    def _build(self, tops: list[int]) -> None:
        """Houses along a ridge."""
        x = 0
        while x < self._width:
            wide = round(self._width * self._dice.uniform(0.03, 0.07)) + 2
            roof = round(self._horizon * self._dice.uniform(0.45, 0.95))
            for column in range(x, min(x + wide, self._width)):
                tops[column] = min(tops[column], roof)
            x += wide + self._dice.randrange(1, 4)

    def _windows(self, tops: Sequence[int]) -> None:
        """Lights behind some of them."""
        step = max(self._height // 64, 4)
        for x in range(step, self._width - step, step):
            for y in range(max(tops[x : x + step // 2]) + step, self._horizon, step):
                if self._dice.random() < (0.5 if self._night else 0.15):
                    for column in self._columns[x : x + step // 2]:
                        for channel, value in zip(column, (255, 214, 130), strict=True):
                            channel[y : y + step // 2] = bytes([value]) * (step // 2)

    def _fill(self, tops: Sequence[int], colour: Colour) -> None:
        """Everything below an edge, darker towards the ground."""
        runs = [
            bytes(max(0, value - 26 * y // self._height) for y in range(self._height))
            for value in colour
        ]
        for column, top in zip(self._columns, tops, strict=True):
            start = min(max(top, 0), self._height)
            for channel, run in zip(column, runs, strict=True):
                channel[start:] = run[start:]

    def _water(self) -> None:
        """From the horizon down the picture above it, darker."""
        edge = self._horizon
        deep = self._height - edge
        darker = bytes(i * 170 // 255 for i in range(256))
        for column in self._columns:
            for channel, tone in zip(column, (0, 6, 16), strict=True):
                mirrored = channel[max(edge - deep, 0) : edge][::-1].translate(darker)
                lifted = bytes(min(255, v + tone) for v in mirrored)
                channel[edge : edge + len(lifted)] = lifted

    def _tower(self) -> None:
        """A lighthouse with a lit lamp."""
        x0 = round(self._width * self._dice.uniform(0.2, 0.8))
        foot, head = round(self._horizon * 1.02), round(self._horizon * 0.42)
        tall = foot - head
        half = max(self._width // 60, 2)
        for x in range(max(x0 - half, 0), min(x0 + half, self._width)):
            for c, channel in enumerate(self._columns[x]):
                for band in range(6):
                    top, end = head + tall * band // 6, head + tall * (band + 1) // 6
                    value = (222, 60, 58)[c] if band % 2 else 240
                    channel[top:end] = bytes([value]) * (end - top)
                lamp = bytes([(255, 236, 150)[c]]) * max(tall // 12, 2)
                channel[head - len(lamp) : head] = lamp

    # ---- the picture -----------------------------------------------------------------------

    def _rows(self) -> bytearray:
        """The columns turned into rows, with ripples on the water."""
        width, height = self._width, self._height
        planes = [b"".join(column[c] for column in self._columns) for c in range(3)]
        wet = bool(WATER & self._words)
        rows = bytearray(3 * width * height)
        for y in range(height):
            shift = 0
            if wet and y > self._horizon:
                shift = round(math.sin(y * 0.9) * (y - self._horizon) * 0.06)
            for c in range(3):
                row = planes[c][y::height]
                if shift:
                    row = row[shift:] + row[:shift]
                rows[3 * width * y + c : 3 * width * (y + 1) : 3] = row
        return rows


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    """`share` of `b` in `a`."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue
