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

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from chain import facts, store
from chain.background import in_background
from chain.errors import ChainError, NodeBehind
from chain.facts import Block, Header, Log
from chain.fetch import Fetcher, NodeReader, linked
from chain.models import Head
from chain.observe import Observation, Observer
from chain.prefetch import Prefetch, Span
from chain.projection import Projection
from chain.ranges import gaps, pieces
from chain.rpc import Rpc

#: Within this many blocks of the head every block is held.
NEAR = 300
#: Final ranges no longer than this are read block by block, longer ones sparsely.
DENSE = 20_000
DENSE_CHUNK, FIRST_SPARSE_CHUNK, SPARSE_CHUNK = 200, 5_000, 500_000
FIRST_CHUNK = 30
#: Logs held in memory for one range, about.
MANY_LOGS = 20_000


#: Only a contract that is new to us sends a projection to the store.
_SHOWN_LATE = NodeBehind("the node named a contract in a block in which it had shown none before")


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: `more` work at once, whether rows `changed`, how many `logs` it stored."""

    more: bool
    changed: bool
    head_block: int
    indexed_block: int
    final_block: int
    logs: int = 0


class Follower:
    """The one writer of the raw store and the head row of a chain."""

    def __init__(
        self, rpc: Rpc, projection: Projection, *, chain_id: int, confirmations: int
    ) -> None:
        self.rpc = rpc
        self.fetch = Fetcher(rpc)
        self.prefetch = Prefetch(self.fetch)
        self.projection = projection
        self.row, _ = Head.objects.get_or_create(chain_id=chain_id)
        self.observer = Observer(rpc, self.row, confirmations)
        self.held: dict[str, Block] = {}
        self.held_sources: frozenset[str] = frozenset()
        self.verified = False
        self.stale = False
        #: Sources covered from their start to the final block; every stored step keeps them so.
        self.whole: set[str] = set()
        self.sparse_chunk = min(FIRST_SPARSE_CHUNK, SPARSE_CHUNK)
        self.dense_chunk = max(1, DENSE_CHUNK // 2)
        #: Blocks above this are left alone (`follow --to-block`).
        self.limit: int | None = None

    def close(self) -> None:
        """Let go of connections and of whoever reads ahead."""
        self.prefetch.close()
        self.rpc.close()

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
        seen = self.observer.observe()
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
            with _no_collection():
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

    # --- far: ranges of final blocks -------------------------------------------------------------

    def _far(self, seen: Observation, first: int) -> Step:
        goal = seen.final if self.limit is None else min(self.limit, seen.final)
        if first > goal:
            return self._report(more=False, changed=False)
        sources = self._sources_before(first)
        span, blocks = self._range(first, goal, sources)
        while new := self._new_sources(blocks, sources):
            sources |= new
            self._back_fill(new, first - 1)
            blocks = self.fetch.range(first, span.last, sources, dense=span.dense)
        count = sum(len(b.logs) for b in blocks)
        self._adapt(count, span)
        if (
            span.dense
            and self.row.final_hash
            and blocks[0].header.parent_hash != self.row.final_hash
        ):
            raise NodeBehind("the chain changed while we read it")
        coming = self._span(span.last + 1, goal, begun=True) if span.last < goal else None
        self.prefetch.expect(count * (goal - span.last) // (span.last - first + 1), self.rpc.node)
        end = span.dense or span.last == goal

        def fold() -> list[Block]:
            read = self._reader(sources, seen.final)
            final = self.projection.fold_final(
                first, span.last, blocks, read, sparse=not span.dense, end=end
            )
            self.projection.fold_pending([], read)
            return final

        with self.prefetch.reading(coming, sources, self.rpc.node), transaction.atomic():
            # A projection may read the store where a contract is named, or in the first range.
            if self.row.final_hash and not self.projection.discover(_logs(blocks)):
                with in_background(
                    partial(store.replace_seen, first, blocks), otherwise=_SHOWN_LATE
                ):
                    final = fold()
                store.replace_asked(first, final, seen=blocks)
            else:
                final = fold()
                store.replace(first, final)
            self._store(seen, first, final, [], sources)
        self.projection.commit()
        more = span.last < goal or self.limit is None
        return self._report(more=more, changed=True, logs=count)

    def _range(self, first: int, goal: int, sources: dict[str, int]) -> tuple[Span, list[Block]]:
        """The next range: the one that was read ahead, or one read now."""
        if (held := self.prefetch.take(first, goal, sources, self.rpc.node)) is not None:
            return held
        span = self._span(first, goal, begun=bool(self.row.final_hash))
        return span, self.fetch.range(first, span.last, sources, dense=span.dense)

    def _span(self, first: int, goal: int, *, begun: bool) -> Span:
        """The first range is short: it tends to name further contracts, and is then read again
        with them."""
        dense = goal - first < DENSE
        chunk = self.dense_chunk if dense else self.sparse_chunk
        width = chunk if begun else min(FIRST_CHUNK, chunk)
        return Span(first, min(goal, first + width - 1), dense)

    def _adapt(self, logs: int, span: Span) -> None:
        """Wider ranges where little happens, narrower ones where much does (memory)."""
        if span.dense:
            self.dense_chunk = _fitted(self.dense_chunk, logs, DENSE_CHUNK)
        else:
            self.sparse_chunk = _fitted(self.sparse_chunk, logs, SPARSE_CHUNK)

    def _sources_before(self, first: int) -> dict[str, int]:
        if not self.row.final_hash:
            self.projection.open(first, self._reader({}, first))
        sources = dict(self.projection.sources())
        self._back_fill(sources, first - 1)
        return sources

    def _new_sources(self, blocks: Sequence[Block], known: dict[str, int]) -> dict[str, int]:
        found = self.projection.discover(_logs(blocks))
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
        self.prefetch.close()
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
        with transaction.atomic():
            if final:
                store.replace(first, final)
            self._store(seen, first, final, pending, sources)
        self.projection.commit()
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
        linked(block.header for block in chain)
        if chain and self.row.final_hash and chain[0].header.parent_hash != self.row.final_hash:
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
        """Everything but the final blocks' facts; inside the transaction that stores these."""
        tip = [*final, *pending][-1].header if final or pending else None
        last_final = final[-1].header if final else None
        old = (self.row.final_hash, self.row.indexed_hash)
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


@contextmanager
def _no_collection() -> Iterator[None]:
    """A range is many objects without cycles; looking for some costs a quarter more time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _logs(blocks: Sequence[Block]) -> list[Log]:
    return [log for block in blocks for log in block.logs]


def _fitted(chunk: int, logs: int, widest: int) -> int:
    """How many blocks to read at once where `chunk` of them held so many `logs`."""
    if logs > MANY_LOGS:
        return max(1, chunk * MANY_LOGS // (2 * logs))
    return min(widest, chunk * 2) if logs < MANY_LOGS // 4 else chunk
