"""Collecting facts from a node: ranges of final blocks, single blocks, receipts that agree.

Nothing is stored here. Every answer is checked against the others: a log's block hash against the
header, a header against its parent, the logs of a receipt against those of the query.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any

from chain import facts, proof, ranges
from chain.errors import NodeBehind, RangeTooWide, Unavailable
from chain.facts import Block, Call, Header, Log, Transaction
from chain.rpc import BlockRef, Rpc

FIRST_SPAN, LAST_SPAN = 2_000, 1_000_000
LAST_PATIENCE = 256
#: Full blocks asked for at once.
BLOCKS_AT_ONCE = 100
RawBlocks = Sequence[dict[str, Any]]


class Fetcher:
    """Reads facts through `rpc`, remembering how wide a log query may be."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.span = FIRST_SPAN
        #: The width (blocks) a node refused last; close to it we widen only after `patience` good
        #: queries, twice as many after each refusal.
        self.refused: int | None = None
        self.patience, self.good = 1, 0

    def logs(
        self, first: int, last: int, addresses: Collection[str], ends: set[int] | None = None
    ) -> list[Log]:
        """Logs of final blocks in chain order, in as many queries as the node wants.

        With `ends` every answer is asked to its end (`_to_the_end`); the blocks where one ended
        are added there.
        """
        found: list[Log] = []
        while first <= last:
            end = min(last, first + self.span - 1)
            try:
                part = self.rpc.logs(first, end, sorted(addresses))
                if ends is not None:
                    self._to_the_end(part, first, end, addresses, ends)
            except RangeTooWide as error:
                width = end - first + 1
                if width == 1:
                    raise Unavailable(f"block {first} alone is too much: {error}") from error
                self._narrow(width, error.suggested)
                continue
            found += part
            if end < last or end - first + 1 == self.span:
                self._widen()
            first = end + 1
        return found

    def _to_the_end(
        self, found: list[Log], first: int, last: int, addresses: Collection[str], ends: set[int]
    ) -> None:
        """Add what a node left out of `found` without a word: a list can only be cut at its end.

        It is asked again from the last block it named, until it has nothing to add. What a limit
        cuts off, or a node behind the same address that does not know the last blocks, shows so;
        whether that last block is complete its receipts tell (`ends`).
        """
        while True:
            start = found[-1].block_number if found else first
            known = [log for log in reversed(found) if log.block_number == start][::-1]
            again = self.rpc.logs(start, last, sorted(addresses), again=True)
            if again[: len(known)] != known:
                raise Unavailable(f"two answers about the logs of block {start} differ")
            if len(again) == len(known):
                ends.update(log.block_number for log in known[:1])
                return
            found += again[len(known) :]

    def _narrow(self, width: int, suggested: int | None) -> None:
        """A suggestion counts where it helps: some numbers in error texts are other numbers."""
        self.refused, self.good = width, 0
        self.patience = min(LAST_PATIENCE, self.patience * 2)
        self.span = suggested if suggested and suggested < width else width // 2

    def _widen(self) -> None:
        """Doubled, but close to a refused width carefully: a limit of results varies along the
        chain, a limit of blocks does not."""
        wider = min(LAST_SPAN, self.span * 2)
        if self.refused is not None and wider >= self.refused:
            self.good += 1
            if self.good < self.patience:
                return
            wider, self.good = self.span + max(1, self.span // 4), 0
            if wider > 2 * self.refused:
                self.refused, self.patience = None, 1
        self.span = min(LAST_SPAN, wider)

    def range(
        self, first: int, last: int, addresses: Collection[str], *, dense: bool
    ) -> list[Block]:
        """Facts of final blocks `first`..`last` in order, always with block `last`.

        `dense` reads every block and proves that they are linked and, by their blooms, that no log
        is missing. Otherwise only blocks with logs of `addresses`, and the last one, are read; then
        every list of logs is asked to its end, and the block there is proven complete.
        """
        if dense:
            # Neither question needs the other's answer: the node works while we read.
            with ThreadPoolExecutor(1, thread_name_prefix="blocks") as beside:
                asked = beside.submit(self.raw_blocks, range(first, last + 1))
                logs = self.logs(first, last, addresses)
                raws = asked.result()
            linked(map(facts.header, raws))
            return self.complete(raws, logs, addresses)
        ends: set[int] = set()
        logs = self.logs(first, last, addresses, ends)
        raws = self.raw_blocks(sorted({log.block_number for log in logs} | {last}))
        return self.complete(raws, logs, addresses, whole=ends)

    def numbers(self, numbers: Iterable[int], addresses: Collection[str]) -> list[Block]:
        """Facts of single final blocks."""
        raws = self.raw_blocks(sorted(numbers))
        logs = self.rpc.logs_of([raw["hash"] for raw in raws], sorted(addresses))
        return self.complete(raws, [log for group in logs for log in group], addresses)

    def raw_blocks(self, refs: Sequence[BlockRef]) -> RawBlocks:
        """Full blocks as the node sends them; NodeBehind when it lacks one."""
        found = []
        for start, end in ranges.pieces((0, len(refs) - 1), BLOCKS_AT_ONCE):
            part = refs[start : end + 1]
            for ref, raw in zip(part, self.rpc.raw_blocks(part, full=True), strict=True):
                if raw is None:
                    raise NodeBehind(f"the node does not have block {ref}")
                expected = raw.get("hash") if isinstance(ref, str) else raw.get("number")
                if expected != (ref if isinstance(ref, str) else hex(ref)):
                    raise Unavailable(f"the node sent another block than {ref}")
                found.append(raw)
        return found

    def complete(
        self,
        raws: RawBlocks,
        logs: Iterable[Log],
        addresses: Collection[str],
        *,
        whole: Container[int] | None = None,
    ) -> list[Block]:
        """Blocks with their logs, and with the transactions that concern `addresses`.

        `chain.proof` says which receipts prove that no log of these transactions is missing; of the
        blocks `whole` (None: of all) also none of any other transaction.
        """
        headers = [facts.header(raw) for raw in raws]
        of_block: dict[str, list[Log]] = {header.hash: [] for header in headers}
        number_of = {header.hash: header.number for header in headers}
        for log in logs:
            if number_of.get(log.block_hash) != log.block_number:
                raise NodeBehind(f"block {log.block_number} changed while we read it")
            of_block[log.block_hash].append(log)
        of_transaction: dict[str, list[Log]] = {}
        for group in of_block.values():
            for log in group:
                of_transaction.setdefault(log.tx_hash, []).append(log)
        needs = [
            proof.needs(
                raw, of_block[header.hash], addresses, all_of_it=_holds(whole, header.number)
            )
            for raw, header in zip(raws, headers, strict=True)
        ]
        receipts = self._receipts(raws, needs)
        held: dict[str, list[Transaction]] = {header.hash: [] for header in headers}
        ours = frozenset(addresses)
        for raw in chain.from_iterable(need.relevant for need in needs):
            receipt = receipts.get(raw["hash"])
            transaction = facts.transaction(raw, receipt)
            held[transaction.block_hash].append(transaction)
            expected = of_transaction.pop(transaction.hash, [])
            if receipt is not None and not facts.receipt_says(receipt, ours, expected):
                raise Unavailable(f"logs and receipt of {transaction.hash} disagree")
        if of_transaction:
            raise Unavailable(f"no block holds the transaction {next(iter(of_transaction))}")
        wanted = {a.lower() for a in addresses}
        for raw in chain.from_iterable(need.doubtful for need in needs):
            if not wanted.isdisjoint(facts.emitters(receipts[raw["hash"]])):
                raise Unavailable(f"the node left out the logs of {raw['hash']}")
        return [
            Block(
                header,
                tuple(sorted(held[header.hash], key=lambda t: t.index)),
                tuple(of_block[header.hash]),
            )
            for header in headers
        ]

    def _receipts(self, raws: RawBlocks, needs: Sequence[proof.Needs]) -> dict[str, Any]:
        """The receipts that are needed of these blocks, by transaction.

        Where most of a block's are, they are asked for together, in one call; what a node does not
        say so, or not in full, is asked for one by one.
        """
        single = {raw["hash"]: need.hashes for raw, need in zip(raws, needs, strict=True)}
        found: dict[str, Any] = {}
        node = self.rpc.node
        if node is None or node.block_receipts:
            busy = [
                raw for raw in raws
                if 1 < len(single[raw["hash"]]) >= len(raw["transactions"]) / 2
            ]  # fmt: skip
            together = self.rpc.block_receipts([raw["hash"] for raw in busy])
            for raw, receipts in zip(busy, together, strict=False):
                if matched := _matched(raw, receipts):
                    found |= matched
                    del single[raw["hash"]]
        hashes = [tx_hash for group in single.values() for tx_hash in group]
        for tx_hash, receipt in zip(hashes, self.rpc.raw_receipts(hashes), strict=True):
            if receipt is None:
                raise NodeBehind(f"the node has no receipt of {tx_hash}")
            found[tx_hash] = receipt
        return found


def _holds(whole: Container[int] | None, number: int) -> bool:
    return whole is None or number in whole


def _matched(block: dict[str, Any], receipts: Any) -> dict[str, Any]:
    """The receipts of a block by transaction; {} unless there is one for each, in order."""
    hashes = [raw["hash"] for raw in block["transactions"]]
    if not isinstance(receipts, list) or not all(isinstance(r, dict) for r in receipts):
        return {}
    if [r.get("transactionHash") for r in receipts] != hashes:
        return {}
    return dict(zip(hashes, receipts, strict=True))


def linked(headers: Iterable[Header]) -> None:
    """Whether blocks follow each other; NodeBehind where one is not the parent of the next."""
    for parent, child in pairwise(headers):
        if child.parent_hash != parent.hash or child.number != parent.number + 1:
            raise NodeBehind(f"the chain changed at block {child.number} while we read it")


class NodeReader:
    """`Reader` over the node: final blocks by number, others by hash (they may go away)."""

    def __init__(self, rpc: Rpc, fetch: Fetcher, sources: list[str], final: int) -> None:
        self.rpc, self.fetch, self.sources, self.final = rpc, fetch, sources, final

    def views(self, header: Header, calls: Sequence[Call]) -> list[str]:
        known = header.number <= self.final
        return self.rpc.views(header.number if known else header.hash, calls)

    def balances(self, address: str, headers: Sequence[int | str]) -> list[int]:
        return self.rpc.balances(address, headers)

    def blocks(self, numbers: Sequence[int]) -> list[Block]:
        return self.fetch.numbers(numbers, self.sources)
