"""Tasks on disk: what was asked for, how far it came, and what must not be lost on the way.

A task moves by compare-and-set: whoever moves it names the stages it may come from, so that a
cancellation and the work on a task cannot both win. Methods block for about one disk flush.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, fields
from typing import Any

from protocol import tuning
from provider.moments import iso
from provider.store import Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS task (
  id TEXT PRIMARY KEY, user TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL,
  model TEXT NOT NULL, model_hash TEXT NOT NULL, dataset_hash TEXT NOT NULL,
  parameters TEXT NOT NULL, nonce TEXT NOT NULL, signature TEXT NOT NULL,
  public_key BLOB NOT NULL, customised INTEGER NOT NULL, wait INTEGER NOT NULL,
  progress TEXT NOT NULL, tokens INTEGER NOT NULL DEFAULT 0, fee TEXT NOT NULL DEFAULT '0',
  secret BLOB NOT NULL DEFAULT x'', root BLOB NOT NULL DEFAULT x'',
  deliver_index INTEGER NOT NULL DEFAULT 0, deliver_time INTEGER NOT NULL DEFAULT 0,
  handed_over INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS task_user ON task(user, created);
CREATE INDEX IF NOT EXISTS task_open ON task(created)
  WHERE progress NOT IN ('Finished', 'Failed');
"""
#: Of one user. Whoever cancels pays nothing, and each leaves a row and a public log.
TASKS_PER_DAY = 100
#: Waiting or at work, not trained yet: what `/v1/task/pending` counts.
PENDING = (tuning.INIT, tuning.SETTING_UP, tuning.SET_UP, tuning.TRAINING)


@dataclass(frozen=True)
class Task:
    """One task; amounts in neuron, times in unix seconds.

    `public_key` is the user's (65 bytes); `secret` the AES key of the result and `root` its 32-byte
    root hash, both empty until there is a result.
    """

    id: str
    user: str
    created: float
    updated: float
    model: str
    model_hash: str
    dataset_hash: str
    parameters: str
    nonce: int
    signature: str
    public_key: bytes
    customised: bool
    wait: bool
    progress: str
    tokens: int = 0
    fee: int = 0
    secret: bytes = b""
    root: bytes = b""
    deliver_index: int = 0
    deliver_time: int = 0
    handed_over: bool = False

    def document(self) -> dict[str, object]:
        """The Task JSON of provider-protocol.md 6.2."""
        return {
            "id": self.id,
            "createdAt": iso(self.created),
            "updatedAt": iso(self.updated),
            "userAddress": self.user,
            "preTrainedModelHash": self.model_hash,
            "datasetHash": self.dataset_hash,
            "trainingParams": self.parameters,
            "fee": str(self.fee),
            "nonce": str(self.nonce),
            "signature": self.signature,
            "progress": self.progress,
            "deliverIndex": self.deliver_index,
            "deliverTime": self.deliver_time,
            "modelType": int(self.customised),
            "wait": self.wait,
        }


COLUMNS = tuple(field.name for field in fields(Task))


