"""What a node says, typed and checked: headers, transactions, logs, view answers. Pure.

The parsers take decoded JSON of an untrusted node and raise `Unavailable` for anything that does
not have the promised shape; addresses become EIP-55, hashes stay lower-case 0x-hex.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from chain.errors import Unavailable
from protocol.addresses import checksum

_HASH = re.compile(r"0x[0-9a-f]{64}\Z")
_DATA = re.compile(r"0x[0-9a-f]*\Z")
#: Hashes and numbers remembered as checked: a block's, a transaction's, most topics, and small
#: numbers come again and again.
_KNOWN = 1 << 14
_MAX_UINT256_DIGITS = 2 + 64
#: What rows and clocks hold: a block's number, a place in it, the last second of the year 9999.
_LAST_BLOCK, _LAST_INDEX, _LAST_SECOND = 2**63 - 1, 2**31 - 1, 253_402_300_799


@dataclass(frozen=True, slots=True)
class Header:
    """`timestamp` in unix seconds."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int


class Log(NamedTuple):
    """One log. (A tuple, not a dataclass: a back-fill makes millions.)"""

    block_number: int
    block_hash: str
    log_index: int
    tx_hash: str
    tx_index: int
    address: str
    topics: tuple[str, ...]
    data: str


#: Where a log stands: block number and log index.
_PLACE: Callable[[Log], tuple[int, int]] = attrgetter("block_number", "log_index")


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction with its outcome; `value` neuron, `status` 1 success, 0 reverted."""

    hash: str
    block_hash: str
    block_number: int
    index: int
    sender: str
    to: str | None
    value: int
    input: str
    status: int


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
    if isinstance(value, str):
        return _quantity(value)
    raise Unavailable(f"the node sent {str(value)[:40]!r} where a number belongs")


@lru_cache(_KNOWN)
def _quantity(value: str) -> int:
    if value.startswith("0x") and len(value) <= _MAX_UINT256_DIGITS:
        try:
            return int(value, 16)
        except ValueError:
            pass
    raise Unavailable(f"the node sent {value[:40]!r} where a number belongs")


def _upto(most: int, value: Any) -> int:
    number = quantity(value)
    if number > most:
        raise Unavailable(f"the node sent {value} where a number up to {most} belongs")
    return number


def digest(value: Any) -> str:
    """A 32-byte hash."""
    if isinstance(value, str):
        return _digest(value)
    raise Unavailable(f"the node sent {str(value)[:40]!r} where a hash belongs")


@lru_cache(_KNOWN)
def _digest(value: str) -> str:
    if _HASH.match(value):
        return value
    raise Unavailable(f"the node sent {value[:40]!r} where a hash belongs")


def data(value: Any) -> str:
    """Bytes as 0x-hex of even length."""
    if isinstance(value, str) and not len(value) % 2 and _DATA.match(value):
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
        _upto(_LAST_BLOCK, entry.get("number")),
        digest(entry.get("hash")),
        digest(entry.get("parentHash")),
        _upto(_LAST_SECOND, entry.get("timestamp")),
    )


def log(raw: Any) -> Log:
    entry = _object(raw)
    topics, content = entry.get("topics"), entry.get("data")
    if not isinstance(topics, list) or len(topics) > 4:
        raise Unavailable("the node sent a log without a list of topics")
    if entry.get("removed") is True:
        raise Unavailable("the node sent a log it calls removed")
    try:
        return Log(
            _upto(_LAST_BLOCK, entry["blockNumber"]),
            _digest(entry["blockHash"]),
            _upto(_LAST_INDEX, entry["logIndex"]),
            _digest(entry["transactionHash"]),
            _upto(_LAST_INDEX, entry["transactionIndex"]),
            address(entry["address"]),
            tuple(map(_digest, topics)),
            data(content),
        )
    except (KeyError, TypeError, AttributeError):  # something missing, or not a text
        raise Unavailable(f"the node sent a log that is none: {str(raw)[:80]}") from None


def logs(raw: Any) -> list[Log]:
    """A list of logs in chain order; an answer that repeats one is refused."""
    if not isinstance(raw, list):
        raise Unavailable("the node sent no list of logs")
    found = list(map(log, raw))
    places = list(map(_PLACE, found))
    if len(set(places)) < len(places):
        raise Unavailable("the node sent the same log twice")
    if places != sorted(places):
        found.sort(key=_PLACE)
    return found


def transaction(raw: Any, receipt: Any | None) -> Transaction:
    """A transaction of a full block, with its receipt unless it is known to have logged (what
    reverts logs nothing); the two must name each other."""
    entry = _object(raw)
    status = 1
    if receipt is not None:
        outcome = _object(receipt)
        named = (outcome.get("transactionHash"), outcome.get("blockHash"))
        if (entry.get("hash"), entry.get("blockHash")) != named:
            raise Unavailable("the node sent the receipt of another transaction")
        status = quantity(outcome.get("status"))
    to = entry.get("to")
    return Transaction(
        digest(entry.get("hash")),
        digest(entry.get("blockHash")),
        _upto(_LAST_BLOCK, entry.get("blockNumber")),
        _upto(_LAST_INDEX, entry.get("transactionIndex")),
        address(entry.get("from")),
        None if to is None else address(to),
        quantity(entry.get("value")),
        data(entry.get("input")),
        status,
    )


def receipt_says(receipt: Any, addresses: Collection[str], expected: Sequence[Log]) -> bool:
    """Whether the receipt's logs of `addresses` (EIP-55) are exactly `expected`, in chain order."""
    raw = _object(receipt).get("logs")
    if not isinstance(raw, list):
        raise Unavailable("the node sent a receipt without a list of logs")
    if len(raw) != len(expected):
        raw = [entry for entry in raw if address(_object(entry).get("address")) in addresses]
    return len(raw) == len(expected) and all(map(_is_same, raw, expected))


def _is_same(raw: Any, known: Log) -> bool:
    """Whether a raw log says what `known` says: compared as it stands, nothing is built."""
    get = _object(raw).get
    return bool(
        get("data") == known.data
        and get("transactionHash") == known.tx_hash
        and get("blockHash") == known.block_hash
        and quantity(get("logIndex")) == known.log_index
        and get("topics") == [*known.topics]
        and address(get("address")) == known.address
    )


def emitters(receipt: Any) -> set[str]:
    """The contracts that logged in a transaction, as the node writes addresses (lower case)."""
    logs = _object(receipt).get("logs")
    if not isinstance(logs, list):
        raise Unavailable("the node sent a receipt without a list of logs")
    return {str(_object(entry).get("address")).lower() for entry in logs}


def _object(raw: Any) -> Mapping[str, Any]:
    if isinstance(raw, dict):
        return raw
    raise Unavailable(f"the node sent {str(raw)[:40]!r} where an object belongs")
