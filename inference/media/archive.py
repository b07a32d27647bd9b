"""All pictures of a person as one ZIP file, written while it is sent: nothing is gathered on disk
or in memory.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import orjson
from django.utils.text import slugify

from accounts.models import User
from inference import access, seals
from inference.media import selectors
from inference.media.models import File, Role
from inference.models import Medium

_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "audio/wav": "wav"}


class _Pipe(io.RawIOBase):
    """Takes what the archive writes; `taken` gives it away."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def file_name(file: File) -> str:
    """A name that sorts by request and says what the file is."""
    words = slugify(file.chat.title)[:40] or "untitled"
    ending = _ENDINGS.get(file.media_type, "bin")
    return f"{words}-{str(file.chat_id)[:8]}-{file.role}-{file.number + 1}.{ending}"


def pictures(user: User, session_key: str | None) -> Iterator[bytes]:
    """The bytes of the archive. Each request brings its made pictures, the picture that was
    changed, and what is known about it, as `<request>.json`.
    """
    pipe = _Pipe()
    chats = access.chats_of(user, session_key, Medium.IMAGES)
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        # One at a time, by its id: no cursor outlives what the reader takes in one piece.
        for number in list(chats.order_by("created_at").values_list("pk", flat=True)):
            chat = chats.filter(pk=number).first()
            if chat is None:
                continue  # deleted meanwhile
            names = []
            for file in chat.files.exclude(role=Role.MASK).order_by("role", "number"):
                file.chat = chat
                try:
                    archive.writestr(file_name(file), file.data)
                except seals.Unreadable:
                    continue
                names.append({"name": file_name(file), "sha256": file.sha256, "seed": file.seed})
                yield pipe.taken()
            facts = {
                "wish": selectors.wish_of(chat),
                "files": names,
                "requests": selectors.facts_of(chat.turns.all()),
            }
            text = orjson.dumps(facts, option=orjson.OPT_INDENT_2)
            archive.writestr(f"{str(chat.pk)[:8]}.json", text)
            yield pipe.taken()
    yield pipe.taken()
