"""The picture of a link on other sites (OpenGraph, 1200 x 630). Pure: words in, PNG out.

Strangers' words arrive cleaned and clipped; they are drawn, never interpreted.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1200, 630
_EDGE, _LINES = 80, 3
_PAPER, _INK, _MUTED, _BRAND = "#17141d", "#f7f5fa", "#b6b0c0", "#9200e1"
_TONES = {"ok": "#1a6f3c", "warn": "#8a5a00", "bad": "#b3261e", "dev": "#7a1fc2", "": "#4a4553"}
_FONTS = Path(__file__).resolve().parent.parent / "static/fonts"


@dataclass(frozen=True)
class Card:
    """What a picture says. `chip`: a verdict in words, with its tone (`verdicts.Word`)."""

    above: str
    title: str
    facts: tuple[str, ...]
    chip: str
    tone: str
    below: str


def png(card: Card) -> bytes:
    """The picture, the same bytes for the same words."""
    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, 12), fill=_BRAND)
    draw.text((_EDGE, 64), "0G Market", font=_font(34, 700), fill=_INK)
    _right(draw, card.above, 70)
    y = 160
    for line in wrapped(card.title, _font(64, 650), WIDTH - 2 * _EDGE):
        draw.text((_EDGE, y), line, font=_font(64, 650), fill=_INK)
        y += 78
    y += 16
    for fact in card.facts[:3]:
        draw.text((_EDGE, y), _fit(fact, _font(34, 400)), font=_font(34, 400), fill=_MUTED)
        y += 50
    if card.chip:
        _chip(draw, card.chip, _TONES[card.tone])
    _right(draw, card.below, HEIGHT - 92)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """At most three lines that fit; a word longer than a line is broken, what is left is cut."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        rest = word
        if lines[-1]:
            lines.append("")
        while font.getlength(rest) > width and len(lines) <= _LINES:
            fits = _longest(rest, font, width)
            lines[-1], rest = rest[:fits], rest[fits:]
            lines.append("")
        lines[-1] = rest
    if len(lines) > _LINES:
        lines = lines[:_LINES]
        lines[-1] = lines[-1][: max(0, len(lines[-1]) - 2)] + "…"
    return lines


def _longest(text: str, font: ImageFont.FreeTypeFont, width: int) -> int:
    """How many characters fit, at least one."""
    fits = len(text)
    while fits > 1 and font.getlength(text[:fits]) > width:
        fits = min(fits - 1, int(fits * width / font.getlength(text[:fits])))
    return max(1, fits)


def _fit(text: str, font: ImageFont.FreeTypeFont) -> str:
    width = WIDTH - 2 * _EDGE
    if font.getlength(text) <= width:
        return text
    return text[: _longest(text, font, width - 40)] + "…"


def _chip(draw: ImageDraw.ImageDraw, text: str, colour: str) -> None:
    font = _font(30, 600)
    top, wide = HEIGHT - 110, font.getlength(text)
    draw.rounded_rectangle((_EDGE, top, _EDGE + wide + 48, top + 58), 12, fill=colour)
    draw.text((_EDGE + 24, top + 11), text, font=font, fill=_INK)


def _right(draw: ImageDraw.ImageDraw, text: str, y: int) -> None:
    font = _font(26, 400)
    draw.text((WIDTH - _EDGE - font.getlength(text), y), text, font=font, fill=_MUTED)


@lru_cache(maxsize=16)
def _font(size: int, weight: int) -> ImageFont.FreeTypeFont:
    # The plain layout: what shaping libraries make of hostile text is no concern of a picture.
    path = str(_FONTS / "geist.woff2")
    font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    font.set_variation_by_axes([weight])
    return font