class Tasks:
    """The table of tasks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.add_tables(SCHEMA)

    def add(self, task: Task, *, queue: int) -> str:
        """Accept a task unless a rule of the queue speaks against it.

        Returns "" or the reference server's sentence (6.3). `queue` bounds tasks not yet trained.
        """
        with self._store.transaction() as db:
            if _count(db, "user = ? AND nonce = ?", task.user, str(task.nonce)):
                # The same message twice at once, the first one cancelled meanwhile.
                return f"invalid nonce: {task.nonce} was used"
            if _count(db, "user = ? AND progress NOT IN ('Finished', 'Failed')", task.user):
                return "cannot create a new task while there is an unfinished task"
            if (
                _count(db, "user = ? AND created > ?", task.user, time.time() - 86_400)
                >= TASKS_PER_DAY
            ):
                return f"too many tasks in a day: at most {TASKS_PER_DAY} of one user"
            pending = _count(db, f"progress IN {_marks(PENDING)}", *PENDING)
            if pending and not task.wait:
                return "cannot create a new task while there are in-progress tasks"
            if pending >= queue:
                return "task queue is full"
            db.execute(
                f"INSERT INTO task ({', '.join(COLUMNS)}) VALUES {_marks(COLUMNS)}",
                [_plain(getattr(task, name)) for name in COLUMNS],
            )
        return ""

    def pending(self) -> int:
        """How many tasks wait or train."""
        rows = self._store.rows(
            f"SELECT COUNT(*) FROM task WHERE progress IN {_marks(PENDING)}", *PENDING
        )
        return int(rows[0][0])

    def last_nonce(self, user: str) -> int:
        """The highest nonce of a user's tasks, 0 without any."""
        rows = self._store.rows("SELECT nonce FROM task WHERE user = ?", user)
        return max((int(nonce) for (nonce,) in rows), default=0)

    def get(self, id_: str) -> Task | None:
        """A task by its id in lower case."""
        found = self._find("id = ?", id_)
        return found[0] if found else None

    def of_user(self, user: str, *, newest_first: bool, limit: int) -> list[Task]:
        """A user's tasks."""
        order = "DESC" if newest_first else "ASC"
        return self._find(f"user = ? ORDER BY created {order}, id LIMIT {limit:d}", user)

    def in_stages(self, *stages: str) -> list[Task]:
        """Tasks at one of these stages, oldest first."""
        return self._find(f"progress IN {_marks(stages)} ORDER BY created, id", *stages)

    def to_hand_over(self) -> list[Task]:
        """Settled tasks whose adapter the inference broker has not got yet."""
        return self._find("progress = 'Finished' AND NOT handed_over ORDER BY created")

    def ended(self, since: float, before: float) -> list[str]:
        """The ids of tasks that ended between two unix times."""
        rows = self._store.rows(
            "SELECT id FROM task WHERE progress IN ('Finished', 'Failed') AND updated >= ?"
            " AND updated < ?",
            since,
            before,
        )
        return [str(id_) for (id_,) in rows]

    def advance(self, id_: str, come_from: tuple[str, ...], to: str, **changes: Any) -> Task | None:
        """Move a task, if it is at one of `come_from`; None where it is not any more.

        `changes` are other columns to set with it.
        """
        names = ["progress", "updated", *changes]
        if not set(changes) < set(COLUMNS):
            raise ValueError(f"no such columns: {changes.keys() - set(COLUMNS)}")
        values = [to, time.time(), *(_plain(value) for value in changes.values())]
        with self._store.transaction() as db:
            cursor = db.execute(
                f"UPDATE task SET {', '.join(f'{name} = ?' for name in names)}"
                f" WHERE id = ? AND progress IN {_marks(come_from)}",
                [*values, id_, *come_from],
            )
            moved = bool(cursor.rowcount)
        return self.get(id_) if moved else None

    def _find(self, where: str, *values: object) -> list[Task]:
        rows = self._store.rows(f"SELECT {', '.join(COLUMNS)} FROM task WHERE {where}", *values)
        return [_task(row) for row in rows]


def _task(row: tuple[Any, ...]) -> Task:
    found = dict(zip(COLUMNS, row, strict=True))
    for name in ("nonce", "fee"):
        found[name] = int(found[name])
    for name in ("customised", "wait", "handed_over"):
        found[name] = bool(found[name])
    for name in ("public_key", "secret", "root"):
        found[name] = bytes(found[name])
    return Task(**found)


def _plain(value: Any) -> Any:
    """Neuron outgrow SQLite's integers, so whole numbers beyond them are kept as text; columns of
    type INTEGER turn short ones back."""
    return str(value) if type(value) is int else value


def _marks(values: tuple[object, ...]) -> str:
    return f"({', '.join('?' * len(values))})"


def _count(db: sqlite3.Connection, where: str, *values: object) -> int:
    return int(db.execute(f"SELECT COUNT(*) FROM task WHERE {where}", values).fetchone()[0])
