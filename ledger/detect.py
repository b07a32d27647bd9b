"""Finding silent movements of the LedgerManager by its native balance (architecture.md 1).

Its balance equals the sum of all available balances (contracts.md 2), so comparing the two finds
every deposit and withdrawal that neither logs nor direct transactions show, whoever made it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from chain.errors import NoState
from chain.facts import Block, Call, Header
from chain.projection import Reader
from ledger import reads
from ledger.state import State
from protocol.abi import AbiError

#: (block number, expected native balance after it), ascending.
Sums = Sequence[tuple[int, int]]


def final(address: str, base: State, first: int, last: int, sums: Sums, read: Reader) -> list[int]:
    """Final blocks in `first`..`last` at which the balance left our sum; [] when none did.

    A few batched balance reads per silent movement. Movements that cancel out within the range
    stay unseen here (`ledger.unlike`).
    """
    numbers = [number for number, _ in sums]

    def expected(block: int) -> int:
        index = bisect_right(numbers, block)
        return sums[index - 1][1] if index else base.expected_balance

    def differences(asked: Sequence[tuple[str, int]]) -> list[int]:
        blocks = [block for _, block in asked]
        found = read.balances(address, blocks)
        return [have - expected(block) for block, have in zip(blocks, found, strict=True)]

    end = differences([(address, last)])[0]
    return [block for _, block in jumps([(address, first - 1, last, end)], differences)]


def jumps(
    spans: Sequence[tuple[str, int, int, int]],
    differences: Callable[[Sequence[tuple[str, int]]], list[int]],
) -> list[tuple[str, int]]:
    """`(key, block)` of every change of a key's difference, by halving, all spans at once.

    A span is (key, low, high, difference at high): at `low` there was none.
    """
    opened = [(key, low, 0, high, end) for key, low, high, end in spans if end]
    found: list[tuple[str, int]] = []
    while opened:
        found += [(key, high) for key, low, _, high, _ in opened if high - low == 1]
        opened = [span for span in opened if span[3] - span[1] > 1]
        middles = [(key, (low + high) // 2) for key, low, _, high, _ in opened]
        halves = []
        for (key, low, at_low, high, at_high), (_, middle), at_middle in zip(
            opened, middles, differences(middles) if middles else [], strict=True
        ):
            if at_middle != at_low:
                halves.append((key, low, at_low, middle, at_middle))
            if at_middle != at_high:
                halves.append((key, middle, at_middle, high, at_high))
        opened = halves
    return sorted(found, key=lambda jump: (jump[1], jump[0]))


def pending(address: str, blocks: Sequence[Block], sums: Sums, read: Reader) -> list[int]:
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


class Unshown:
    """Blocks in which money of serving contracts moved, and whose logs the node left out.

    The native balance of a serving contract changes by what its sub-accounts and stakes change
    (contracts.md 2). A range that is read sparsely shows nothing else of a block that was left out
    (a full one does, by its bloom). What a block does not explain when it is read whole (ether
    forced in, older code) is let be.
    """

    def __init__(self, base: State, first: int) -> None:
        self.first = first
        self.addresses = sorted(s.address for s in base.servings.values())
        self.before: dict[str, int] = {}
        #: Read whole: more they do not tell.
        self.looked: set[int] = set()

    def find(self, layer: State, last: int, read: Reader) -> list[int]:
        """Blocks of `first`..`last` to be read whole (two balances per contract when there are
        none)."""
        flows = {address: _flow(layer, address, self.first) for address in self.addresses}

        def differences(asked: Sequence[tuple[str, int]]) -> list[int]:
            blocks: dict[str, list[int]] = {}
            for address, block in asked:
                blocks.setdefault(address, []).append(block)
            found = {}
            for address, numbers in blocks.items():
                for block, have in zip(numbers, read.balances(address, numbers), strict=True):
                    found[address, block] = have
            return [found[a, b] - self.before[a] - flows[a].at(b) for a, b in asked]

        try:
            for address in self.addresses:
                if address not in self.before:
                    self.before[address] = read.balances(address, [self.first - 1])[0]
            asked = [(address, last) for address in self.addresses]
            ends = zip(asked, differences(asked), strict=True)
            spans = [(address, self.first - 1, last, end) for (address, _), end in ends]
            found = {block for _, block in jumps(spans, differences)} - self.looked
        except NoState:
            return []  # the end of sparse reading asks every account all the same
        self.looked |= found
        return sorted(found)


def _flow(layer: State, address: str, first: int) -> _Known:
    """What our rows say a serving contract's native balance changed by, after each block."""
    changes: dict[int, int] = {}
    for m in layer.movements:
        if m.serving == address and m.balance == "sub_account":
            changes[m.place.block] = changes.get(m.place.block, 0) + m.amount
    for c in layer.changes:
        if c.serving == address and c.change in ("staked", "stake_returned"):
            stake = int(c.after["stake"]) - int(c.before["stake"])
            changes[c.place.block] = changes.get(c.place.block, 0) + stake
    blocks = sorted(changes)
    sums = accumulate((changes[block] for block in blocks), initial=0)
    return _Known([first - 1, *blocks], list(sums))


