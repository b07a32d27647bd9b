"""What must survive the power cord: charges, settlement items, sent transactions, signatures.

One SQLite file, WAL with synchronous=FULL: a call that returned is on disk. Amounts are decimal
text, because neuron outgrow SQLite's integers. Methods block for about one disk flush; call them
through a thread.

A charge is one answer a user owes for. An item is a signed request to the contract for a set of
charges, and lives until the chain has judged it: an item never changes its nonce, so however often
it is sent, it is paid once. What an item did not get comes back as a charge of its own.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from protocol.digests import Settlement
from provider.chain import SignedItem
from provider.node import Transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS charge (
  id INTEGER PRIMARY KEY, user TEXT NOT NULL, fee TEXT NOT NULL, request_hash BLOB NOT NULL,
  at REAL NOT NULL, chat_id TEXT, item INTEGER REFERENCES item(id));
CREATE INDEX IF NOT EXISTS charge_unassigned ON charge(user) WHERE item IS NULL;
CREATE TABLE IF NOT EXISTS item (
  id INTEGER PRIMARY KEY, user TEXT NOT NULL, provider TEXT NOT NULL, total_fee TEXT NOT NULL,
  requests_hash BLOB NOT NULL, nonce TEXT NOT NULL, signature BLOB NOT NULL,
  since_block INTEGER NOT NULL, status INTEGER, settled TEXT, batch INTEGER REFERENCES batch(id));
CREATE INDEX IF NOT EXISTS item_open ON item(id) WHERE settled IS NULL;
CREATE INDEX IF NOT EXISTS item_user ON item(user);
CREATE TABLE IF NOT EXISTS batch (id INTEGER PRIMARY KEY, at REAL NOT NULL, closed REAL);
CREATE TABLE IF NOT EXISTS attempt (
  batch INTEGER NOT NULL REFERENCES batch(id), tx_hash TEXT PRIMARY KEY, raw TEXT NOT NULL,
  nonce INTEGER NOT NULL, gas_price TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS signature (
  chat_id TEXT PRIMARY KEY, text TEXT NOT NULL, signature TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS signature_at ON signature(at);
CREATE TABLE IF NOT EXISTS identity (id INTEGER PRIMARY KEY CHECK (id = 1), said TEXT NOT NULL);
PRAGMA user_version = 1;
"""


@dataclass(frozen=True)
class Charge:
    """One answer to pay for; `request_hash` is 32 bytes."""

    user: str
    fee: int
    request_hash: bytes
    chat_id: str | None = None


@dataclass(frozen=True)
class Receipt:
    """A signed answer: the text and its 0x-hex signature."""

    chat_id: str
    text: str
    signature: str


@dataclass(frozen=True)
class OpenItem:
    """An item the chain has not judged yet; `batch` is set while a transaction carries it."""

    id: int
    signed: SignedItem
    since_block: int
    batch: int | None


@dataclass(frozen=True)
class OpenBatch:
    """Items on their way, in calldata order, with every transaction that was signed for them."""

    id: int
    at: float
    items: tuple[OpenItem, ...]
    attempts: tuple[Transaction, ...]


