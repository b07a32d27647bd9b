"""JSON from strangers: size and depth are bounded before a parser sees the text. Pure."""

from __future__ import annotations

import re
from typing import Any

import orjson

from net.errors import BadAnswer
from net.limits import JsonLimits

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
    brackets = text.count(b"[") + text.count(b"{")
    if limits.max_marks is not None and brackets + text.count(b",") > limits.max_marks:
        raise BadAnswer(f"JSON of more than {limits.max_marks} values")
    # All brackets together bound the depth from above, at C speed; only the rest is scanned.
    if brackets > limits.max_depth and depth(text) > limits.max_depth:
        raise BadAnswer(f"JSON nested deeper than {limits.max_depth} levels")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadAnswer("the text is not JSON") from None


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
