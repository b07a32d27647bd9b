"""Transactions of the fine-tuning broker's wallet, written down before they are sent: what is stuck
can be offered again for more gas, also after a restart."""

from __future__ import annotations

import time
from dataclasses import dataclass

from provider.node import Transaction
from provider.store import Store

#: Nonces below the one under way that are kept: a chain may take their blocks back.
KEPT = 100
SCHEMA = """
CREATE TABLE IF NOT EXISTS sent (
  hash TEXT PRIMARY KEY,
  raw TEXT NOT NULL,
  nonce INTEGER NOT NULL,
  gas_price TEXT NOT NULL,
  at REAL NOT NULL
);
"""


@dataclass(frozen=True)
class Signed:
    """A transaction of our wallet that may have been sent."""

    hash: str
    nonce: int


@dataclass(frozen=True)
class Kept:
    """A signed transaction and when it was first about to be sent, in unix seconds."""

    transaction: Transaction
    at: float


class Sent:
    """The table of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.add_tables(SCHEMA)

    def keep(self, transaction: Transaction) -> None:
        """Before it is sent."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM sent WHERE nonce < ?", (transaction.nonce - KEPT,))
            db.execute(
                "INSERT OR IGNORE INTO sent VALUES (?, ?, ?, ?, ?)",
                (
                    transaction.hash,
                    transaction.raw,
                    transaction.nonce,
                    str(transaction.gas_price),
                    time.time(),
                ),
            )

    def of(self, nonce: int) -> list[Kept]:
        """Those of that nonce, the newest first; none of one that this broker did not use."""
        rows = self._store.rows(
            "SELECT hash, raw, nonce, gas_price, at FROM sent WHERE nonce = ?"
            " ORDER BY at DESC, rowid DESC",
            nonce,
        )
        return [
            Kept(Transaction(hash_, raw, number, int(price)), at)
            for hash_, raw, number, price, at in rows
        ]