class Store:
    """The broker's durable state in the folder `path`; one process at a time."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)  # it says who asked, and how much
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            path / "broker.sqlite3", check_same_thread=False, isolation_level=None, timeout=2
        )
        # Two brokers on one state folder would settle the same charges under two nonces.
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            self._db.close()

    def add_tables(self, schema: str) -> None:
        """Tables of others that are written together with answers; `schema` may run again."""
        with self._lock:
            self._db.executescript(schema)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on disk, or nothing."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def belongs_to(self, identity: str) -> bool:
        """Whether these debts are `identity`'s; a new store becomes its own."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO identity VALUES (1, ?)", (identity,))
        return bool(self.rows("SELECT said FROM identity")[0][0] == identity)

    # ---- answers ---------------------------------------------------------------------------

    def record(self, charge: Charge, receipt: Receipt | None) -> None:
        """One delivered answer: what it costs and, if it was signed, the signature."""
        with self.transaction() as db:
            record_answer(db, charge, receipt)

    def signature(self, chat_id: str) -> Receipt | None:
        """The signature of an answer, while it is kept."""
        rows = self.rows("SELECT text, signature FROM signature WHERE chat_id = ?", chat_id)
        return Receipt(chat_id, rows[0][0], rows[0][1]) if rows else None

    def forget_signatures(self, before: float) -> None:
        """Drop signatures older than the unix time `before`."""
        with self.transaction() as db:
            db.execute("DELETE FROM signature WHERE at < ?", (before,))

    def owed(self) -> dict[str, int]:
        """What each user owes in neuron: free charges and items the chain has not judged."""
        totals: dict[str, int] = defaultdict(int)
        for user, fee in self.rows(
            "SELECT user, fee FROM charge WHERE item IS NULL"
            " UNION ALL SELECT user, total_fee FROM item WHERE settled IS NULL"
        ):
            totals[user] += int(fee)
        return dict(totals)

    # ---- settlement ------------------------------------------------------------------------

    def free_charges(self) -> dict[str, list[tuple[int, Charge]]]:
        """Charges that no item holds yet, by user, oldest first."""
        found: dict[str, list[tuple[int, Charge]]] = defaultdict(list)
        for id_, user, fee, request_hash in self.rows(
            "SELECT id, user, fee, request_hash FROM charge WHERE item IS NULL ORDER BY id"
        ):
            charge = Charge(user, int(fee), bytes(request_hash))
            found[charge.user].append((int(id_), charge))
        return dict(found)

    def last_nonce(self, user: str) -> int:
        """The last and highest nonce ever signed for `user`, 0 if none."""
        rows = self.rows("SELECT nonce FROM item WHERE user = ? ORDER BY id DESC LIMIT 1", user)
        return int(rows[0][0]) if rows else 0

    def add_item(self, signed: SignedItem, charge_ids: Sequence[int], since_block: int) -> None:
        """Sign away charges: from here on they are owed through this item only."""
        item = signed.item
        with self.transaction() as db:
            cursor = db.execute(
                "INSERT INTO item (user, provider, total_fee, requests_hash, nonce, signature,"
                " since_block) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    item.user,
                    item.provider,
                    str(item.total_fee),
                    item.requests_hash,
                    str(item.nonce),
                    signed.signature,
                    since_block,
                ),
            )
            db.executemany(
                "UPDATE charge SET item = ? WHERE id = ? AND item IS NULL",
                [(cursor.lastrowid, charge_id) for charge_id in charge_ids],
            )

    def sign_again(self, item: OpenItem, signature: bytes) -> OpenItem:
        """Replace an item's signature and nothing else: its nonce still counts once."""
        with self.transaction() as db:
            db.execute("UPDATE item SET signature = ? WHERE id = ?", (signature, item.id))
        return replace(item, signed=replace(item.signed, signature=signature))

    def open_items(self) -> list[OpenItem]:
        """Items the chain has not judged, oldest first."""
        return [
            _item(row)
            for row in self.rows(f"SELECT {_ITEM} FROM item WHERE settled IS NULL ORDER BY id")
        ]

    def add_batch(self, items: Sequence[OpenItem], first: Transaction) -> OpenBatch:
        """Write down what is about to be sent, in calldata order."""
        at = time.time()
        with self.transaction() as db:
            batch = int(db.execute("INSERT INTO batch (at) VALUES (?)", (at,)).lastrowid or 0)
            db.executemany(
                "UPDATE item SET batch = ? WHERE id = ?", [(batch, item.id) for item in items]
            )
            _insert_attempt(db, batch, first)
        return OpenBatch(batch, at, tuple(items), (first,))

    def add_attempt(self, batch: int, transaction: Transaction) -> None:
        """Write down a replacement that is about to be sent."""
        with self.transaction() as db:
            _insert_attempt(db, batch, transaction)

    def open_batches(self) -> list[OpenBatch]:
        """Batches without a known end, oldest first; items in calldata order."""
        batches = []
        for id_, at in self.rows("SELECT id, at FROM batch WHERE closed IS NULL ORDER BY id"):
            items = self.rows(f"SELECT {_ITEM} FROM item WHERE batch = ? ORDER BY id", id_)
            attempts = self.rows(
                "SELECT tx_hash, raw, nonce, gas_price FROM attempt WHERE batch = ? ORDER BY rowid",
                id_,
            )
            batches.append(
                OpenBatch(
                    int(id_),
                    float(at),
                    tuple(_item(row) for row in items),
                    tuple(
                        Transaction(h, raw, int(nonce), int(price))
                        for h, raw, nonce, price in attempts
                    ),
                )
            )
        return batches

    def close_batch(self, batch: int) -> None:
        """The batch's transactions can change nothing any more; unjudged items are free again."""
        with self.transaction() as db:
            db.execute("UPDATE batch SET closed = ? WHERE id = ?", (time.time(), batch))
            db.execute("UPDATE item SET batch = NULL WHERE batch = ? AND settled IS NULL", (batch,))

    def judge(self, item: OpenItem, status: int, unsettled: int) -> bool:
        """The chain consumed the item's nonce: what it did not pay becomes a new charge.

        False if that was known already.
        """
        signed = item.signed.item
        with self.transaction() as db:
            cursor = db.execute(
                "UPDATE item SET status = ?, settled = ? WHERE id = ? AND settled IS NULL",
                (status, str(signed.total_fee - unsettled), item.id),
            )
            if not cursor.rowcount:
                return False
            if unsettled:
                rest = Charge(signed.user, unsettled, signed.requests_hash)
                _insert_charge(db, rest, time.time())
        return True


def record_answer(db: sqlite3.Connection, charge: Charge, receipt: Receipt | None) -> None:
    """Part of a transaction: an answer's debt and its signature."""
    now = time.time()
    if charge.fee:
        _insert_charge(db, charge, now)
    if receipt is not None:
        db.execute(
            "INSERT INTO signature VALUES (?, ?, ?, ?)",
            (receipt.chat_id, receipt.text, receipt.signature, now),
        )


_ITEM = "id, user, provider, total_fee, requests_hash, nonce, signature, since_block, batch"


def _item(row: tuple[Any, ...]) -> OpenItem:
    id_, user, provider, fee, requests_hash, nonce, signature, since_block, batch = row
    settlement = Settlement(
        user,
        provider,
        int(fee),
        bytes(requests_hash),
        int(nonce),
    )
    return OpenItem(
        int(id_),
        SignedItem(settlement, bytes(signature)),
        int(since_block),
        None if batch is None else int(batch),
    )


def _insert_charge(db: sqlite3.Connection, charge: Charge, at: float) -> None:
    db.execute(
        "INSERT INTO charge (user, fee, request_hash, at, chat_id) VALUES (?, ?, ?, ?, ?)",
        (charge.user, str(charge.fee), charge.request_hash, at, charge.chat_id),
    )


def _insert_attempt(db: sqlite3.Connection, batch: int, transaction: Transaction) -> None:
    db.execute(
        "INSERT INTO attempt VALUES (?, ?, ?, ?, ?)",
        (batch, transaction.hash, transaction.raw, transaction.nonce, str(transaction.gas_price)),
    )
