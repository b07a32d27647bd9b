"""What must survive the power cord: charges, settlement items, sent transactions, signatures.

One SQLite file, WAL with synchronous=FULL: a call that returned is on disk. Amounts are decimal
text, because neuron outgrow SQLite's integers. Methods block for about one disk flush; call them
through a thread. provider/schema.py has the tables.

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
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from protocol.digests import Settlement
from provider.chain import Outcome, SignedItem
from provider.errors import ConfigError
from provider.node import Transaction
from provider.schema import migrate

#: In place of a SettlementStatus of the contract: nobody will ever know what was paid.
WRITTEN_OFF = -1


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


#: What the chain decided about an item, and what of its fee was not paid.
Judged = tuple[OpenItem, Outcome]


@dataclass(frozen=True)
class OpenBatch:
    """Items on their way, in calldata order, with every transaction that was signed for them."""

    id: int
    at: float
    items: tuple[OpenItem, ...]
    attempts: tuple[Transaction, ...]


@dataclass(frozen=True)
class Mined:
    """Where the chain holds a batch, and what that cost: `gas_fee` in neuron."""

    tx_hash: str
    block_number: int
    block_hash: str
    gas_fee: int


@dataclass(frozen=True)
class MinedBatch:
    """A batch whose outcomes are on disk and may still be taken back."""

    batch: OpenBatch
    block_number: int
    block_hash: str


class Store:
    """The broker's durable state in the folder `path`; one process at a time.

    Raises ConfigError for the store of a newer broker, sqlite3.Error or OSError for a broken one.
    """

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
        try:
            migrate(self._db)
        except BaseException:
            self._db.close()
            raise

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

    # ---- the operator's switches -----------------------------------------------------------

    def note(self, name: str) -> str:
        """What was written down under `name`, "" if nothing."""
        rows = self.rows("SELECT value FROM note WHERE name = ?", name)
        return str(rows[0][0]) if rows else ""

    def set_note(self, name: str, value: str) -> None:
        """Write something down that survives a restart."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))

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
        """Charges that may be signed away, by user, oldest first.

        What remained of an item waits until the item's block is final: if the block is taken back,
        the whole item is owed again.
        """
        found: dict[str, list[tuple[int, Charge]]] = defaultdict(list)
        for id_, user, fee, request_hash in self.rows(
            "SELECT id, user, fee, request_hash FROM charge WHERE item IS NULL AND NOT EXISTS ("
            " SELECT 1 FROM item JOIN batch ON batch.id = item.batch"
            " WHERE item.id = charge.source AND batch.confirmed IS NULL) ORDER BY id"
        ):
            charge = Charge(user, int(fee), bytes(request_hash))
            found[charge.user].append((int(id_), charge))
        return dict(found)

    def last_nonce(self, user: str) -> int:
        """The last and highest nonce ever signed for `user`, 0 if none."""
        rows = self.rows("SELECT nonce FROM item WHERE user = ? ORDER BY id DESC LIMIT 1", user)
        return int(rows[0][0]) if rows else 0

    def known_nonce(self, user: str) -> int:
        """The highest nonce of `user` on chain that this store can explain."""
        return max(self.last_nonce(user), int(self.note(f"nonce {user}") or 0))

    def explain_nonce(self, user: str, nonce: int) -> int:
        """A settlement that this store does not know has used `nonce`, a time in milliseconds:
        free charges from before may have been paid by it, and are dropped.

        Returns their sum in neuron.
        """
        with self.transaction() as db:
            rows = db.execute(
                "SELECT id, fee FROM charge WHERE user = ? AND item IS NULL AND at * 1000 <= ?",
                (user, float(nonce)),
            ).fetchall()
            db.executemany("DELETE FROM charge WHERE id = ?", [(id_,) for id_, _ in rows])
            db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (f"nonce {user}", str(nonce)))
        return sum(int(fee) for _, fee in rows)

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
        rows = self.rows("SELECT id, at FROM batch WHERE closed IS NULL ORDER BY id")
        return [self._batch(int(id_), float(at)) for id_, at in rows]

    def mined_batches(self) -> list[MinedBatch]:
        """Batches in blocks that are not final yet, oldest first."""
        rows = self.rows(
            "SELECT id, at, block_number, block_hash FROM batch"
            " WHERE closed IS NOT NULL AND confirmed IS NULL ORDER BY id"
        )
        return [
            MinedBatch(self._batch(int(id_), float(at)), int(number), str(hash_))
            for id_, at, number, hash_ in rows
        ]

    def _batch(self, id_: int, at: float) -> OpenBatch:
        items = self.rows(f"SELECT {_ITEM} FROM item WHERE batch = ? ORDER BY id", id_)
        attempts = self.rows(
            "SELECT tx_hash, raw, nonce, gas_price FROM attempt WHERE batch = ? ORDER BY rowid",
            id_,
        )
        return OpenBatch(
            id_,
            at,
            tuple(_item(row) for row in items),
            tuple(Transaction(h, raw, int(nonce), int(price)) for h, raw, nonce, price in attempts),
        )

    def close_batch(
        self, batch: int, mined: Mined | None = None, judged: Sequence[Judged] = (), *, final: bool
    ) -> list[Judged]:
        """The batch's transactions can change nothing more, unless the block that holds them is
        taken back (not `final`): what it decided is written with it. Unjudged items are free again.
        Returns what was not known already."""
        now = time.time()
        told = (
            (mined.tx_hash, mined.block_number, mined.block_hash, str(mined.gas_fee))
            if mined
            else (None, None, None, None)
        )
        with self.transaction() as db:
            news = [one for one in judged if _judge(db, *one)]
            db.execute(
                "UPDATE batch SET closed = ?, confirmed = ?, tx_hash = ?, block_number = ?,"
                " block_hash = ?, gas_fee = ? WHERE id = ?",
                (now, now if final else None, *told, batch),
            )
            db.execute("UPDATE item SET batch = NULL WHERE batch = ? AND settled IS NULL", (batch,))
        return news

    def confirm_batch(self, batch: int) -> None:
        """The block that holds the batch is final."""
        with self.transaction() as db:
            db.execute("UPDATE batch SET confirmed = ? WHERE id = ?", (time.time(), batch))

    def take_back(self, batch: int) -> dict[str, int]:
        """The block that held the batch is gone: its items are unjudged and under way again.

        Returns what each user owes again, in neuron: what the lost block had paid.
        """
        again: dict[str, int] = defaultdict(int)
        with self.transaction() as db:
            for id_, user, settled in db.execute(
                "SELECT id, user, settled FROM item WHERE batch = ? AND settled IS NOT NULL",
                (batch,),
            ).fetchall():
                again[user] += int(settled)
                # Free by the rule of `free_charges`: no item holds it.
                db.execute("DELETE FROM charge WHERE source = ? AND item IS NULL", (id_,))
                db.execute("UPDATE item SET status = NULL, settled = NULL WHERE id = ?", (id_,))
            db.execute(
                "UPDATE batch SET at = ?, closed = NULL, tx_hash = NULL, block_number = NULL,"
                " block_hash = NULL, gas_fee = NULL WHERE id = ?",
                (time.time(), batch),
            )
        return dict(again)

    def judge(self, item: OpenItem, outcome: Outcome) -> bool:
        """The chain consumed the item's nonce. False if that was known already."""
        with self.transaction() as db:
            return _judge(db, item, outcome)

    def write_off(self, item: OpenItem) -> bool:
        """The item is not asked for again, and paid nothing that we know of.

        False if it was judged already.
        """
        with self.transaction() as db:
            cursor = db.execute(
                "UPDATE item SET status = ?, settled = '0' WHERE id = ? AND settled IS NULL",
                (WRITTEN_OFF, item.id),
            )
            return bool(cursor.rowcount)


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    """The store in the folder `path`, for as long as the block runs. Raises ConfigError."""
    try:
        store = Store(path)
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(f"state: {path} cannot be used ({error})") from error
    with closing(store):
        yield store


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


def _judge(db: sqlite3.Connection, item: OpenItem, outcome: Outcome) -> bool:
    """What the chain did not pay becomes a new charge."""
    signed = item.signed.item
    cursor = db.execute(
        "UPDATE item SET status = ?, settled = ? WHERE id = ? AND settled IS NULL",
        (outcome.status, str(signed.total_fee - outcome.unsettled), item.id),
    )
    if cursor.rowcount and outcome.unsettled:
        rest = Charge(signed.user, outcome.unsettled, signed.requests_hash)
        _insert_charge(db, rest, time.time(), source=item.id)
    return bool(cursor.rowcount)


def _insert_charge(
    db: sqlite3.Connection, charge: Charge, at: float, source: int | None = None
) -> None:
    db.execute(
        "INSERT INTO charge (user, fee, request_hash, at, chat_id, source)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (charge.user, str(charge.fee), charge.request_hash, at, charge.chat_id, source),
    )


def _insert_attempt(db: sqlite3.Connection, batch: int, transaction: Transaction) -> None:
    db.execute(
        "INSERT INTO attempt VALUES (?, ?, ?, ?, ?)",
        (batch, transaction.hash, transaction.raw, transaction.nonce, str(transaction.gas_price)),
    )
