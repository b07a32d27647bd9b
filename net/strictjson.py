"""JSON from strangers: size and depth are bounded before a parser sees the text. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from net.errors import BadAnswer
from net.limits import JsonLimits
from protocol.marks import marks

_DEFAULT = JsonLimits()
# A string that never ends reaches to the end of the text, and no step is ever taken back: otherwise
# each escaped quote in it would start another search for the end, and time would be quadratic.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def loads(text: bytes, limits: JsonLimits = _DEFAULT) -> Any:
    """The value of a JSON text. Raises BadAnswer for text that is too long, too deep, or not JSON
    (NaN included).
    """
    if len(text) > limits.max_bytes:
        raise BadAnswer(f"JSON of more than {limits.max_bytes} bytes")
    if marks(text) > limits.max_marks:
        raise BadAnswer(f"JSON of more than {limits.max_marks} values")
    brackets = text.count(b"[") + text.count(b"{")
    # All brackets together bound the depth from above, at C speed; only the rest is scanned.
    if brackets > limits.max_depth and depth(text) > limits.max_depth:
        raise BadAnswer(f"JSON nested deeper than {limits.max_depth} levels")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadAnswer("the text is not JSON") from None


def members(text: bytes) -> dict[str, orjson.Fragment]:
    """The values of an object that `loads` has read, as they are written: a number beyond 64 bits,
    or with more digits than a double has, would come out of any parser as another one.
    """
    written = text.decode()
    found: dict[str, orjson.Fragment] = {}
    at = _after(written, written.index("{") + 1)
    while written[at] != "}":
        name, end = _JSON.raw_decode(written, at)
        begin = _after(written, _after(written, end) + 1)  # behind the colon
        _, end = _JSON.raw_decode(written, begin)
        found[name] = orjson.Fragment(written[begin:end])
        at = _after(written, end)
        at = _after(written, at + 1) if written[at] == "," else at
    return found


_JSON = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def _after(text: str, at: int) -> int:
    """Where the white space from `at` on ends."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def depth(text: bytes) -> int:
    """The deepest nesting of brackets outside strings; exact for JSON, an upper bound for anything
    else.
    """
    deepest = level = 0
    for match in _TOKEN.finditer(text):
        first = text[match.start()]
        if first in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif first in b"]}":
            level -= 1
    return deepest
