"""Pictures behind URLs, and images made in the background: kept on disk for a while, written
together with what they cost (provider-protocol.md 1.3, 1.5).

Times are unix seconds. A job's request is dropped when the job ends; a result or a picture beyond
its time is gone, whether it has been swept yet or not.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from provider.asks import PictureAsk
from provider.store import Charge, Receipt, Store, record_answer

SCHEMA = """
CREATE TABLE IF NOT EXISTS picture (
  chat_id TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, until REAL NOT NULL,
  PRIMARY KEY (chat_id, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS picture_until ON picture(until);
CREATE TABLE IF NOT EXISTS job (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user TEXT NOT NULL, path TEXT NOT NULL,
  content_type TEXT NOT NULL, body BLOB NOT NULL, request_hash BLOB NOT NULL,
  estimate TEXT NOT NULL, count INTEGER NOT NULL, by_url INTEGER NOT NULL,
  status TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL,
  updated REAL NOT NULL, until REAL, error TEXT NOT NULL DEFAULT '', result BLOB, chat_id TEXT);
CREATE INDEX IF NOT EXISTS job_until ON job(until);
"""

PENDING, PROCESSING, COMPLETED, FAILED = "pending", "processing", "completed", "failed"
# A job that was interrupted is tried again; one that may be what ends the process is not.
MAX_TRIES = 2
INTERRUPTED = "the provider was restarted while it worked on this, twice; nothing was charged"


@dataclass(frozen=True)
class Job:
    """Work to be done; its estimate is held back from the user's balance."""

    id: str
    user: str
    ask: PictureAsk


@dataclass(frozen=True)
class JobState:
    """What a job's owner is told; `result` is JSON."""

    user: str
    status: str
    created: float
    updated: float
    error: str
    result: bytes | None
    chat_id: str | None


class PictureStore:
    """The tables, in the broker's store."""

    def __init__(self, store: Store, keep_seconds: float) -> None:
        self._store = store
        self._keep = keep_seconds
        store.add_tables(SCHEMA)

    # ---- pictures --------------------------------------------------------------------------

    def record(self, charge: Charge, receipt: Receipt | None, shown: Sequence[bytes]) -> None:
        """One answer, with the pictures that its URLs lead to."""
        with self._store.transaction() as db:
            self._record(db, charge, receipt, shown)

    def _record(
        self,
        db: sqlite3.Connection,
        charge: Charge,
        receipt: Receipt | None,
        shown: Sequence[bytes],
    ) -> None:
        record_answer(db, charge, receipt)
        until = time.time() + self._keep
        db.executemany(
            "INSERT INTO picture VALUES (?, ?, ?, ?)",
            [(charge.chat_id, number, data, until) for number, data in enumerate(shown)],
        )

    def picture(self, chat_id: str, number: int) -> bytes | None:
        """The picture behind a URL, while it is kept."""
        rows = self._store.rows(
            "SELECT data FROM picture WHERE chat_id = ? AND number = ? AND until > ?",
            chat_id,
            number,
            time.time(),
        )
        return bytes(rows[0][0]) if rows else None

    # ---- jobs ------------------------------------------------------------------------------

    def add_job(self, job: Job, *, queue: int, share: int) -> bool:
        """Write a job down; False if `queue` jobs are open, or `share` of this user."""
        ask, now = job.ask, time.time()
        with self._store.transaction() as db:
            counted = "SELECT count(*), coalesce(sum(user = ?), 0) FROM job WHERE until IS NULL"
            ((waiting, own),) = db.execute(counted, (job.user,)).fetchall()
            if waiting >= queue or own >= share:
                return False
            db.execute(
                "INSERT INTO job (id, user, path, content_type, body, request_hash, estimate,"
                " count, by_url, status, created, updated)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(job.id, job.user, ask.path, ask.content_type, ask.body, ask.request_hash),
                    *(str(ask.estimate), ask.count, ask.by_url, PENDING, now, now),
                ),
            )
        return True

    def take_up(self) -> list[tuple[str, int]]:
        """At the start: interrupted jobs wait again, or have failed for good. Returns user and
        estimate of every job that is open."""
        now = time.time()
        with self._store.transaction() as db:
            db.execute(
                "UPDATE job SET status = ?, error = ?, body = x'', updated = ?, until = ?"
                " WHERE status = ? AND tries >= ?",
                (FAILED, INTERRUPTED, now, now + self._keep, PROCESSING, MAX_TRIES),
            )
            db.execute("UPDATE job SET status = ? WHERE status = ?", (PENDING, PROCESSING))
        rows = self._store.rows("SELECT user, estimate FROM job WHERE until IS NULL")
        return [(user, int(estimate)) for user, estimate in rows]

    def next_job(self) -> Job | None:
        """The oldest job that waits, now under way."""
        with self._store.transaction() as db:
            row = db.execute(
                "SELECT number, id, user, path, content_type, body, request_hash, estimate, count,"
                " by_url FROM job WHERE until IS NULL AND status = ? ORDER BY number LIMIT 1",
                (PENDING,),
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE job SET status = ?, tries = tries + 1, updated = ? WHERE number = ?",
                (PROCESSING, time.time(), row[0]),
            )
        return _job(row)

    def complete(
        self,
        charge: Charge,
        receipt: Receipt | None,
        *,
        job: Job,
        result: bytes,
        shown: Sequence[bytes],
    ) -> None:
        """The result and its price, both or none."""
        now = time.time()
        with self._store.transaction() as db:
            self._record(db, charge, receipt, shown)
            db.execute(
                "UPDATE job SET status = ?, result = ?, chat_id = ?, body = x'', updated = ?,"
                " until = ? WHERE id = ?",
                (COMPLETED, result, charge.chat_id, now, now + self._keep, job.id),
            )

    def fail(self, job: Job, error: str) -> None:
        """The end of a job without a result, free of charge."""
        now = time.time()
        with self._store.transaction() as db:
            db.execute(
                "UPDATE job SET status = ?, error = ?, body = x'', updated = ?, until = ?"
                " WHERE id = ?",
                (FAILED, error, now, now + self._keep, job.id),
            )

    def job(self, id_: str) -> JobState | None:
        """A job as its owner sees it, while it is kept."""
        rows = self._store.rows(
            "SELECT user, status, created, updated, error, result, chat_id FROM job"
            " WHERE id = ? AND (until IS NULL OR until > ?)",
            id_,
            time.time(),
        )
        return JobState(*rows[0]) if rows else None

    def sweep(self) -> None:
        """Drop what is beyond its time."""
        now = time.time()
        with self._store.transaction() as db:
            db.execute("DELETE FROM picture WHERE until <= ?", (now,))
            db.execute("DELETE FROM job WHERE until <= ?", (now,))


def _job(row: tuple[Any, ...]) -> Job:
    _, id_, user, path, content_type, body, request_hash, estimate, count, by_url = row
    ask = PictureAsk(
        path,
        content_type,
        bytes(body),
        bytes(request_hash),
        int(estimate),
        int(count),
        bool(by_url),
    )
    return Job(id_, user, ask)
