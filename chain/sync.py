"""Keeping up with a chain, one `step()` at a time. Knows blocks and logs, no 0G word.

What a step does:

1. Observe: the node's head, its final block, and the block we last took as final. If that one
   changed, stop (`FinalityViolated`). If nothing changed, say that we agree with the head.
2. Far behind: read the next range of final blocks (every block where the gap is small, only those
   with our logs where it is large), let the projection fold it, store facts and rows together.
3. Near: hold every block above the last final one, linked by parent hashes up to the head; fold
   the newly final ones for good and the others as pending; store everything in one transaction.

Any exception moves nothing: facts, coverage, rows and head change together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.db import transaction
from django.utils import timezone

from chain import facts, store
from chain.errors import ChainError, FinalityViolated, NodeBehind, Unavailable, WrongChain
from chain.facts import Block, Header
from chain.fetch import Fetcher, NodeReader
from chain.models import Head
from chain.projection import Projection
from chain.ranges import gaps, pieces
from chain.rpc import Failure, Request, Rpc

#: Within this many blocks of the head every block is held.
NEAR = 300
#: Final ranges no longer than this are read block by block, longer ones sparsely.
DENSE = 20_000
DENSE_CHUNK, FIRST_SPARSE_CHUNK, SPARSE_CHUNK = 200, 5_000, 500_000
FIRST_CHUNK = 30
#: Logs held in memory for one range, about.
MANY_LOGS = 20_000
#: A `finalized` tag further behind the head than this is not plausible.
MAX_FINALITY = 2_000


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: `more` work at once, whether rows `changed`, how many `logs` it stored."""

    more: bool
    changed: bool
    head_block: int
    indexed_block: int
    final_block: int
    logs: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    latest: dict[str, Any]
    head: Header
    final: int