class Misplaced:
    """Silent movements that a view showed later than they happened, within the blocks just folded.

    A ledger is read where a log of a contract wallet names it; what changed it without a log may
    be older. The blocks before are searched until the one is found at whose end it shows first.
    """

    def __init__(self, address: str, first: int) -> None:
        self.address, self.first = address, first
        #: Where nothing is left to find out.
        self.settled: set[tuple[str, int]] = set()

    def find(
        self, base: State, layer: State, headers: Mapping[int, Header], read: Reader
    ) -> list[tuple[int, Call]]:
        """Blocks with a ledger to read at each; `headers` of those that may still go away."""
        shown = [
            (m.user, m.place.block)
            for m in layer.movements
            if m.source == "view" and m.balance == "available" and m.kind != "opening"
        ]
        asked = [
            (user, block - 1)
            for user, block in dict.fromkeys(shown)
            if block > self.first and (user, block) not in self.settled
        ]
        self.settled.update(shown)
        if not asked:
            return []
        known = _available(base, layer, {user for user, _ in asked})

        def differences(places: Sequence[tuple[str, int]]) -> list[int]:
            by_block: dict[int, list[str]] = {}
            for user, block in places:
                by_block.setdefault(block, []).append(user)
            found = {}
            for block, users in by_block.items():
                header = headers.get(block) or Header(block, "", "", 0)
                calls = [reads.ledger(self.address, user) for user in users]
                for user, call, said in zip(users, calls, read.views(header, calls), strict=True):
                    available = _said(call, said)
                    ours = known[user].at(block)
                    found[user, block] = 0 if available is None else available - ours
            return [found[place] for place in places]

        try:
            ends = zip(asked, differences(asked), strict=True)
            spans = [(user, self.first - 1, block, end) for (user, block), end in ends]
            found = jumps(spans, differences)
        except NoState:
            return []  # the sums are right all the same; only the place is not known better
        self.settled.update(found)
        return [(block, reads.ledger(self.address, user)) for user, block in found]


@dataclass(slots=True)
class _Known:
    """A balance along the chain, ascending."""

    blocks: list[int]
    balances: list[int]

    def at(self, block: int) -> int:
        return self.balances[bisect_right(self.blocks, block) - 1]


def _available(base: State, layer: State, users: Collection[str]) -> dict[str, _Known]:
    found = {}
    for user in users:
        ledger = base.ledgers.get(user)
        found[user] = _Known([-1], [ledger.available if ledger else 0])
    for m in layer.movements:
        if m.balance == "available" and (known := found.get(m.user)) is not None:
            known.blocks.append(m.place.block)
            known.balances.append(m.balance_after)
    return found


def _said(call: Call, result: str) -> int | None:
    """The available balance a view answers, 0 for a ledger that does not exist; None where there
    is no contract yet, or one of a code that answers in another shape."""
    try:
        answered = reads.answer("ledger", call, result)
    except AbiError:
        return None
    value = answered[2] if answered else None
    return int(value["availableBalance"]) if value else 0
