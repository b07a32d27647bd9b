"""Which receipts are needed: whatever log is left out of whatever list, one of them shows it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from chain import proof
from chain.errors import Unavailable
from chain.facts import Log
from protocol.abi import checksum

OURS = checksum("0x" + "a1" * 20)
OTHER = checksum("0x" + "b2" * 20)
FULL = "0x" + "ff" * 256
EMPTY = "0x" + "00" * 256
HASH = "0x" + "0b" * 32


def tx(number: int) -> str:
    return f"0x{number:064x}"


def block(targets: list[str], bloom: str = FULL) -> dict[str, Any]:
    """A block with a transaction to each of `targets`."""
    transactions = [
        {"hash": tx(number), "blockHash": HASH, "to": to.lower()}
        for number, to in enumerate(targets)
    ]
    return {"hash": HASH, "logsBloom": bloom, "transactions": transactions}


def log(index: int, number: int) -> Log:
    return Log(7, HASH, index, tx(number), number, OURS, (), "0x")


def needed(raw: dict[str, Any], logs: list[Log], *, all_of_it: bool = True) -> list[int]:
    found = proof.needs(raw, logs, [OURS], all_of_it=all_of_it)
    return [int(tx_hash, 16) for tx_hash in found.hashes]


@pytest.mark.parametrize(
    ("targets", "logs", "receipts"),
    [
        # Numbered without a gap: only the last one may have logged more, or those after it.
        ([OURS, OURS, OURS], [(0, 0), (1, 0), (2, 1), (3, 2)], [2]),
        ([OURS, OURS, OTHER], [(0, 0), (1, 1)], [1, 2]),
        # A gap: anybody may have made the log that is not ours to see.
        ([OURS, OTHER, OURS], [(0, 0), (2, 2)], [0, 1, 2]),
        ([OURS, OURS], [(1, 0), (2, 1)], [0, 1]),
        # Without a log: whether it was successful.
        ([OURS, OURS], [(0, 1)], [0, 1]),
        # A contract wallet's, before and after what is certain.
        ([OTHER, OURS, OTHER], [(0, 0), (1, 1)], [1, 2]),
        # None at all, and the bloom names us.
        ([OTHER, OTHER], [], [0, 1]),
    ],
)
def test_receipts(targets: list[str], logs: list[tuple[int, int]], receipts: list[int]) -> None:
    assert needed(block(targets), [log(*entry) for entry in logs]) == receipts


def test_what_nobody_doubts() -> None:
    assert needed(block([OTHER, OTHER], EMPTY), []) == []
    assert needed(block([OTHER, OTHER]), [], all_of_it=False) == []
    assert needed(block([OTHER, OURS]), [log(0, 1)], all_of_it=False) == [1]


@pytest.mark.parametrize("seed", range(200))
def test_no_log_can_be_left_out_unseen(seed: int) -> None:
    """Some logs are withheld: one of the receipts asked for holds a log that the list does not."""
    rng = random.Random(seed)
    targets = [rng.choice((OURS, OTHER)) for _ in range(rng.randint(1, 8))]
    made: list[tuple[Log, bool]] = []
    for number in range(len(targets)):
        for _ in range(rng.choice((0, 0, 1, 3))):
            made.append((log(len(made), number), rng.random() < 0.8))
    ours = [entry for entry, mine in made if mine]
    if not ours:
        return
    told = [entry for entry in ours if rng.random() < 0.7]
    missing = {entry.tx_hash for entry in ours if entry not in told}
    asked = {tx(number) for number in needed(block(targets), told)}
    assert not missing or missing & asked
    assert asked <= {tx(number) for number in range(len(targets))}
    # And what is held of a transaction without a receipt is all that it logged.
    silent = [entry for entry in ours if entry.tx_hash not in asked]
    assert all(entry in told for entry in silent)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"transactions": None},
        {"transactions": ["0x1"]},
        {"transactions": [{"hash": tx(1), "blockHash": tx(2), "to": None}]},
        {"transactions": [{"hash": None, "blockHash": HASH}]},
        {"transactions": [{"hash": tx(1), "blockHash": HASH, "blockNumber": "0x6"}]},
    ],
)
def test_a_block_without_its_transactions(spoiled: dict[str, Any]) -> None:
    with pytest.raises(Unavailable):
        needed({**block([OURS]), **spoiled}, [])
