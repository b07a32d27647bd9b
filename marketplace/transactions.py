"""One transaction as the index knows it: which of our rows it made.

Rows are not filed by transaction (an index over every row would cost each block): the node says in
which block a transaction lies, and the block leads to its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accounts import node
from chain.models import RawLog
from ledger import selectors
from ledger.models import Movement, ServiceChange, Settlement
from ledger.records import ChangeEntry, MovementEntry, SettlementEntry

#: Rows of each sort that are read; a settlement of the contract holds at most 50 items.
MOST = 200


@dataclass(frozen=True)
class Seen:
    """A transaction, and the rows that it made. `block` is None while it waits for one; amounts
    in neuron."""

    hash: str
    block: int | None
    sender: str
    to: str
    value: int
    changes: tuple[ChangeEntry, ...] = ()
    settlements: tuple[SettlementEntry, ...] = ()
    movements: tuple[tuple[str, MovementEntry], ...] = ()

    @property
    def ours(self) -> bool:
        return bool(self.changes or self.settlements or self.movements)


def seen(tx_hash: str) -> Seen | None:
    """What is known of a transaction; None where the node does not know it. Raises what
    `accounts.node` raises where no node can say (5 queries and a question)."""
    found = node.call("eth_getTransactionByHash", tx_hash)
    if not isinstance(found, dict):
        return None
    number = found.get("blockNumber")
    sender = selectors.address_of(str(found.get("from"))) or ""
    to = selectors.address_of(str(found.get("to"))) or ""
    value = node.quantity(found.get("value"))
    if number is None:
        return Seen(tx_hash, None, sender, to, value)
    block = node.quantity(number)
    logs = RawLog.objects.filter(block_number=block, tx_hash=tx_hash)
    topics = logs.values_list("topics", flat=True)[:MOST]
    concerned = {sender, *(address for listed in topics for address in _addresses(listed))}
    known = selectors.contracts()
    made: dict[str, Any] = {"block": block, "tx_hash": tx_hash}
    changes = ServiceChange.objects.filter(**made).order_by("sequence")[:MOST]
    paid = Settlement.objects.filter(provider__in=concerned, **made).order_by("sequence")[:MOST]
    moved = Movement.objects.filter(user__in=concerned, **made).order_by("sequence")[:MOST]
    return Seen(
        tx_hash,
        block,
        sender,
        to,
        value,
        tuple(ChangeEntry.of(row, known) for row in changes),
        tuple(SettlementEntry.of(row, known) for row in paid),
        tuple((row.user, MovementEntry.of(row, known)) for row in moved),
    )


def _addresses(topics: list[str]) -> list[str]:
    """The addresses among a log's indexed values."""
    words = (topic[-40:] for topic in topics[1:] if topic.startswith("0x" + "0" * 24))
    return [address for word in words if (address := selectors.address_of(f"0x{word}"))]
