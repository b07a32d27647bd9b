"""What a node says, typed and checked: headers, transactions, logs, view answers. Pure.

The parsers take decoded JSON of an untrusted node and raise `Unavailable` for anything that does
not have the promised shape; addresses become EIP-55, hashes stay lower-case 0x-hex.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from chain.errors import Unavailable
from protocol.abi import checksum

_HASH = re.compile(r"0x[0-9a-f]{64}\Z")
_DATA = re.compile(r"0x(?:[0-9a-f]{2})*\Z")
_MAX_UINT256_DIGITS = 2 + 64


@dataclass(frozen=True, slots=True)
class Header:
    """`timestamp` in unix seconds."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class Log:
    block_number: int
    block_hash: str
    log_index: int
    tx_hash: str
    tx_index: int
    address: str
    topics: tuple[str, ...]
    data: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction with its outcome; `value` neuron, `gas_price` effective neuron per gas."""

    hash: str
    block_hash: str
    block_number: int
    index: int
    sender: str
    to: str | None
    value: int
    input: str
    status: int
    gas_used: int
    gas_price: int


@dataclass(frozen=True, slots=True)
class Call:
    """A question to a contract: `data` is calldata, `balance` or `storage:0x<slot>`."""

    to: str
    data: str


@dataclass(frozen=True, slots=True)
class Block:
    """All we hold of one block: transactions by index, logs by log index, answers by call."""

    header: Header
    transactions: tuple[Transaction, ...] = ()
    logs: tuple[Log, ...] = ()
    calls: Mapping[Call, str] = field(default_factory=dict)

    def only(self, address: str) -> Block:
        """The part of this block that concerns one contract."""
        logs = tuple(log for log in self.logs if log.address == address)
        mine = {log.tx_hash for log in logs}
        kept = tuple(t for t in self.transactions if t.to == address or t.hash in mine)
        return replace(self, logs=logs, transactions=kept, calls={})


def quantity(value: Any) -> int:
    """A JSON-RPC quantity (`0x1f`) of at most 256 bits."""
    if isinstance(value, str) and value.startswith("0x") and len(value) <= _MAX_UINT256_DIGITS:
        try:
            return int(value, 16)
        except ValueError:
            pass
    raise Unavailable(f"the node sent {str(value)[:40]!r} where a number belongs")


def digest(value: Any) -> str:
    """A 32-byte hash."""
    if isinstance(value, str) and _HASH.match(value):
        return value
    raise Unavailable(f"the node sent {str(value)[:40]!r} where a hash belongs")


def data(value: Any) -> str:
    """Bytes as 0x-hex of even length."""
    if isinstance(value, str) and _DATA.match(value):
        return value
    raise Unavailable(f"the node sent {str(value)[:40]!r} where bytes belong")


def address(value: Any) -> str:
    """An address, in EIP-55 form."""
    try:
        return checksum(value)
    except (ValueError, TypeError):
        raise Unavailable(f"the node sent {str(value)[:50]!r} where an address belongs") from None


def header(raw: Any) -> Header:
    entry = _object(raw)
    return Header(
        quantity(entry.get("number")),
        digest(entry.get("hash")),
        digest(entry.get("parentHash")),
        quantity(entry.get("timestamp")),
    )


def log(raw: Any) -> Log:
    entry = _object(raw)
    topics = entry.get("topics")
    if not isinstance(topics, list) or len(topics) > 4:
        raise Unavailable("the node sent a log without a list of topics")
    if entry.get("removed") is True:
        raise Unavailable("the node sent a log it calls removed")
    return Log(
        quantity(entry.get("blockNumber")),
        digest(entry.get("blockHash")),
        quantity(entry.get("logIndex")),
        digest(entry.get("transactionHash")),
        quantity(entry.get("transactionIndex")),
        address(entry.get("address")),
        tuple(digest(t) for t in topics),
        data(entry.get("data")),
    )


def logs(raw: Any) -> list[Log]:
    """A list of logs in chain order; an answer that repeats one is refused."""
    if not isinstance(raw, list):
        raise Unavailable("the node sent no list of logs")
    found = sorted((log(item) for item in raw), key=lambda g: (g.block_number, g.log_index))
    for one, two in pairwise(found):
        if (one.block_number, one.log_index) == (two.block_number, two.log_index):
            raise Unavailable("the node sent the same log twice")
    return found


def transaction(raw: Any, receipt: Any) -> Transaction:
    """A transaction of a full block together with its receipt; they must name each other."""
    entry, outcome = _object(raw), _object(receipt)
    if (entry.get("hash"), entry.get("blockHash")) != (
        outcome.get("transactionHash"),
        outcome.get("blockHash"),
    ):
        raise Unavailable("the node sent the receipt of another transaction")
    to = entry.get("to")
    price = outcome.get("effectiveGasPrice", entry.get("gasPrice"))
    return Transaction(
        digest(entry.get("hash")),
        digest(entry.get("blockHash")),
        quantity(entry.get("blockNumber")),
        quantity(entry.get("transactionIndex")),
        address(entry.get("from")),
        None if to is None else address(to),
        quantity(entry.get("value")),
        data(entry.get("input")),
        quantity(outcome.get("status")),
        quantity(outcome.get("gasUsed")),
        quantity(price),
    )


def receipt_logs(receipt: Any, addresses: Iterable[str]) -> list[Log]:
    """The logs of a receipt that were emitted by one of `addresses` (EIP-55)."""
    wanted = set(addresses)
    return [g for g in logs(_object(receipt).get("logs")) if g.address in wanted]


def _object(raw: Any) -> Mapping[str, Any]:
    if isinstance(raw, dict):
        return raw
    raise Unavailable(f"the node sent {str(raw)[:40]!r} where an object belongs")
