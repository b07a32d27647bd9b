"""multipart/form-data, read so strictly that no other parser can read another request (RFC 7578).

The broker decides by a form what to charge for, and the upstream works by it; so everything two
parsers may disagree about is refused: text before the first part, unknown part headers, names that
are not plain, fields given twice. Pure: bytes in, views out; nothing is copied but field values.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from provider.errors import Refused

MAX_PARTS = 32
MAX_PART_HEADER_BYTES = 2048
MAX_FIELD_BYTES = 256 * 1024

_TYPE = re.compile(r'multipart/form-data\s*;\s*boundary=(?:"([^"\\]+)"|([^\s";,]+))\s*', re.I)
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}")
_DISPOSITION = re.compile(
    r'form-data; *name="([^"\\]*)"(?:; *filename="((?:[^"\\]|\\.)*)")?(?:; *filename\*=[^;"\s]+)?',
    re.I,
)
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}(\[\])?")
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True)
class Part:
    """One part: its value is `body[start:end]` of the form. `filename` None means a plain field."""

    name: str
    filename: str | None
    start: int
    end: int


@dataclass(frozen=True)
class Form:
    """A form and the bytes it was read from."""

    body: bytes
    boundary: bytes
    parts: tuple[Part, ...]

    def text(self, name: str) -> str | None:
        """The value of a plain field, None where it is absent."""
        for part in self.parts:
            if part.name == name and part.filename is None:
                return self.body[part.start : part.end].decode()
        return None

    def file(self, *names: str) -> Part | None:
        """The first file under one of `names`."""
        for part in self.parts:
            if part.name in names and part.filename is not None:
                return part
        return None

    def data(self, part: Part) -> memoryview:
        """The bytes of a part, not copied."""
        return memoryview(self.body)[part.start : part.end]

    def replaced(self, values: Mapping[str, str]) -> bytes:
        """The same bytes with fields set to `values` (no copy without any); a field that is missing
        comes first."""
        return b"".join(self.pieces(values)) if values else self.body

    def sha256(self, values: Mapping[str, str]) -> bytes:
        """The hash of `replaced`, without making it."""
        digest = hashlib.sha256()
        for piece in self.pieces(values):
            digest.update(piece)
        return digest.digest()

    def pieces(self, values: Mapping[str, str]) -> list[bytes | memoryview]:
        """What `replaced` consists of, in order."""
        whole = memoryview(self.body)
        pieces: list[bytes | memoryview] = []
        present = {part.name for part in self.parts}
        for name, value in values.items():
            if name not in present:
                head = f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                pieces.append(b"--" + self.boundary + b"\r\n" + head.encode())
        done = 0
        for part in self.parts:
            if part.filename is None and part.name in values:
                pieces += [whole[done : part.start], values[part.name].encode()]
                done = part.end
        return [*pieces, whole[done:]]


def is_form(content_type: str) -> bool:
    """Whether a body of that type should be read as a form."""
    return content_type.strip().lower().startswith("multipart/")


def read_form(body: bytes, content_type: str, *, once: Iterable[str]) -> Form:
    """The parts of `body`. Fields named in `once` may come at most once, as plain text.

    Raises Refused 400.
    """
    boundary = boundary_of(content_type)
    mark = b"--" + boundary
    if not body.startswith(mark + b"\r\n"):
        raise bad_form("it does not start with its boundary")
    if body.count(b"\n" + mark) != body.count(b"\r\n" + mark):
        raise bad_form("a boundary follows a bare line feed")  # a line end to some parsers
    parts: list[Part] = []
    at = len(mark) + 2
    while True:
        head_end = body.find(b"\r\n\r\n", at, at + MAX_PART_HEADER_BYTES)
        if head_end < 0:
            raise bad_form("a part has no end of headers")
        start = head_end + 4
        end = body.find(b"\r\n" + mark, start)
        if end < 0:
            raise bad_form("its last part has no end")
        parts.append(read_part(body[at:head_end], start, end))
        if len(parts) > MAX_PARTS:
            raise bad_form(f"more than {MAX_PARTS} parts")
        at = end + 2 + len(mark)
        following = body[at : at + 2]
        if following == b"--":
            break
        if following != b"\r\n":
            raise bad_form("a part holds its boundary")
        at += 2
    if body[at + 2 :] not in (b"", b"\r\n"):
        raise bad_form("something follows its end")
    form = Form(body, boundary, tuple(parts))
    _check_fields(form, frozenset(once))
    return form


def boundary_of(content_type: str) -> bytes:
    """The boundary of a form. Raises Refused 400."""
    match = _TYPE.fullmatch(content_type.strip())
    boundary = (match[1] or match[2]) if match else ""
    if not _BOUNDARY.fullmatch(boundary):
        raise bad_form("Content-Type must be multipart/form-data with one plain boundary")
    return boundary.encode()


def read_part(raw: bytes, start: int, end: int) -> Part:
    """One part by its header lines. Raises Refused 400."""
    headers: dict[str, str] = {}
    for line in raw.split(b"\r\n"):
        if _FORBIDDEN.search(line):
            raise bad_form("a part header holds a control character")
        name, separator, value = line.decode("utf-8", "replace").partition(":")
        if not separator or name.lower() in headers:
            raise bad_form("a part header is malformed or given twice")
        headers[name.lower()] = value.strip()
    if headers.keys() - {"content-disposition", "content-type"}:
        raise bad_form("parts may have Content-Disposition and Content-Type only")
    match = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    if match is None or not _NAME.fullmatch(match[1]):
        raise bad_form("a part has no plain name")
    named = match[2] is not None or "filename*" in headers["content-disposition"].lower()
    filename = (match[2] or "") if named else None
    return Part(match[1], filename, start, end)


def _check_fields(form: Form, once: frozenset[str]) -> None:
    """Fields must be short text; those that decide must be there once, under their own name."""
    seen: set[str] = set()
    for part in form.parts:
        plain = part.name.removesuffix("[]")
        if plain in once:
            if plain in seen or plain != part.name or part.filename is not None:
                raise bad_form(f"{plain} must be one plain field")
            seen.add(plain)
        if part.filename is None:
            if part.end - part.start > MAX_FIELD_BYTES:
                raise bad_form(f"{part.name} is longer than {MAX_FIELD_BYTES} bytes")
            try:
                form.body[part.start : part.end].decode()
            except UnicodeDecodeError as error:
                raise bad_form(f"{part.name} is not UTF-8") from error


def bad_form(problem: str) -> Refused:
    """What to raise about a form."""
    return Refused(400, f"validate request: the form cannot be read: {problem}")
