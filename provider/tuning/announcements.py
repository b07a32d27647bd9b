"""Announcements to storage that were signed, written down before they are sent: after a death at
any moment the broker asks the chain for them before it pays for another one."""

from __future__ import annotations

from provider.node import Transaction
from provider.store import Store
from provider.tuning.sent import Signed

SCHEMA = """
CREATE TABLE IF NOT EXISTS announcement (
  root BLOB NOT NULL,
  hash TEXT NOT NULL,
  nonce INTEGER NOT NULL,
  PRIMARY KEY (root, hash)
) WITHOUT ROWID;
"""


class Announcements:
    """The table of them, by the root of the file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.add_tables(SCHEMA)

    def of(self, root: bytes) -> list[Signed]:
        """Those of a file that may be mined."""
        rows = self._store.rows("SELECT hash, nonce FROM announcement WHERE root = ?", root)
        return [Signed(*row) for row in rows]

    def keep(self, root: bytes, transaction: Transaction) -> None:
        """Of one nonce at most one is ever mined; those of others were looked for before."""
        with self._store.transaction() as db:
            db.execute(
                "DELETE FROM announcement WHERE root = ? AND nonce <> ?", (root, transaction.nonce)
            )
            db.execute(
                "INSERT OR IGNORE INTO announcement VALUES (?, ?, ?)",
                (root, transaction.hash, transaction.nonce),
            )

    def replaced(self, stuck: Transaction, dearer: Transaction) -> None:
        """`dearer` is the same as `stuck`: where that announces a file, so does this."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO announcement"
                " SELECT root, ?, nonce FROM announcement WHERE hash = ?",
                (dearer.hash, stuck.hash),
            )

    def drop(self, root: bytes) -> None:
        """Storage has the file: whoever announces it again pays again."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM announcement WHERE root = ?", (root,))
