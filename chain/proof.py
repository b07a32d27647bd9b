"""Which receipts prove that a list of logs is complete: as few as can. Pure.

The logs of a block are numbered from 0 without gaps, over all its transactions. Where those we
hold are 0, 1, 2, …, nothing is missing up to the last of them: only its transaction and the ones
after it may have logged more. Anywhere else, and where no log is held of a block whose bloom filter
names our contracts, receipts have to tell.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from chain import bloom
from chain.errors import Unavailable
from chain.facts import Log

RawTransaction = dict[str, Any]


@dataclass(slots=True)
class Needs:
    """Of one block: the transactions that concern us, others that may have logged in our
    contracts, and the hashes of those among both whose receipts are needed."""

    relevant: list[RawTransaction] = field(default_factory=list)
    doubtful: list[RawTransaction] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)


def needs(
    block: dict[str, Any], logs: Sequence[Log], addresses: Collection[str], *, all_of_it: bool
) -> Needs:
    """`logs`: what we hold of `addresses` in this block, in order; `all_of_it`: doubt every
    transaction (those of contract wallets name none of ours and show in no other way).

    Raises Unavailable for a block without its transactions.
    """
    found, wanted = Needs(), {a.lower() for a in addresses}
    logged = {log.tx_hash for log in logs}
    gapless = bool(logs) and all(log.log_index == place for place, log in enumerate(logs))
    # Up to the transaction of the last log held, where the numbers have no gap.
    certain, last = gapless, logs[-1].tx_hash if logs else ""
    doubted = all_of_it and bloom.names_one_of(block.get("logsBloom"), addresses)
    for raw in _transactions(block):
        tx_hash = raw["hash"]
        if tx_hash == last:
            certain = False
        if tx_hash in logged:
            found.relevant.append(raw)
            needed = not certain
        elif str(raw.get("to")).lower() in wanted:
            found.relevant.append(raw)
            needed = True  # whether it was successful
        elif doubted and not certain:
            found.doubtful.append(raw)
            needed = True
        else:
            needed = False
        if needed:
            found.hashes.append(tx_hash)
    return found


def _transactions(block: dict[str, Any]) -> list[RawTransaction]:
    found = block.get("transactions")
    if not isinstance(found, list) or not all(isinstance(t, dict) for t in found):
        raise Unavailable("the node sent a block without its transactions")
    for raw in found:
        place = (raw.get("blockHash"), raw.get("blockNumber"))
        if place != (block["hash"], block.get("number")) or not isinstance(raw.get("hash"), str):
            raise Unavailable("the node sent a block with transactions of another")
    return found
