"""The chain of staff acts: what an entry says, what it seals, and how each hash holds all before.

Pure. An entry has an open part, which the export shows, and a private part, of which it shows a
salted digest alone:

    sealed = SHA-256(canonical(private))
    hash   = SHA-256(canonical({"open": …, "previous": …, "sealed": …}))

Canonical is RFC 8785 for what occurs here (objects, strings, booleans, null, whole numbers within
2**53): keys sorted, no blanks, UTF-8. Acts that are not public seal everything but their number and
moment, so that an outsider proves the whole chain without reading it (docs/moderation.md).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: What the first entry follows.
START = "0" * 64
#: The open part of a public act, and what is private of it.
OPEN = (
    "number", "at", "area", "actor", "role", "action", "subject_kind", "subject", "public_text",
    "until", "data",
)  # fmt: skip
PRIVATE = ("reason", "before", "after", "address", "request_id", "salt")
#: What even a private act shows.
BARE = ("number", "at")
_HEX = re.compile(r"[0-9a-f]{64}")
_SAFE = 2**53


class Broken(Exception):
    """The chain does not hold; `number` is the first entry that is wrong."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"entry {number}: {why}")
        self.number = number
        self.why = why


@dataclass(frozen=True)
class Entry:
    """One link of the chain as anybody can check it."""

    open: Mapping[str, Any]
    sealed: str
    previous: str
    hash: str


def canonical(value: Any) -> bytes:
    """RFC 8785 of whole numbers, texts, booleans, null, lists and objects. Raises ValueError for
    what has no one spelling: fractions, numbers beyond 2**53, keys that are no text."""
    _check(value)
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


def _check(value: Any) -> None:
    if value is None or isinstance(value, (bool, str)):
        return
    if isinstance(value, int):
        if abs(value) >= _SAFE:
            raise ValueError("a number beyond 2**53: write it as text")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise ValueError("the key of an object is ASCII text")
            _check(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check(inner)
    else:
        raise ValueError(f"{type(value).__name__} has no canonical form")


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def parts(fields: Mapping[str, Any], *, public: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The open and the private part of an act's fields."""
    shown = OPEN if public else BARE
    hidden = (name for name in (*OPEN, *PRIVATE) if name not in shown)
    return {name: fields[name] for name in shown}, {name: fields[name] for name in hidden}


def link(opened: Mapping[str, Any], sealed: str, previous: str) -> str:
    """The hash of an entry (64 hex digits)."""
    return digest({"open": dict(opened), "previous": previous, "sealed": sealed})


def sealed(fields: Mapping[str, Any], *, public: bool) -> str:
    return digest(parts(fields, public=public)[1])


def verify(entries: Iterable[Entry], *, previous: str = START, number: int = 1) -> tuple[int, str]:
    """Walk a chain that goes on after `previous` with entry `number`: (entries seen, last hash).

    Raises Broken at the first entry that is missing, changed, moved or added.
    """
    seen = 0
    for entry in entries:
        expected = number + seen
        if entry.open.get("number") != expected:
            raise Broken(expected, f"it is missing; number {entry.open.get('number')!r} follows")
        if entry.previous != previous:
            raise Broken(expected, "it does not follow the entry before it")
        if not _HEX.fullmatch(entry.sealed):
            raise Broken(expected, "its sealed part is no SHA-256")
        try:
            made = link(entry.open, entry.sealed, entry.previous)
        except (ValueError, RecursionError) as error:
            raise Broken(expected, str(error)) from None
        if made != entry.hash:
            raise Broken(expected, "its content does not give its hash")
        previous = entry.hash
        seen += 1
    return seen, previous


def exported(document: Any) -> tuple[list[Entry], str]:
    """The entries of an exported file and the hash they go on from. Raises Broken where it is none.

    The file's own `head` is checked by the caller: a file that was cut short is a chain that holds.
    """
    rows = document.get("entries") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise Broken(0, "this is no export of the log: it has no list of entries")
    found = []
    for place, row in enumerate(rows, 1):
        if not (
            isinstance(row, dict)
            and set(row) == {"open", "sealed", "previous", "hash"}
            and isinstance(row["open"], dict)
            and all(isinstance(row[name], str) for name in ("sealed", "previous", "hash"))
        ):
            raise Broken(place, "it is no entry")
        found.append(Entry(row["open"], row["sealed"], row["previous"], row["hash"]))
    return found, str(document.get("previous", START))
