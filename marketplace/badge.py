"""A verdict, an uptime or a decision as a small SVG for other people's pages. Pure: words in,
markup out.

It stands alone: no script, no style sheet, no font of ours; every word is escaped. Colours are the
tokens' as sRGB, dark enough for white text (4.5:1).
"""

from __future__ import annotations

import datetime as dt
from html import escape

from marketplace import verdicts
from probes.fold import percent

LABEL = "0G Market"
_TONES = {"ok": "#1a6f3c", "warn": "#8a5a00", "bad": "#b3261e", "dev": "#7a1fc2", "": "#5b5664"}
_HEIGHT, _PAD = 20, 7
#: Width of a character in the sans-serif face of 11 px that browsers have; `textLength` fits it.
_CHARACTER = 6.3


def svg(overall: str, checked_at: dt.datetime | None) -> str:
    """The badge of a verdict; `checked_at` is said in it where a verdict still stands."""
    said = verdicts.word(overall)
    text = said.text
    if checked_at is not None:
        text += f" · {checked_at.astimezone(dt.UTC):%d %b %H:%M} UTC"
    return draw(LABEL, text, said.tone)


def uptime(share: int | None, probes: int, checked_at: dt.datetime | None, example: bool) -> str:
    """The badge of an uptime of 7 days, `share` in 1/10000, measured by so many `probes`; None
    where nothing was."""
    if share is None or checked_at is None:
        return draw(LABEL, "Uptime not measured", "")
    tone = "ok" if share >= 9_900 else "warn" if share >= 9_500 else "bad"
    text = f"Up {percent(share)} % in 7 d by {probes:,} probes"
    text += f" · {checked_at.astimezone(dt.UTC):%d %b %H:%M} UTC"
    return draw(LABEL, f"{text} (example data)" if example else text, tone)


def hidden(count: int, services: int) -> str:
    """What is said in place of a verdict where moderators hid so many of a provider's services;
    empty where they hid none."""
    if not count:
        return ""
    some = "" if count == services else f"{count} of {services} services "
    return f"{some}hidden by moderators".capitalize()


def draw(label: str, text: str, tone: str) -> str:
    """Two words side by side; `tone` as in `verdicts.Word`."""
    left, right = _width(label), _width(text)
    whole = left + right
    spoken = escape(f"{label}: {text}")
    dashes = ' stroke="#fff" stroke-width="1" stroke-dasharray="3 2"' if tone == "dev" else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{_HEIGHT}" '
        f'viewBox="0 0 {whole} {_HEIGHT}" role="img" aria-label="{spoken}">'
        f"<title>{spoken}</title>"
        f'<rect width="{whole}" height="{_HEIGHT}" rx="4" fill="#2a2632"/>'
        f'<path d="M{left} 0h{right - 4}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4h-{right - 4}z" '
        f'fill="{_TONES[tone]}"{dashes}/>'
        f'<g fill="#fff" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11">'
        f"{_text(label, _PAD, left)}{_text(text, left + _PAD, right)}</g></svg>\n"
    )


def _width(text: str) -> int:
    return round(len(text) * _CHARACTER) + 2 * _PAD


def _text(text: str, x: int, width: int) -> str:
    fitted = width - 2 * _PAD
    return f'<text x="{x}" y="14" textLength="{fitted}">{escape(text)}</text>'
