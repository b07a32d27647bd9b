"""Large files in the database, piece by piece: sealed at rest, resumable, streamed in and out.

A piece is sealed with the file's own key (AES-256-GCM) and its place in the file is authenticated
with it: pieces cannot be swapped between files or places.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.db import transaction
from django.utils.translation import gettext as _
from eth_hash.auto import keccak

from accounts import crypto
from accounts.crypto import Unreadable
from accounts.errors import Problem
from accounts.models import User
from finetune.models import Piece, StoredFile
from protocol import storage

PIECE_BYTES = 1 << 20
MAX_BYTES = 100 * 1024 * 1024
#: What one person may keep here, bytes.
QUOTA_BYTES = 400 * 1024 * 1024
_NONCE = 12


def create(user: User, size: int) -> StoredFile:
    """Room for a file of `size` bytes. Raises Problem."""
    if not 0 < size <= MAX_BYTES:
        raise Problem(
            "file_too_large" if size else "file_empty",
            _("A file of 1 byte to %(max_bytes)s MB can be kept here, this has %(size)s bytes.")
            % {"max_bytes": MAX_BYTES >> 20, "size": f"{size:,}"},
            _("Split it, or publish it in 0G storage yourself and use its root."),
            status=413,
        )
    key = AESGCM.generate_key(bit_length=256)
    with transaction.atomic():
        # One at a time for each person, so that the quota is exact.
        User.objects.select_for_update().get(pk=user.pk)
        held = sum(StoredFile.objects.filter(user=user).values_list("size", flat=True))
        if held + size > QUOTA_BYTES:
            raise Problem(
                "quota",
                _("Your files here take %(held)s of %(quota_bytes)s MB.")
                % {"held": held >> 20, "quota_bytes": QUOTA_BYTES >> 20},
                _("Delete one that you do not need."),
                status=413,
            )
        return StoredFile.objects.create(user=user, size=size, key_sealed=crypto.seal(key.hex()))


def piece_count(file: StoredFile) -> int:
    return -(-file.size // PIECE_BYTES)


def missing(file: StoredFile) -> list[int]:
    """Numbers of the pieces that are not here yet (1 query)."""
    here = set(file.pieces.values_list("number", flat=True))
    return [number for number in range(piece_count(file)) if number not in here]


def begun(file: StoredFile) -> int:
    """How many bytes of it are here without a gap, from its beginning (1 query)."""
    rest = missing(file)
    return rest[0] * PIECE_BYTES if rest else file.size


def put(file: StoredFile, number: int, data: bytes) -> None:
    """Keep one piece; the same one twice is no harm. Raises Problem for a wrong place or size."""
    wanted = min(PIECE_BYTES, file.size - number * PIECE_BYTES)
    if not 0 <= number < piece_count(file) or len(data) != wanted:
        raise Problem(
            "wrong_piece",
            _("Piece %(number)s of this file has %(wanted)s bytes.")
            % {"number": number, "wanted": max(wanted, 0)},
        )
    nonce = os.urandom(_NONCE)
    sealed = nonce + _cipher(file).encrypt(nonce, data, _place(file, number))
    Piece.objects.bulk_create(
        [Piece(file=file, number=number, sealed=sealed)], ignore_conflicts=True
    )


def read(file: StoredFile, start: int = 0) -> Iterator[bytes]:
    """The bytes from `start` on, at most a piece at a time. Raises Unreadable."""
    cipher = _cipher(file)
    first, skip = divmod(start, PIECE_BYTES)
    for number in range(first, piece_count(file)):
        yield _open(file, cipher, number)[skip if number == first else 0 :]


def _open(file: StoredFile, cipher: AESGCM, number: int) -> bytes:
    sealed = Piece.objects.filter(file=file, number=number).values_list("sealed", flat=True).first()
    if sealed is None:
        raise Unreadable(_("Piece %(number)s is missing.") % {"number": number})
    raw = bytes(sealed)
    try:
        return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], _place(file, number))
    except InvalidTag:
        raise Unreadable(_("Piece %(number)s was altered.") % {"number": number}) from None


def lines(file: StoredFile, longest: int) -> Iterator[bytes]:
    """Its lines, one by one; of one that is longer than `longest` bytes only so much and one more
    byte, so that it can be seen to be too long."""
    held, dropped = bytearray(), False
    for part in read(file):
        at = 0
        while (end := part.find(b"\n", at)) >= 0:
            held += part[at : end + 1]
            yield bytes(held[: longest + 1])
            held.clear()
            at = end + 1
        held += part[at:]
        if len(held) > longest + 1:
            del held[longest + 1 :]
            dropped = True
    if held or dropped:
        yield bytes(held[: longest + 1])


@dataclass(frozen=True)
class Hashes:
    """Both names of the same bytes, 0x-hex, and the `nodes` of its submission to 0G storage."""

    root: str
    keccak: str
    nodes: tuple[tuple[str, int], ...]


def hashes(file: StoredFile) -> Hashes:
    """Its storage root and its keccak256, in one pass."""
    whole = keccak.new(b"")

    def seen() -> Iterator[bytes]:
        for part in read(file):
            whole.update(part)
            yield part

    tree = storage.hash_file(seen())
    nodes = tuple(("0x" + node.root.hex(), node.height) for node in tree.nodes())
    return Hashes("0x" + tree.root.hex(), "0x" + whole.digest().hex(), nodes)


class Source(io.RawIOBase):
    """A stored file as a readable, seekable binary stream (`protocol.model_file` reads those)."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__()
        self._file, self._cipher = file, _cipher(file)
        self._at, self._number, self._piece = 0, -1, b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = self._file.size - self._at
        left = left if size is None or size < 0 else min(left, size)
        found = bytearray()
        while len(found) < left:
            number, into = divmod(self._at, PIECE_BYTES)
            if number != self._number:
                self._number, self._piece = number, _open(self._file, self._cipher, number)
            part = self._piece[into : into + left - len(found)]
            found += part
            self._at += len(part)
        return bytes(found)


def _cipher(file: StoredFile) -> AESGCM:
    return AESGCM(bytes.fromhex(crypto.unseal(file.key_sealed)))


def _place(file: StoredFile, number: int) -> bytes:
    return file.pk.bytes + number.to_bytes(4, "big")
