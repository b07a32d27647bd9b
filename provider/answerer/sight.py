"""What the answerer can honestly say about a picture: its measures and its colours. It recognises
nothing. Pure."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from dataclasses import dataclass

MAX_PIXELS = 6_000_000
MAX_PICTURES = 8
_PIXELS_PER_TOKEN = 750
_NAMES = {
    "black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "red": (205, 35, 35),
    "orange": (245, 145, 20), "yellow": (245, 225, 50), "green": (45, 150, 55),
    "turquoise": (45, 185, 185), "blue": (40, 75, 205), "violet": (130, 45, 195),
    "pink": (240, 140, 180), "brown": (120, 75, 40),
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A picture in a sentence, and how many tokens it counts as."""

    sentence: str
    tokens: int


def look(url: str) -> Seen:
    """Measure the picture of a `data:` URL; pictures elsewhere are not fetched."""
    head, _, data = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        return Seen("A picture I was only given an address of; I fetch nothing.", 0)
    try:
        return _measured(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError, OSError, SyntaxError, MemoryError):
        return Seen("A picture whose bytes I cannot read.", 0)


def _measured(data: bytes) -> Seen:
    # Only who is shown a picture pays for the library in memory.
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            width, height, kind = *image.size, image.format
            if width * height > MAX_PIXELS:
                return Seen(f"A {kind} of {width} × {height} pixels, too many for me.", 0)
            image.draft("RGB", (64, 64))
            small = image.convert("RGB").resize((8, 8), Image.Resampling.BOX)
    dots = small.tobytes()
    names = [_name(*dots[at : at + 3]) for at in range(0, len(dots), 3)]
    found = sorted(set(names), key=lambda name: (-names.count(name), name))[:3]
    told = ", ".join(f"{name} ({names.count(name) * 100 // 64} %)" for name in found)
    text = f"A {kind} of {width} × {height} pixels; by area mostly {told}."
    return Seen(text, -(-width * height // _PIXELS_PER_TOKEN))


def _name(red: int, green: int, blue: int) -> str:
    def distance(name: str) -> int:
        r, g, b = _NAMES[name]
        return (red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2

    return min(_NAMES, key=distance)
