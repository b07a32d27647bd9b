"""multipart/form-data, written so plainly that every parser reads the same (RFC 7578). Pure.

A form is kept as its parts; `build` makes the same bytes from the same parts for ever, so that the
hash of a request can be computed again years later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(r"[a-z0-9_.\[\]]{1,64}", re.I)


@dataclass(frozen=True)
class Part:
    """A field, or with `filename` a file of `media_type`."""

    name: str
    data: bytes
    filename: str = ""
    media_type: str = ""


def content_type(boundary: str) -> str:
    return f"multipart/form-data; boundary={boundary}"


def boundary_of(media_type: str) -> str:
    """The boundary in a type that `content_type` made."""
    return media_type.partition("boundary=")[2]


def build(parts: Sequence[Part], boundary: str) -> bytes:
    """The bytes of a form. Raises ValueError for a name no parser would agree on, and where the
    boundary occurs in the data.
    """
    pieces: list[bytes] = []
    for part in parts:
        if not _NAME.fullmatch(part.name) or (part.filename and not _NAME.fullmatch(part.filename)):
            raise ValueError(f"no plain name: {part.name!r}, {part.filename!r}")
        if boundary.encode() in part.data:
            raise ValueError("the boundary occurs in the data")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{part.name}"'
        if part.filename:
            head += f'; filename="{part.filename}"\r\nContent-Type: {part.media_type}'
        pieces += [head.encode(), b"\r\n\r\n", part.data, b"\r\n"]
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()])
