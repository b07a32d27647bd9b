"""JSON read so strictly that no other parser can read another request. Pure."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

from protocol.marks import marks
from provider.errors import Refused

#: Of a body (`protocol.marks`): more than any prompt that a model takes.
MOST_MARKS = 1 << 20
#: Names of a request that decide what the upstream does, and what is paid for that.
DECIDING = frozenset(
    {
        *("model", "messages", "prompt", "input", "n", "stream", "stream_options"),
        *("max_tokens", "max_completion_tokens", "n_predict", "response_format"),
    }
)


def strict_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. Raises Refused 400, also for a repeated key: two parsers could read
    two requests. Servers in Go take a name in any letters: a `MODEL` beside `model` would have one
    answer at the price of another. Raises it before anything is parsed for more than MOST_MARKS."""
    if marks(raw) > MOST_MARKS:
        raise Refused(400, f"validate request: the body holds more than {MOST_MARKS} values")
    try:
        document = json.loads(
            raw.decode(), object_pairs_hook=_once, parse_constant=_no, parse_float=_finite
        )
        orjson.dumps(document)  # no lone surrogates, no integers beyond 64 bits
    except (ValueError, TypeError, RecursionError) as error:
        raise Refused(400, "validate request: the body is not valid JSON") from error
    if not isinstance(document, dict):
        raise Refused(400, "validate request: the body is not a JSON object")
    folded = {name: name.casefold() for name in document}
    hidden = (name not in DECIDING and fold in DECIDING for name, fold in folded.items())
    if len(set(folded.values())) < len(folded) or any(hidden):
        raise Refused(400, "validate request: a name of the body differs from one in its letters")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("repeated key")
    return found


def _no(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond the range of doubles")
    return number
