"""The shape of the broker's store and how older ones become it.

Steps only add, each in the transaction that raises the version; a store of a newer broker is
refused, because what it means may have changed.
"""

from __future__ import annotations

import sqlite3

from provider.errors import ConfigError

VERSION = 2

FIRST = """
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
"""

# 2: a batch knows the block that holds it, until that block is final; a remainder knows the item
# it remains of, so that both can be taken back together; the operator's switches.
SECOND = """
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS item_batch ON item(batch) WHERE batch IS NOT NULL;
"""
SECOND_COLUMNS = (
    ("charge", "source", "INTEGER REFERENCES item(id)"),
    ("batch", "tx_hash", "TEXT"),
    ("batch", "block_number", "INTEGER"),
    ("batch", "block_hash", "TEXT"),
    ("batch", "gas_fee", "TEXT"),
    ("batch", "confirmed", "REAL"),
)


def version(db: sqlite3.Connection) -> int:
    """The version of the store behind `db`, 0 for an empty one."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection) -> None:
    """Bring the store to VERSION, whole or not at all. Raises ConfigError for a newer one."""
    found = version(db)
    if found > VERSION:
        raise ConfigError(
            f"state: the store was written by a newer broker (version {found}, this one knows "
            f"{VERSION}): run that one again; there is no way back that keeps the debts right",
            "state",
        )
    db.execute("BEGIN IMMEDIATE")
    try:
        _run(db, FIRST)
        if found < 2:
            _second(db)
        db.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _second(db: sqlite3.Connection) -> None:
    # A broker of version 1 sets its number whatever it finds, so the columns may be there already.
    for table, column, kind in SECOND_COLUMNS:
        present = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        if column not in present:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    _run(db, SECOND)
    db.execute("UPDATE batch SET confirmed = closed WHERE confirmed IS NULL")


def _run(db: sqlite3.Connection, script: str) -> None:
    """Statement by statement: `executescript` would commit the transaction first."""
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)
