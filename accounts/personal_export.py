"""One ZIP of what is kept about a person: asked for on a page, made by a worker, in sealed pieces.

The job may die: the next sweep starts it again from nothing. Times in the files are UTC, amounts
neuron.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import crypto, limits, personal
from accounts.errors import Problem
from accounts.models import Export, ExportPiece, ExportState, User
from accounts.models_personal import OPEN

FORMAT, VERSION = "0g-market-personal-data", 1
#: A file can be fetched for this long, and is then deleted.
KEPT = dt.timedelta(hours=24)
PIECE_BYTES = 1 << 20
#: More than quotas of files and years of conversations come to; ends what would never end.
MOST_BYTES = 4 << 30
#: A worker that did not write for so long is dead.
SILENT = dt.timedelta(seconds=60)
MOST_TRIES = 3
_NONCE = 12
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
README = """What this site keeps about {address}, as of {at} (UTC).

index.json names every other file. *.ndjson files hold one JSON document per line: a row as it is
stored. Chats are there twice: to read (.md), and with the bytes that went and came and the
signatures that providers gave (.json; /docs/chat says what these prove). Pictures, transcripts and
embeddings are there as .json beside their files. Times are UTC. Amounts are neuron; 10^18 neuron
are 1 0G.

Left out: secrets (keys, tokens, passwords are kept sealed or as digests, and nobody should have
them in a file), the words of conversations that you do not keep or have deleted, and of what your
programs asked, which are not kept; what this site has lost the key to; and what everybody can read:
the chain, and this site's pages about your address.
"""


class TooLarge(Exception):
    """The file would exceed MOST_BYTES."""


class Superseded(Exception):
    """The file was begun again by another worker, or is not wanted any more."""


def ask(user: User) -> Export:
    """Queue a file; the one that is being made, where there is one. Raises TooMany."""
    under_way = _open(user)
    if under_way is not None:
        return under_way
    limits.spend("personal-export", user.address, limit=6, seconds=24 * 3600)
    key = AESGCM.generate_key(bit_length=256)
    try:
        with transaction.atomic():
            # One at a time: the new one replaces what was made before.
            Export.objects.filter(user=user).exclude(state__in=OPEN).delete()
            row = Export.objects.create(
                user=user, key_sealed=crypto.seal(key.hex()), expires_at=timezone.now() + KEPT
            )
    except IntegrityError:  # two presses at once
        found = _open(user)
        if found is None:
            raise Problem("try_again", _("Try again."), status=409) from None
        return found
    return row


def _open(user: User) -> Export | None:
    return Export.objects.filter(user=user, state__in=OPEN).first()


def due(now: dt.datetime) -> QuerySet[Export]:
    """What waits, and what a worker left."""
    left = Q(state=ExportState.RUNNING, beat_at__lt=now - SILENT)
    return Export.objects.filter(Q(state=ExportState.WAITING) | left)


def make(export_id: str) -> ExportState | None:
    """Make the file here and now; None where it is not due, or somebody else's."""
    now = timezone.now()
    before = due(now).filter(pk=export_id).first()
    if before is None:
        return None
    # Compare and set: of two workers one has it.
    mine = Export.objects.filter(pk=export_id, state=before.state, beat_at=before.beat_at)
    if not mine.update(state=ExportState.RUNNING, beat_at=now, tries=F("tries") + 1):
        return None
    row = Export.objects.select_related("user").get(pk=export_id)
    if row.tries > MOST_TRIES:
        return _end(row, ExportState.FAILED)
    row.parts.all().delete()
    pieces = _Pieces(row)
    try:
        _write(row.user, pieces)
        pieces.finish()
    except TooLarge:
        _end(row, ExportState.FAILED)
        row.parts.all().delete()
        return ExportState.FAILED
    except Superseded:
        return None
    done = timezone.now()
    found = {"size": pieces.size, "pieces": pieces.number, "done_at": done}
    return _end(row, ExportState.DONE, **found, expires_at=done + KEPT)


def _mine(row: Export) -> QuerySet[Export]:
    """The row, as long as no other try was begun: a worker may only have been slow, not dead."""
    return Export.objects.filter(pk=row.pk, state=ExportState.RUNNING, tries=row.tries)


