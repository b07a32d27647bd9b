"""Datasets that come straight to the TEE: a form whose file goes to disk as it arrives (6.1)."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from eth_hash.auto import keccak

from protocol.tuning import MAX_TEE_UPLOAD_BYTES
from provider.errors import Refused
from provider.forms import MAX_PART_HEADER_BYTES, bad_form, boundary_of, read_part
from provider.http import Request

log = logging.getLogger("provider.tuning.uploads")

#: Room for the other fields and the form's own text.
_FRAME_BYTES = 16 * 1024
MAX_FIELD_BYTES = 512
UPLOAD_SECONDS = 900
TOO_LARGE = "file too large: at most 100MB, use 0G Storage for larger datasets"
FIELDS = ("signature", "timestamp")
#: No upload is begun with less of the disk free, on which debts and keys are written as well: any
#: wallet may upload, and more than all that may be under way at once has room there.
LEAST_FREE = 2 * 1024**3


class _Source:
    """The body with look-ahead."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self.held = bytearray()

    async def more(self) -> None:
        """Another piece. Raises Refused 400 at the end of the body."""
        try:
            self.held += await anext(self._pieces)
        except StopAsyncIteration:
            raise bad_form("its last part has no end") from None

    async def take_until(self, mark: bytes, limit: int) -> bytes:
        """The bytes before `mark`, which is dropped. Raises Refused 400 beyond `limit`."""
        while (at := self.held.find(mark)) < 0:
            if len(self.held) > limit + len(mark):
                raise bad_form("a part is too long")
            await self.more()
        if at > limit:
            raise bad_form("a part is too long")
        found = bytes(self.held[:at])
        del self.held[: at + len(mark)]
        return found

    async def stream_until(self, mark: bytes) -> AsyncIterator[bytes]:
        """The bytes before `mark` as they come; the mark is dropped."""
        while (at := self.held.find(mark)) < 0:
            keep = len(mark) - 1
            if len(self.held) > keep:
                piece = bytes(self.held[:-keep])
                del self.held[:-keep]
                yield piece
            await self.more()
        piece = bytes(self.held[:at])
        del self.held[: at + len(mark)]
        if piece:
            yield piece

    async def rest(self) -> bytes:
        """What is left, the first bytes of it."""
        async for piece in self._pieces:
            self.held += piece[:8]
        return bytes(self.held)

    async def next(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        while len(self.held) < count:
            await self.more()
        found = bytes(self.held[:count])
        del self.held[:count]
        return found


async def receive(request: Request, target: Path) -> tuple[str, dict[str, str]]:
    """Write the form's one file to `target`; its keccak256 (0x-hex) and the other fields.

    Raises Refused: 400 for what is no such form, 413 beyond 100 MB, 408 for one that does not come,
    503 where the disk is nearly full.
    """
    if shutil.disk_usage(target.parent).free < LEAST_FREE:
        log.warning("no upload is taken: less than 2 GiB are free at %s", target.parent)
        raise Refused(503, "no room for uploads: the disk is nearly full", {"Retry-After": "3600"})
    boundary = b"--" + boundary_of(request.headers.get("content-type", ""))
    limit = MAX_TEE_UPLOAD_BYTES + _FRAME_BYTES
    source = _Source(request.pieces(limit, TOO_LARGE, UPLOAD_SECONDS))
    if await source.next(len(boundary) + 2) != boundary + b"\r\n":
        raise bad_form("it does not start with its boundary")
    fields: dict[str, str] = {}
    hash_ = ""
    while True:
        head = await source.take_until(b"\r\n\r\n", MAX_PART_HEADER_BYTES)
        part = read_part(head, 0, 0)
        if part.filename is not None:
            if part.name != "file" or hash_:
                raise bad_form("expected one file, under the name file")
            hash_ = await _save(source.stream_until(b"\r\n" + boundary), target)
        else:
            raw = await source.take_until(b"\r\n" + boundary, MAX_FIELD_BYTES)
            if part.name not in FIELDS or part.name in fields:
                raise bad_form(f"{part.name} is not expected, or given twice")
            fields[part.name] = raw.decode("utf-8", "replace")
        following = await source.next(2)
        if following == b"--":
            break
        if following != b"\r\n":
            raise bad_form("a part holds its boundary")
    if await source.rest() not in (b"", b"\r\n"):
        raise bad_form("something follows its end")
    if not hash_:
        raise bad_form("it has no file")
    return hash_, fields


async def _save(pieces: AsyncIterator[bytes], target: Path) -> str:
    hasher, size = keccak.new(b""), 0
    with target.open("wb") as file:
        async for piece in pieces:
            size += len(piece)
            hasher.update(piece)
            await asyncio.to_thread(file.write, piece)
    if not size:
        raise bad_form("the file is empty")
    return "0x" + hasher.digest().hex()
