"""Finding silent movements of the LedgerManager by its native balance (architecture.md 1).

Its balance equals the sum of all available balances (contracts.md 2), so comparing the two finds
every deposit and withdrawal that neither logs nor direct transactions show, whoever made it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from chain.facts import Block
from chain.projection import Reader
from ledger.state import State

#: (block number, expected native balance after it), ascending.
Sums = Sequence[tuple[int, int]]


def final(address: str, base: State, first: int, last: int, sums: Sums, read: Reader) -> list[int]:
    """Final blocks in `first`..`last` at which the balance left our sum; [] when none did.

    Halves the range until each block that changed the difference is found: a few batched balance
    reads per silent movement. Movements that cancel out within the range stay unseen here.
    """
    numbers = [number for number, _ in sums]

    def expected(block: int) -> int:
        index = bisect_right(numbers, block)
        return sums[index - 1][1] if index else base.expected_balance

    def differences(blocks: list[int]) -> list[int]:
        found = read.balances(address, blocks)
        return [have - expected(block) for block, have in zip(blocks, found, strict=True)]

    end = differences([last])[0]
    open_ranges = [(first - 1, 0, last, end)] if end else []
    jumps: list[int] = []
    while open_ranges:
        jumps += [high for low, _, high, _ in open_ranges if high - low == 1]
        open_ranges = [r for r in open_ranges if r[2] - r[0] > 1]
        middles = [(low + high) // 2 for low, _, high, _ in open_ranges]
        halves = []
        for (low, at_low, high, at_high), middle, at_middle in zip(
            open_ranges, middles, differences(middles) if middles else [], strict=True
        ):
            if at_middle != at_low:
                halves.append((low, at_low, middle, at_middle))
            if at_middle != at_high:
                halves.append((middle, at_middle, high, at_high))
        open_ranges = halves
    return sorted(jumps)


def pending(
    address: str, base: State, blocks: Sequence[Block], sums: Sums, read: Reader
) -> list[int]:
    """The same for blocks that may still go away: each is asked by its hash."""
    found = read.balances(address, [blocks[-1].header.hash])
    if found[0] == sums[-1][1]:
        return []
    have = read.balances(address, [block.header.hash for block in blocks])
    differences = [h - expected for h, (_, expected) in zip(have, sums, strict=True)]
    before = [0, *differences]
    return [
        block.header.number
        for block, difference, previous in zip(blocks, differences, before, strict=False)
        if difference != previous
    ]
