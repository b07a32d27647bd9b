"""The raw store: facts in, facts out, exactly as the node said them.

For blocks up to the final one it holds only blocks of the chain; above, also losers of a
reorganisation, until the winner becomes final (`replace`). Headers of final blocks without facts
are dropped, so that the store grows with the facts and not with the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.db import connection
from django.db.models import Model, Q

from chain import bulk, ranges
from chain.facts import Block, Call, Header, Log, Transaction
from chain.models import Coverage, RawBlock, RawCall, RawLog, RawTransaction


def write(blocks: Iterable[Block]) -> None:
    """Add every fact of `blocks`; facts already there stay as they are."""
    held = list(blocks)
    _write(held, bulk.add_new)
    _write_calls(held, bulk.add_new)


def replace(first: int, final: Sequence[Block]) -> None:
    """Blocks `first` up to the last of `final` became final: of them we hold `final`, no more.

    Losers of reorganisations go, and so does what was asked about a block while it was pending
    and was not needed now: a replay must find just the facts that were folded. Then drops headers
    (also the one before `first`) that no fact refers to, except the last.
    """
    replace_seen(first, final)
    replace_asked(first, final, seen=final)


def replace_seen(first: int, final: Sequence[Block]) -> None:
    """The first part of `replace`: what the chain shows of these blocks, not what was asked."""
    last = final[-1].header.number
    with connection.cursor() as cursor:
        for model in (RawLog, RawTransaction, RawCall, RawBlock):
            column = "number" if model is RawBlock else "block_number"
            cursor.execute(
                f'DELETE FROM "{model._meta.db_table}" WHERE {column} BETWEEN %s AND %s',
                [first, last],
            )
    _write([block for block in final if block.header.number < first], bulk.add_new)
    _write([block for block in final if block.header.number >= first], bulk.copy_rows)


def replace_asked(first: int, final: Sequence[Block], *, seen: Sequence[Block]) -> None:
    """The second part: answers, and blocks that were not among those `seen`."""
    known = {block.header.number for block in seen}
    _write([block for block in final if block.header.number not in known], bulk.copy_rows)
    _write_calls([block for block in final if block.header.number < first], bulk.add_new)
    _write_calls([block for block in final if block.header.number >= first], bulk.copy_rows)
    with connection.cursor() as cursor:
        _drop_empty(cursor, first - 1, final[-1].header.number - 1)


Add = Callable[[type[Model], Sequence[str], Sequence[Sequence[Any]]], None]


def _write(held: Sequence[Block], add: Add) -> None:
    add(
        RawBlock,
        ("number", "hash", "parent_hash", "timestamp"),
        [(b.header.number, b.header.hash, b.header.parent_hash, b.header.timestamp) for b in held],
    )
    add(
        RawTransaction,
        (
            "hash", "block_hash", "block_number", "index", "sender", "to", "value", "input",
            "status",
        ),
        [
            (
                t.hash, t.block_hash, t.block_number, t.index, t.sender, t.to, t.value, t.input,
                t.status,
            )
            for b in held
            for t in b.transactions
        ],
    )  # fmt: skip
    add(
        RawLog,
        (
            "block_hash", "block_number", "log_index", "tx_hash", "tx_index", "address", "topics",
            "data",
        ),
        [
            (
                g.block_hash, g.block_number, g.log_index, g.tx_hash, g.tx_index, g.address,
                dump(g.topics), g.data,
            )
            for b in held
            for g in b.logs
        ],
    )  # fmt: skip


def _write_calls(held: Sequence[Block], add: Add) -> None:
    add(
        RawCall,
        ("block_number", "block_hash", "to", "data", "result"),
        [
            (b.header.number, b.header.hash, call.to, call.data, result)
            for b in held
            for call, result in b.calls.items()
        ],
    )


def dump(topics: Sequence[str]) -> str:
    """A JSON list of 0x-hex topics (chain.facts has checked that they are): nothing to escape."""
    return '["' + '", "'.join(topics) + '"]' if topics else "[]"


def _drop_empty(cursor: Any, first: int, last: int) -> None:
    cursor.execute(
        """
        DELETE FROM chain_rawblock b WHERE number BETWEEN %s AND %s AND NOT EXISTS (
            SELECT FROM chain_rawlog WHERE block_number = b.number AND block_hash = b.hash
        ) AND NOT EXISTS (
            SELECT FROM chain_rawtransaction WHERE block_number = b.number AND block_hash = b.hash
        ) AND NOT EXISTS (
            SELECT FROM chain_rawcall WHERE block_number = b.number AND block_hash = b.hash
        )
        """,
        [first, last],
    )


# --- coverage ------------------------------------------------------------------------------------


def covered(source: str) -> list[ranges.Range]:
    """The final block ranges whose facts of `source` we hold, in normal form."""
    rows = Coverage.objects.filter(source=source).values_list("from_block", "to_block")
    return ranges.normal(rows)


def cover(source: str, first: int, last: int) -> None:
    """Record that we hold the facts of `source` in `first`..`last` (all final)."""
    rows = Coverage.objects.filter(source=source)
    grown = rows.filter(to_block=first - 1).update(to_block=last)
    if grown != 1:
        merged = ranges.normal([*covered(source), (first, last)])
        rows.delete()
        Coverage.objects.bulk_create(
            Coverage(source=source, from_block=a, to_block=b) for a, b in merged
        )


# --- reading back --------------------------------------------------------------------------------


def blocks(first: int, last: int, *, address: str | None = None) -> Iterator[Block]:
    """Held blocks `first`..`last` (final ones) in order; with `address` only its part of each."""
    for start, end in ranges.pieces((first, last), 20_000) if not address else [(first, last)]:
        yield from _load(start, end, address)


def _load(first: int, last: int, address: str | None) -> Iterator[Block]:
    number = {"block_number__gte": first, "block_number__lte": last}
    logs: dict[str, list[Log]] = {}
    rows = RawLog.objects.filter(**number).order_by("block_number", "log_index")
    for log in rows.filter(address=address) if address else rows:
        logs.setdefault(log.block_hash, []).append(
            Log(
                log.block_number, log.block_hash, log.log_index, log.tx_hash, log.tx_index,
                log.address, tuple(log.topics), log.data,
            )
        )  # fmt: skip
    transactions: dict[str, list[Transaction]] = {}
    mine = {g.tx_hash for group in logs.values() for g in group}
    some = RawTransaction.objects.filter(**number).order_by("block_number", "index")
    if address:
        some = some.filter(Q(to=address) | Q(hash__in=mine))
    for t in some:
        transactions.setdefault(t.block_hash, []).append(
            Transaction(
                t.hash, t.block_hash, t.block_number, t.index, t.sender, t.to, t.value,
                t.input, t.status,
            )
        )  # fmt: skip
    calls: dict[str, dict[Call, str]] = {}
    for row in RawCall.objects.filter(**number):
        if address is None:
            calls.setdefault(row.block_hash, {})[Call(row.to, row.data)] = row.result
    headers = RawBlock.objects.filter(number__gte=first, number__lte=last).order_by("number")
    for b in headers:
        held = (logs.get(b.hash, []), transactions.get(b.hash, []), calls.get(b.hash, {}))
        if any(held):
            yield Block(
                Header(b.number, b.hash, b.parent_hash, b.timestamp),
                tuple(held[1]),
                tuple(held[0]),
                held[2],
            )
