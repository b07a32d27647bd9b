"""The files of a storage node: segments on disk, what is known about them in SQLite.

A root commits to the padded bytes, so a segment is kept in whole chunks, whatever size a
submission gives. Segments that come before their submission wait, but not for ever and not many.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devnet.storage.flow import Announced
from protocol import storage
from protocol.storage import CHUNK_BYTES, SEGMENT_BYTES, Proof

MAX_UNCLAIMED_BYTES = 64 * 1024 * 1024
UNCLAIMED_SECONDS = 600
SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
  seq INTEGER PRIMARY KEY, root BLOB NOT NULL, size INTEGER NOT NULL, start INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS file_root ON file(root);
CREATE TABLE IF NOT EXISTS segment (
  root BLOB NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (root, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (id INTEGER PRIMARY KEY CHECK (id = 1), block INTEGER NOT NULL);
"""


class Refusal(ValueError):
    """A segment is not taken; the text is for the client."""


@dataclass(frozen=True, slots=True)
class Known:
    """A file and how much of it is here; `segments` counts from 0 to `needed`."""

    file: Announced
    segments: int

    @property
    def needed(self) -> int:
        return storage.segment_count(self.file.size)

    @property
    def finalized(self) -> bool:
        return self.segments == self.needed


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as clients send it."""

    root: bytes
    index: int
    size: int
    data: bytes
    proof: Proof


class Files:
    """One folder. Methods block and may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            folder / "storage.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    # ---- what the chain says ---------------------------------------------------------------

    @property
    def next_block(self) -> int:
        """The first block that was not read yet."""
        rows = self._rows("SELECT block FROM progress")
        return int(rows[0][0]) if rows else 0

    def announce(self, files: list[Announced], next_block: int) -> None:
        """Files of blocks before `next_block`."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)",
                [(f.seq, f.root, f.size, f.start) for f in files],
            )
            self._db.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", (next_block,))
            self._db.execute("COMMIT")

    def count(self) -> int:
        """How many files were announced."""
        return int(self._rows("SELECT COUNT(*) FROM file")[0][0])

    def find(self, which: bytes | int) -> Known | None:
        """A file by root (its latest submission, they share their bytes) or by number."""
        column = "root" if isinstance(which, bytes) else "seq"
        rows = self._rows(
            f"SELECT seq, root, size, start FROM file WHERE {column} = ? ORDER BY seq DESC LIMIT 1",
            which,
        )
        if not rows:
            return None
        seq, root, size, start = rows[0]
        file = Announced(int(seq), bytes(root), int(size), int(start))
        have = self._rows(
            "SELECT COUNT(*) FROM segment WHERE root = ? AND number < ?",
            file.root,
            storage.segment_count(file.size),
        )
        return Known(file, int(have[0][0]))

    # ---- bytes -----------------------------------------------------------------------------

    def put(self, segment: Segment) -> None:
        """Keep a segment that proves to belong to its file. Raises Refusal."""
        known = self.find(segment.root)
        size = known.file.size if known else segment.size
        if not 0 < size <= storage.MAX_FILE_BYTES:
            raise Refusal("invalid file size")
        if not storage.proves(
            segment.proof, root=segment.root, size=size, index=segment.index, data=segment.data
        ):
            raise Refusal("the segment's proof is not valid")
        data = segment.data[: storage.segment_bytes(size, segment.index)]
        data += bytes(-len(data) % CHUNK_BYTES)
        with self._lock:
            if known is None:
                self._make_room(len(data))
            path = self._path(segment.root)
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(file, data, segment.index * SEGMENT_BYTES)
            finally:
                os.close(file)
            self._db.execute(
                "INSERT OR REPLACE INTO segment VALUES (?, ?, ?, ?)",
                (segment.root, segment.index, time.time(), len(data)),
            )

    def read(self, file: Announced, start: int, end: int) -> bytes | None:
        """Chunks `start` to `end` (excluded) of a file, in whole chunks; None if some are not
        here or outside of it."""
        last = -(-file.size // CHUNK_BYTES)
        end = min(end, last)
        if not 0 <= start < end:
            return None
        first, final = start // storage.SEGMENT_CHUNKS, (end - 1) // storage.SEGMENT_CHUNKS
        with self._lock:
            have = self._rows(
                "SELECT COUNT(*) FROM segment WHERE root = ? AND number BETWEEN ? AND ?",
                file.root,
                first,
                final,
            )
            if have[0][0] != final - first + 1:
                return None
            with self._path(file.root).open("rb") as source:
                source.seek(start * CHUNK_BYTES)
                return source.read((end - start) * CHUNK_BYTES)

    def tree(self, file: Announced) -> storage.FileTree | None:
        """The hashes of a complete file."""

        def pieces() -> Any:
            for index in range(storage.segment_count(file.size)):
                first = index * storage.SEGMENT_CHUNKS
                data = self.read(file, first, first + storage.SEGMENT_CHUNKS) or b""
                yield data[: storage.segment_bytes(file.size, index)]

        known = self.find(file.seq)
        return storage.hash_file(pieces()) if known and known.finalized else None

    def _path(self, root: bytes) -> Path:
        return self._folder / f"{root.hex()}.data"

    def _make_room(self, size: int) -> None:
        """Drop what nobody announced in time. Raises Refusal where too much waits."""
        orphans = (
            "SELECT root, SUM(bytes), MAX(at) FROM segment"
            " WHERE root NOT IN (SELECT root FROM file) GROUP BY root"
        )
        waiting = 0
        for root, held, at in self._rows(orphans):
            if time.time() - at > UNCLAIMED_SECONDS:
                self._db.execute("DELETE FROM segment WHERE root = ?", (root,))
                self._path(bytes(root)).unlink(missing_ok=True)
            else:
                waiting += held
        if waiting + size > MAX_UNCLAIMED_BYTES:
            raise Refusal("too much is waiting for its submission on chain")