class Follower:
    """The one writer of the raw store and the head row of a chain."""

    def __init__(
        self, rpc: Rpc, projection: Projection, *, chain_id: int, confirmations: int
    ) -> None:
        self.rpc = rpc
        self.fetch = Fetcher(rpc)
        self.projection = projection
        self.confirmations = confirmations
        self.row, _ = Head.objects.get_or_create(chain_id=chain_id)
        self.held: dict[str, Block] = {}
        self.held_sources: frozenset[str] = frozenset()
        self.genesis_checked = self.verified = False
        self.stale = False
        #: Sources covered from their start to the final block; every stored step keeps them so.
        self.whole: set[str] = set()
        self.sparse_chunk = min(FIRST_SPARSE_CHUNK, SPARSE_CHUNK)
        #: Blocks above this are left alone (`follow --to-block`).
        self.limit: int | None = None

    # --- one step --------------------------------------------------------------------------------

    def step(self) -> Step:
        """Move on by one range or to the head; raises `Retry` or `Halt` (chain.errors)."""
        if self.stale:
            self.row.refresh_from_db()
            self.stale = False
        try:
            with self.rpc.one_node():
                return self._step()
        except BaseException:
            self.projection.rollback()
            self.held.clear()
            self.whole.clear()
            self.stale = True
            raise

    def _step(self) -> Step:
        seen = self._observe()
        if seen.head.hash in self.held and seen.head.number < self.row.indexed_block:
            raise NodeBehind(f"the node went back to block {seen.head.number}")
        if not self.verified:
            self._verify(seen.head)
        if (
            self.limit is None
            and seen.head.hash == self.row.indexed_hash
            and (seen.final <= self.row.final_block)
        ):
            self._agree(seen)
            return self._report(more=False, changed=False)
        first = self._next_block()
        if seen.final - first > NEAR or (self.limit is not None):
            return self._far(seen, first)
        return self._near(seen, first)

    def _next_block(self) -> int:
        start = min(self.projection.sources().values(), default=0)
        return max(self.row.final_block + 1, start)

    def _verify(self, head: Header) -> None:
        """Once: the configured contract is there and is what it should be."""
        start = min(self.projection.sources().values(), default=0)
        if head.number < start:
            raise NodeBehind(
                f"the node is at block {head.number}, the contracts begin at block {start}"
            )
        self.projection.verify(head, self._reader({}, -1))
        self.verified = True

    def _observe(self) -> Observation:
        """What one node says; a node that contradicts what was final is set aside for another."""
        while (seen := self._look()) is None:
            pass
        return seen

    def _look(self) -> Observation | None:
        """None when the node that answered is now set aside."""
        asked = ["latest", "finalized", *([self.row.final_block] if self._has_final() else [])]
        requests = [
            Request(
                "eth_getBlockByNumber",
                (hex(ref) if isinstance(ref, int) else ref, ref == "latest"),
                optional=ref == "finalized",
            )
            for ref in asked
        ]
        if not self.genesis_checked:
            requests.append(Request("eth_getBlockByNumber", ("0x0", False)))
        answers = self.rpc.many(requests)
        genesis = answers.pop() if not self.genesis_checked else None
        latest = answers[0]
        if isinstance(latest, Failure) or latest is None:
            raise Unavailable("the node does not know its own head")
        head = facts.header(latest)
        try:
            if not self.genesis_checked:
                self._check_genesis(genesis)
            if self._has_final():
                self._check_final(answers[2], head)
        except (FinalityViolated, WrongChain) as error:
            self.rpc.set_aside(error)
            return None
        if self.rpc.last is not None:
            self.rpc.last.head_block = head.number
        final = self._final_of(answers[1], head)
        return Observation(latest, head, max(final, self.row.final_block))

    def _has_final(self) -> bool:
        return bool(self.row.final_hash)

    def _check_genesis(self, raw: Any) -> None:
        """A chain that starts elsewhere is another chain, whatever its id says."""
        if isinstance(raw, Failure) or raw is None:
            return  # pruned nodes may not serve it; the final block is checked at every step
        found = _numbered(raw, 0).hash
        if self.row.genesis_hash and self.row.genesis_hash != found:
            raise WrongChain(
                "the node's first block is another one than that of the chain in this database; "
                "point CHAIN_RPC_URLS at the old chain or start with an empty database"
            )
        self.row.genesis_hash = found
        self.genesis_checked = True

    def _check_final(self, raw: Any, head: Header) -> None:
        if isinstance(raw, Failure) or raw is None:
            raise NodeBehind(
                f"the node is at block {head.number} and does not have block "
                f"{self.row.final_block}, which was final"
            )
        found = _numbered(raw, self.row.final_block).hash
        if found != self.row.final_hash:
            raise FinalityViolated(
                f"block {self.row.final_block} was final as {self.row.final_hash} and is now "
                f"{found}; check the node, then replay from an empty database"
            )

    def _final_of(self, raw: Any, head: Header) -> int:
        """The node's final block where its answer is plausible, else head - CONFIRMATIONS."""
        try:
            found = facts.header(raw).number
        except Unavailable:
            found = -1  # no such tag, or nonsense under it
        if found >= 0 and 0 <= head.number - found <= MAX_FINALITY:
            return found
        return max(0, head.number - self.confirmations)

    # --- far: ranges of final blocks -------------------------------------------------------------

    def _far(self, seen: Observation, first: int) -> Step:
        goal = seen.final if self.limit is None else min(self.limit, seen.final)
        if first > goal:
            return self._report(more=False, changed=False)
        dense = goal - first < DENSE
        last = min(goal, first + self._width(dense) - 1)
        sources = self._sources_before(first)
        blocks = self.fetch.range(first, last, sources, dense=dense)
        while new := self._new_sources(blocks, sources):
            sources |= new
            self._back_fill(new, first - 1)
            blocks = self.fetch.range(first, last, sources, dense=dense)
        if not dense:
            self._adapt(sum(len(b.logs) for b in blocks))
        if dense and self._has_final() and blocks[0].header.parent_hash != self.row.final_hash:
            raise NodeBehind("the chain changed while we read it")
        read = self._reader(sources, seen.final)
        final = self.projection.fold_final(
            first, last, blocks, read, sparse=not dense, end=dense or last == goal
        )
        self.projection.fold_pending([], read)
        self._store(seen, first, final, [], sources)
        more = last < goal or self.limit is None
        return self._report(more=more, changed=True, logs=sum(len(b.logs) for b in final))

    def _width(self, dense: bool) -> int:
        """Blocks of the next range. The first one is short: it tends to name further contracts,
        and is then read again with them."""
        if not self._has_final():
            return min(FIRST_CHUNK, self.sparse_chunk)
        return DENSE_CHUNK if dense else self.sparse_chunk

    def _adapt(self, logs: int) -> None:
        """Wider sparse ranges where little happens, narrower ones where much does (memory)."""
        if logs > MANY_LOGS:
            self.sparse_chunk = max(1, self.sparse_chunk * MANY_LOGS // (2 * logs))
        elif logs < MANY_LOGS // 4:
            self.sparse_chunk = min(SPARSE_CHUNK, self.sparse_chunk * 2)

    def _sources_before(self, first: int) -> dict[str, int]:
        if not self._has_final():
            self.projection.open(first, self._reader({}, first))
        sources = dict(self.projection.sources())
        self._back_fill(sources, first - 1)
        return sources

    def _new_sources(self, blocks: Sequence[Block], known: dict[str, int]) -> dict[str, int]:
        found = self.projection.discover([log for b in blocks for log in b.logs])
        return {a: start for a, start in found.items() if a not in known}

    def _back_fill(self, sources: dict[str, int], last: int) -> None:
        """Store what these sources logged before our next block, where we lack it."""
        for address, start in sources.items():
            if start > last or address in self.whole:
                continue
            for low, high in gaps((start, last), store.covered(address)):
                dense = high - low < DENSE
                for part in pieces((low, high), DENSE_CHUNK) if dense else [(low, high)]:
                    blocks = self.fetch.range(*part, [address], dense=dense)
                    with transaction.atomic():
                        store.write(b for b in blocks if b.logs or b.transactions)
                        store.cover(address, *part)
            self.whole.add(address)

    # --- near: every block up to the head --------------------------------------------------------

    def _near(self, seen: Observation, first: int) -> Step:
        sources = self._sources_before(first)
        chain = self._window(seen, first, sources)
        while new := self._new_sources(chain, sources):
            sources |= new
            self._back_fill(new, first - 1)
            chain = self._window(seen, first, sources)
        self.held = {b.header.hash: b for b in chain}
        final = [b for b in chain if b.header.number <= seen.final]
        pending = [b for b in chain if b.header.number > seen.final]
        read = self._reader(sources, seen.final)
        if final:
            last = final[-1].header.number
            final = self.projection.fold_final(first, last, final, read)
        pending = self.projection.fold_pending(pending, read)
        self._store(seen, first, final, pending, sources)
        self.held = {b.header.hash: b for b in pending}
        return self._report(more=False, changed=True, logs=sum(len(b.logs) for b in final))

    def _window(self, seen: Observation, first: int, sources: dict[str, int]) -> list[Block]:
        """Blocks `first`..head, linked, reusing those we hold."""
        if frozenset(sources) != self.held_sources:
            self.held.clear()
            self.held_sources = frozenset(sources)
        known: list[Block] = []
        raws: list[dict[str, Any]] = []
        if seen.head.number >= first:
            raws = [seen.latest] if seen.head.hash not in self.held else []
            cursor = seen.head.hash if not raws else seen.head.parent_hash
            while cursor in self.held:
                known.insert(0, self.held[cursor])
                cursor = known[0].header.parent_hash
            low = known[0].header.number if known else (seen.head.number if raws else first)
            if low > first:
                raws = [*self.fetch.raw_blocks(range(first, low)), *raws]
        fresh = [facts.header(raw) for raw in raws]
        logs = self.rpc.logs_of([h.hash for h in fresh], sorted(sources)) if fresh else []
        complete = self.fetch.complete(raws, [g for group in logs for g in group], sources)
        chain = sorted([*known, *complete], key=lambda b: b.header.number)
        _linked(chain)
        if chain and self._has_final() and chain[0].header.parent_hash != self.row.final_hash:
            raise NodeBehind("the chain changed while we read it")
        return chain

    # --- storing ---------------------------------------------------------------------------------

    def _reader(self, sources: dict[str, int], final: int) -> NodeReader:
        return NodeReader(self.rpc, self.fetch, list(sources), final)

    def _store(
        self,
        seen: Observation,
        first: int,
        final: list[Block],
        pending: list[Block],
        sources: dict[str, int],
    ) -> None:
        tip = [*final, *pending][-1].header if final or pending else None
        last_final = final[-1].header if final else None
        old = (self.row.final_hash, self.row.indexed_hash)
        with transaction.atomic():
            if last_final is not None:
                store.replace(first, final)
            store.write(pending)
            if last_final is not None:
                for address, start in sources.items():
                    if start <= last_final.number:
                        store.cover(address, max(first, start), last_final.number)
                self.row.final_block = last_final.number
                self.row.final_hash = last_final.hash
            if tip is not None:
                self.row.indexed_block, self.row.indexed_hash = tip.number, tip.hash
                self.row.indexed_timestamp = tip.timestamp
            self.projection.write()
            self._agree(seen, old)
        self.projection.commit()

    def _agree(self, seen: Observation, old: tuple[str, str] | None = None) -> None:
        """Save the head row if it is still the one we read (compare and swap)."""
        now = timezone.now()
        idle = old is None and self.row.checked_at is not None
        if idle and self.row.head_block == seen.head.number and not self.row.error:
            checked = self.row.checked_at
            if checked is not None and (now - checked).total_seconds() < 1:
                return  # once a second is enough to say "still the same"
        self.row.head_block = seen.head.number
        if self.row.indexed_hash == seen.head.hash:
            self.row.checked_at = now  # else we are on the way, and do not agree yet
        self.row.error, self.row.halted = "", False
        final_hash, indexed_hash = old or (self.row.final_hash, self.row.indexed_hash)
        values = {
            name: getattr(self.row, name)
            for name in (
                "genesis_hash", "head_block", "indexed_block", "indexed_hash",
                "indexed_timestamp", "final_block", "final_hash", "checked_at", "error", "halted",
            )
        }  # fmt: skip
        mine = Head.objects.filter(
            chain_id=self.row.chain_id, final_hash=final_hash, indexed_hash=indexed_hash
        )
        if mine.update(updated_at=now, **values) != 1:
            raise ChainError("the head row was changed by somebody else; is another follower up?")

    def fail(self, error: str, *, halted: bool) -> None:
        """Write down why we wait or stopped; pages show it."""
        self.row.refresh_from_db()
        self.row.error, self.row.halted = error[:1000], halted
        self.row.save(update_fields=["error", "halted"])

    def _report(self, *, more: bool, changed: bool, logs: int = 0) -> Step:
        row = self.row
        return Step(more, changed, row.head_block, row.indexed_block, row.final_block, logs)


def _numbered(raw: Any, number: int) -> Header:
    """The header of a block that was asked for by number: another one proves nothing."""
    found = facts.header(raw)
    if found.number != number:
        raise Unavailable(f"the node sent block {found.number} for block {number}")
    return found


def _linked(chain: Sequence[Block]) -> None:
    for parent, child in pairwise(chain):
        if child.header.parent_hash != parent.header.hash:
            raise NodeBehind(f"the chain changed at block {child.header.number} while we read it")
