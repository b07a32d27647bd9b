"""One line of capitals into a picture: a small font of our own, five by seven dots. Pure."""

from __future__ import annotations

WIDE, TALL = 5, 7
# Seven rows of five dots each, top to bottom, as numbers.
_FONT = {
    "A": (14, 17, 17, 31, 17, 17, 17),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "D": (30, 17, 17, 17, 17, 17, 30),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "N": (17, 25, 21, 19, 17, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "U": (17, 17, 17, 17, 17, 17, 14),
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 6, 8, 16, 31),
    "3": (30, 1, 1, 14, 1, 1, 30),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    ",": (0, 0, 0, 0, 4, 4, 8),
    " ": (0,) * 7,
}
_DARK = bytes(i * 2 // 5 for i in range(256))


def stamp(rgb: bytearray, width: int, height: int, text: str) -> None:
    """Write `text` on a darkened strip along the lower edge, as large as fits; what does not fit
    at the smallest size is cut."""
    scale = max(1, min(width // (len(text) * (WIDE + 1) + 8), height // 64))
    strip = min((TALL + 4) * scale, height)
    start = 3 * width * (height - strip)
    rgb[start:] = rgb[start:].translate(_DARK)
    left, top = 4 * scale, height - strip + 2 * scale
    for letter in text:
        if left + WIDE * scale > width:
            return
        for row, dots in enumerate(_FONT.get(letter, _FONT[" "])):
            for dot in range(WIDE):
                if dots >> (WIDE - 1 - dot) & 1:
                    _block(rgb, width, left + dot * scale, top + row * scale, scale)
        left += (WIDE + 1) * scale


def _block(rgb: bytearray, width: int, x: int, y: int, size: int) -> None:
    for row in range(y, y + size):
        at = 3 * (width * row + x)
        rgb[at : at + 3 * size] = b"\xf0" * (3 * size)
