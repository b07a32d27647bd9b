"""Files that hold hashes and signatures without the bytes: a transcript's JSON, the JSON of the
archive of pictures, and the relay's `/v1/verifications/{id}`. Judged as the chat judges; not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from inference import answers
from inference.answers import MAX_ANSWERS, MAX_FILE_BYTES, Body, Checked, Known, Unusable
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits

_FILE = JsonLimits(max_depth=32, max_bytes=MAX_FILE_BYTES)
#: One hash, or one for each picture with commas between, as they are signed.
_HASHES = re.compile(r"[0-9a-f]{64}(?:,[0-9a-f]{64}){0,9}")


def judge(data: bytes) -> tuple[Checked, ...]:
    """Every request of such a file, by its hashes and the signer that the chain names now.

    Raises Unusable.
    """
    try:
        given = strictjson.loads(data, _FILE)
    except BadAnswer as error:
        raise Unusable(f"This file cannot be read: {error}.") from None
    requests = requests_of(given)
    if len(requests) > MAX_ANSWERS:
        raise Unusable(f"A file of more than {MAX_ANSWERS:,} requests.")
    known = Known()
    found = [_judged(request, known, pictures="files" in given) for request in requests]
    judged = tuple(one for one in found if one is not None)
    if not judged:
        raise Unusable("No request in this file has a signature of a provider that is listed now.")
    return judged


def requests_of(given: object) -> list[Mapping[str, Any]]:
    """The requests of a parsed file; none where it is no such file."""
    if not isinstance(given, dict):
        return []
    rows = [given] if given.get("object") == "verification" else given.get("requests")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _judged(given: Mapping[str, Any], known: Known, *, pictures: bool) -> Checked | None:
    drawn = pictures or str(given.get("endpoint", "")).startswith("images/")
    request, response = (Body(sha256=_hash(given.get(x))) for x in _MEMBERS)
    return answers.entry(given, request, response, known, pictures=drawn)


_MEMBERS = ("request_sha256", "response_sha256")


def _hash(value: object) -> str:
    return value if isinstance(value, str) and _HASHES.fullmatch(value) else ""