def _end(row: Export, state: ExportState, **found: Any) -> ExportState | None:
    return state if _mine(row).update(state=state, **found) else None


def read(row: Export) -> Iterator[bytes]:
    """The file, a piece at a time. Raises crypto.Unreadable."""
    cipher = AESGCM(bytes.fromhex(crypto.unseal(row.key_sealed)))
    for number in range(row.pieces):
        part = ExportPiece.objects.filter(export=row, number=number)
        sealed = bytes(part.values_list("sealed", flat=True).first() or b"")
        try:
            yield cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _place(row, number))
        except (InvalidTag, ValueError):
            raise crypto.Unreadable(f"Piece {number} is missing or altered.") from None


# --- the file -------------------------------------------------------------------------------------


def _write(user: User, pieces: _Pieces) -> None:
    at = timezone.now()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as file:
        archive = _Zip(file, at)
        readme = README.format(address=user.address, at=at.isoformat(timespec="seconds"))
        archive.stream("README.txt", [readme.encode()])
        person = {
            "address": user.address,
            "first_signed_in": user.created_at.isoformat(),
            "last_signed_in": user.last_login.isoformat() if user.last_login else None,
            "language": user.language or None,
            "roles": sorted(user.groups.values_list("name", flat=True)),
        }
        for category in personal.categories():
            category.export(user, archive)
        index = {
            "format": FORMAT,
            "version": VERSION,
            "made_at": at.isoformat(),
            "time_zone": "UTC",
            "person": person,
            "categories": [
                {"key": x.key, "title": x.title, "what": x.what, "why": x.why}
                for x in personal.categories()
            ],
            "files": archive.files,
        }
        archive.stream("index.json", [orjson.dumps(index, option=orjson.OPT_INDENT_2)])


class _Zip:
    """`personal.Archive` in a ZIP that is only ever written forwards."""

    def __init__(self, file: zipfile.ZipFile, at: dt.datetime) -> None:
        self._file, self._at = file, at
        self.files: list[dict[str, Any]] = []

    def lines(self, path: str, rows: Iterable[dict[str, Any]]) -> None:
        self.stream(path, (_line(row) for row in rows), rows=True)

    def stream(self, path: str, parts: Iterable[bytes], *, rows: bool = False) -> None:
        info = zipfile.ZipInfo(path, max(self._at.timetuple()[:6], _ZIP_EPOCH))
        info.compress_type = zipfile.ZIP_DEFLATED
        size = count = 0
        with self._file.open(info, "w", force_zip64=True) as target:
            for part in parts:
                target.write(part)
                size, count = size + len(part), count + 1
        entry: dict[str, Any] = {"path": path, "bytes": size}
        self.files.append({**entry, "rows": count} if rows else entry)


def _line(row: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(row) + b"\n"
    except TypeError:  # a number of a stranger's JSON that has more than 64 bits
        return json.dumps(row).encode() + b"\n"


class _Pieces(io.RawIOBase):
    """A stream that becomes sealed rows; cannot seek, so the ZIP writes its sizes after its data.
    Each piece is the worker's sign of life."""

    def __init__(self, row: Export) -> None:
        super().__init__()
        self._row, self._held = row, bytearray()
        self._cipher = AESGCM(bytes.fromhex(crypto.unseal(row.key_sealed)))
        self.size, self.number = 0, 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        self.size += len(data)
        if self.size > MOST_BYTES:
            raise TooLarge
        while len(self._held) >= PIECE_BYTES:
            self._store(bytes(self._held[:PIECE_BYTES]))
            del self._held[:PIECE_BYTES]
        return len(data)

    def finish(self) -> None:
        """What is left. Not done by `close`, which a stream that was given up is sent, too."""
        if self._held:
            self._store(bytes(self._held))
            self._held.clear()

    def _store(self, data: bytes) -> None:
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, data, _place(self._row, self.number))
        with transaction.atomic():
            # Holds the row: whoever begins again waits, and deletes this piece with the others.
            if not _mine(self._row).update(beat_at=timezone.now()):
                raise Superseded
            ExportPiece.objects.create(export=self._row, number=self.number, sealed=sealed)
        self.number += 1


def _place(row: Export, number: int) -> bytes:
    return row.pk.bytes + number.to_bytes(4, "big")
