"""Reads the words of a PDF that Chromium printed (Skia): enough for what our own pages become.

Text stands in Flate streams as glyph numbers; each font's ToUnicode map says what they mean.
"""

from __future__ import annotations

import re
import zlib

_OBJECT = re.compile(rb"(\d+) 0 obj\b(.*?)\bendobj", re.S)
_STREAM = re.compile(rb"stream\r?\n(.*?)\n?endstream", re.S)
#: A font is chosen, a text is moved to, glyphs are shown.
_STEP = re.compile(
    rb"/(F\d+) [\d.]+ Tf|\[((?:<[0-9A-Fa-f]*>|[-\d. ])*)\] TJ|<([0-9A-Fa-f]+)> Tj|\bT[dm]\b"
)
_CHAR = re.compile(rb"<([0-9A-Fa-f]+)> <([0-9A-Fa-f]+)>")
_RANGE = re.compile(rb"<([0-9A-Fa-f]+)> <([0-9A-Fa-f]+)> <([0-9A-Fa-f]+)>")
#: Hex digits per glyph, and what each means.
_Font = tuple[int, dict[int, str]]


def pages(data: bytes) -> int:
    """How many sheets."""
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", data))


def text(data: bytes) -> str:
    """All words, without any space: lines break where the paper ends, not where words do."""
    objects = {int(number): body for number, body in _OBJECT.findall(data)}
    named = re.findall(rb"/(F\d+) (\d+) 0 R", data)
    fonts = {name: _map(objects, int(number)) for name, number in named}
    found = []
    for body in objects.values():
        stream = _opened(body)
        if b" Tf" not in stream:
            continue
        digits, font = 4, dict[int, str]()
        for name, several, one in _STEP.findall(stream):
            if name:
                digits, font = fonts.get(name, (4, {}))
            glyphs = b"".join(re.findall(rb"<([0-9A-Fa-f]*)>", several)) or one
            codes = [int(glyphs[i : i + digits], 16) for i in range(0, len(glyphs), digits)]
            found.append("".join(font.get(code, "") for code in codes))
    return re.sub(r"\s", "", "".join(found))


def _opened(body: bytes) -> bytes:
    stream = _STREAM.search(body)
    if stream is None:
        return b""
    # The data may end like a line: what follows its own end is left alone.
    return zlib.decompressobj().decompress(stream[1]) if b"FlateDecode" in body else stream[1]


def _map(objects: dict[int, bytes], number: int) -> _Font:
    unicode = re.search(rb"/ToUnicode (\d+) 0 R", objects.get(number, b""))
    if unicode is None:
        return 4, {}
    stream = _opened(objects[int(unicode[1])])
    space = re.search(rb"begincodespacerange\s*<([0-9A-Fa-f]+)>", stream)
    found = {}
    for block in re.findall(rb"beginbfchar(.*?)endbfchar", stream, re.S):
        for code, spelled in _CHAR.findall(block):
            found[int(code, 16)] = bytes.fromhex(spelled.decode()).decode("utf-16-be")
    for block in re.findall(rb"beginbfrange(.*?)endbfrange", stream, re.S):
        for low, high, spelled in _RANGE.findall(block):
            first = int(spelled, 16)
            for code in range(int(low, 16), int(high, 16) + 1):
                found[code] = chr(first + code - int(low, 16))
    return len(space[1]) if space else 4, found
