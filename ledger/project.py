"""From facts to rows: the only writer of ledger tables.

Folding happens in memory, on layers above the state that the final rows hold; `write` puts the
difference into the database inside the follower's transaction, `commit` keeps the final layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from django.db import connection

from chain import bulk, store
from chain.errors import Drift, Halt, NodeBehind, NotOurContract, Unavailable
from chain.facts import Block, Call, Header, Log
from chain.projection import Reader
from ledger import detect, fold, opening, reads, rows, unlike
from ledger.models import Projection
from ledger.state import State
from protocol.abi import AbiError
from protocol.networks import Network

NAME = "ledger"
#: Raise when a rule of the fold changes: stored rows then ask for `manage.py replay`.
VERSION = 4
#: A range is folded again with the facts the balance detector asked for, at most so often.
MAX_ROUNDS = 8
#: An owner that is a contract (a multisig) changes the penalty unseen, and what contracts put from
#: one ledger into another leaves the sum of all as it was: look at the end of so many blocks.
LOOK_BLOCKS = 500


@contextmanager
def _said_by_a_node() -> Iterator[None]:
    """An answer that does not decode is none: another node, or the same one later, may have it."""
    try:
        yield
    except AbiError as error:
        raise Unavailable(f"a view is answered in another shape than the ABI's: {error}") from error


class Projector:
    """Folds blocks and writes rows; `chain.projection.Projection` for the 0G contracts."""

    def __init__(self, network: Network, *, opens: bool = False) -> None:
        """`opens`: the contracts may be older than `network.start_block` (ledger.opening)."""
        self.network = network
        self.opens = opens
        self.opening: list[Block] = []
        self.ledger_address = network.ledger_address
        self.row, _ = Projection.objects.get_or_create(name=NAME, defaults={"version": VERSION})
        if self.row.version != VERSION:
            raise Halt(
                f"rows were folded by version {self.row.version} of the rules, this is "
                f"{VERSION}: run manage.py replay"
            )
        self.state = rows.load()
        self.state.surplus = self.row.surplus
        self.final = self.state.overlay()
        self.pending = self.final.overlay()
        self.final_block = self.row.final_block
        self.pending_block = self.row.pending_block
        self.unread = self.row.unread
        #: Final blocks folded but not stored yet: the pending ones come after them.
        self.unstored: list[Block] = []
        #: Users and providers whose rows the last `write` changed for the first time.
        self.touched: tuple[set[str], set[str], set[str]] = (set(), set(), set())

    # --- what to read ----------------------------------------------------------------------------

    def verify(self, head: Header, read: Reader) -> None:
        """Whether LEDGER_ADDRESS is a LedgerManager: it lists its serving contracts."""
        call = reads.active_services(self.ledger_address)
        said = read.views(head, [call])[0]
        where = f"LEDGER_ADDRESS {self.ledger_address} on chain {self.network.chain_id}"
        fix = "fix LEDGER_ADDRESS or NETWORK"
        if said == "0x":
            raise NotOurContract(f"there is no contract at {where}; {fix}")
        try:
            answered = reads.answer("ledger", call, said)
        except AbiError:
            answered = None
        if answered is None or answered[2] is None:
            raise NotOurContract(f"the contract at {where} is no LedgerManager; {fix}")

    @_said_by_a_node()
    def open(self, first: int, read: Reader) -> None:
        """Read what was there at the block before `first`, where that may be anything."""

        def ask(block: Block, calls: Sequence[Call]) -> Block:
            return self._answer(block, calls, read)

        if self.opens and first > 0 and not self.opening:
            header = read.blocks([first - 1])[0].header
            block = opening.questions(self.ledger_address, Block(header), ask)
            self.opening = [block] if block is not None else []

    def sources(self) -> dict[str, int]:
        """The LedgerManager and every serving contract registered in a final block."""
        found = {self.ledger_address: self.network.start_block}
        for block in self.opening:
            for address in opening.servings(self.ledger_address, block):
                found[address] = self._start_block(address)
        for serving in self.state.servings.values():
            found[serving.address] = serving.start_block
        return found

    def discover(self, logs: Sequence[Log]) -> dict[str, int]:
        found = fold.registrations(logs, self.ledger_address)
        return {address: self._start_block(address) for address in found}

    def _start_block(self, address: str) -> int:
        known = self.network.serving_start_blocks
        return max(known.get(address.lower(), 0), self.network.start_block)

    # --- folding ---------------------------------------------------------------------------------

    @_said_by_a_node()
    def fold_final(
        self,
        first: int,
        last: int,
        blocks: list[Block],
        read: Reader,
        *,
        sparse: bool = False,
        end: bool = True,
    ) -> list[Block]:
        """Fold final blocks for good (once written and committed).

        A sparse range hides transactions that log nothing and move no money (acknowledgements,
        the penalty), and what a node left out: everything they could have changed is read once
        sparse reading ends.
        """
        if self.row.final_block < 0:
            blocks = [*self.opening, *blocks]
        self.final, blocks = self._complete(self.state, first, blocks, read, last, sparse=sparse)
        self.unread |= sparse
        seen = blocks[-1]
        if end and (self.unread or first // LOOK_BLOCKS != (last + 1) // LOOK_BLOCKS):
            strange = unlike.any_of(
                self.ledger_address, self.final, seen.header, read, whole=self.unread
            )
            seen = self._answer(seen, strange, read)
        if seen is not blocks[-1]:
            self.final, blocks = self._complete(self.state, first, [*blocks[:-1], seen], read, last)
        self.unread &= not end
        self.final_block = last
        self.unstored = blocks
        return blocks

    @_said_by_a_node()
    def fold_pending(self, blocks: list[Block], read: Reader) -> list[Block]:
        """Fold the blocks above the final one on top of it."""
        self.pending, blocks = self._complete(self.final, None, blocks, read, None)
        self.pending_block = blocks[-1].header.number if blocks else self.final_block
        return blocks

    def _complete(
        self,
        base: State,
        first: int | None,
        blocks: list[Block],
        read: Reader,
        last: int | None,
        *,
        sparse: bool = False,
    ) -> tuple[State, list[Block]]:
        """Fold, and fold again with what the balance detectors find missing."""
        pending = first is None or last is None
        headers = {b.header.number: b.header for b in blocks} if pending else {}
        begin = min(headers, default=0) if first is None else first
        misplaced = detect.Misplaced(self.ledger_address, begin)
        unshown = detect.Unshown(base, begin)
        silent: Collection[int] = ()
        for _ in range(MAX_ROUNDS):
            layer, blocks, sums = self._fold(base, blocks, read, silent)
            silent = ()
            if not blocks:
                return layer, blocks
            if first is not None and last is not None:
                found = detect.final(self.ledger_address, base, first, last, sums, read)
            else:
                found = detect.pending(self.ledger_address, blocks, sums, read)
            if found and (absent := set(found) - {block.header.number for block in blocks}):
                whole = read.blocks(sorted(absent))
                blocks = sorted([*blocks, *whole], key=lambda block: block.header.number)
            elif found:
                silent = found
            elif sparse and last is not None and (hidden := unshown.find(layer, last, read)):
                blocks = _read_whole(blocks, hidden, read)
            elif earlier := misplaced.find(base, layer, headers, read):
                blocks = self._add_answers(blocks, earlier, read)
            else:
                return layer, blocks
        if pending:
            # A node that is at work on its next block can answer with the state of that one.
            raise NodeBehind(
                f"answers about block {blocks[-1].header.number} disagree: the ledger contract's "
                "balance is not the sum of what its accounts hold"
            )
        raise Drift(
            "the ledger contract's native balance and our sum of available balances keep "
            f"differing up to block {blocks[-1].header.number}"
        )

    def _fold(
        self,
        base: State,
        blocks: Iterable[Block],
        read: Reader | None,
        silent: Collection[int] = (),
    ) -> tuple[State, list[Block], list[tuple[int, int]]]:
        """One pass; also the ledger's expected native balance after each block. In the `silent`
        blocks money moved that neither logs nor transactions show: all ledgers are looked at."""
        layer = base.overlay()
        done: list[Block] = []
        sums: list[tuple[int, int]] = []
        for block in blocks:
            block = self.fold_block(layer, block, done, read, silent=block.header.number in silent)
            done.append(block)
            sums.append((block.header.number, layer.expected_balance))
        return layer, done, sums

    def fold_block(
        self,
        layer: State,
        block: Block,
        before: Sequence[Block],
        read: Reader | None,
        *,
        silent: bool = False,
    ) -> Block:
        """Fold one block into `layer`; returns it with the answers it needed.

        Without `read` (replay) every answer must be among the stored facts.
        """
        wants: list[Call] = []
        named = fold.registrations(block.logs, self.ledger_address)
        opened = opening.servings(self.ledger_address, block)
        for address in [*opened, *named]:
            if layer.servings.get(address) is None:
                asked = reads.registration(self.ledger_address, address)
                block = self._answer(block, asked, read)
                wants += fold.register(
                    layer,
                    self.ledger_address,
                    address,
                    self._start_block(address),
                    block.calls,
                    block.header.number,
                    list(self._early(address, block.header.number, before)),
                    name=named.get(address, ""),
                    audited=address in opened,
                )
        wants += fold.fold_logs(layer, self.ledger_address, block)
        block = self._answer(block, wants, read)
        if silent and read is not None:
            strange = unlike.ledgers(self.ledger_address, layer, block.header, read)
            block = self._answer(block, [reads.balance(self.ledger_address), *strange], read)
        fold.fold_views_of(layer, self.ledger_address, block)
        return block

    def _early(self, address: str, number: int, before: Sequence[Block]) -> Iterator[Block]:
        """What a contract did before the block that registers it: stored facts, then `before`."""
        if number < self.network.start_block:
            return  # known from an opening
        recent = [*self.unstored, *before]
        held = recent[0].header.number if recent else number
        yield from store.blocks(self._start_block(address), held - 1, address=address)
        yield from (block.only(address) for block in recent)

    def _answer(self, block: Block, wants: Sequence[Call], read: Reader | None) -> Block:
        missing = [call for call in dict.fromkeys(wants) if call not in block.calls]
        if not missing:
            return block
        if read is None:
            # Facts of before this rule wanted it; the node may no longer hold that block's state.
            raise Drift(
                f"block {block.header.number}: an answer of the contract that this version needs "
                "was not stored: fill an empty database from the chain (docs/deploy.md)"
            )
        answers = dict(zip(missing, read.views(block.header, missing), strict=True))
        return replace(block, calls={**block.calls, **answers})

    def _add_answers(
        self, blocks: list[Block], asked: list[tuple[int, Call]], read: Reader
    ) -> list[Block]:
        """Ask these views too, at blocks we may not hold yet."""
        held = {block.header.number: block for block in blocks}
        absent = sorted({number for number, _ in asked} - held.keys())
        held |= {block.header.number: block for block in (read.blocks(absent) if absent else [])}
        for number, call in asked:
            held[number] = self._answer(held[number], [call], read)
        return [held[number] for number in sorted(held)]

    # --- writing ---------------------------------------------------------------------------------

    def write(self) -> None:
        """Bring the tables to the folded state; inside the caller's transaction."""
        self._clear_pending()
        for layer in rows.LAYERS:
            self._upsert(layer)
            self._shadow(layer)
        self._append(self.final, pending=False)
        self._append(self.pending, pending=True)
        self.touched = self._touched(self.row.pending_block)
        self.row.version = VERSION
        self.row.final_block, self.row.pending_block = self.final_block, self.pending_block
        self.row.surplus, self.row.pending_surplus = self.final.surplus, self.pending.surplus
        self.row.unread = self.unread
        self.row.save()

    def commit(self) -> None:
        """The transaction held: the final layer becomes the ground."""
        self.state.absorb(self.final)
        self.final = self.state.overlay()
        self.unstored = []

    def rollback(self) -> None:
        """The transaction did not hold, or folding failed: forget both layers."""
        self.final = self.state.overlay()
        self.pending = self.final.overlay()
        self.row.refresh_from_db()
        self.final_block, self.pending_block = self.row.final_block, self.row.pending_block
        self.unread = self.row.unread
        self.unstored = []

    def _clear_pending(self) -> None:
        for layer in rows.LAYERS:
            layer.model.objects.filter(pending=True).delete()
            layer.model.objects.filter(shadowed=True).update(shadowed=False)
        for model, _ in rows.APPENDED:
            model._default_manager.filter(pending=True).delete()

    def _upsert(self, layer: rows.Layer) -> None:
        final = layer.entities(self.final).values()
        made = [layer.row(entity, pending=False) for entity in final]
        bulk.put(layer.model, layer.all_columns, made, unique=(*layer.key, "pending"))

    def _shadow(self, layer: rows.Layer) -> None:
        """Store the pending layer's entities, and mark the final rows below them."""
        made = [layer.row(e, pending=True) for e in layer.entities(self.pending).values()]
        if not made:
            return
        bulk.put(layer.model, layer.all_columns, made, unique=(*layer.key, "pending"))
        table, key = layer.model._meta.db_table, ", ".join(f'"{k}"' for k in layer.key)
        same = " AND ".join(f'f."{k}" = p."{k}"' for k in layer.key)
        with connection.cursor() as cursor:
            cursor.execute(
                f'UPDATE "{table}" f SET shadowed = true FROM '
                f'(SELECT {key} FROM "{table}" WHERE pending) p WHERE {same} AND NOT f.pending'
            )

    def _append(self, state: State, *, pending: bool) -> None:
        made = (
            [rows.entry(row, pending) for row in state.movements],
            [rows.entry(row, pending) for row in state.settlements],
            [rows.change(row, pending) for row in state.changes],
        )
        for (model, columns), new in zip(rows.APPENDED, made, strict=True):
            if new:
                bulk.copy_rows(model, columns, new)

    # --- replay ----------------------------------------------------------------------------------

    def reset(self) -> None:
        """Empty every derived table; inside the caller's transaction."""
        for layer in rows.LAYERS:
            layer.model.objects.all().delete()
        for model, _ in rows.APPENDED:
            model._default_manager.all().delete()
        self.state = State()
        self.final = self.state.overlay()
        self.pending = self.final.overlay()
        self.final_block = self.pending_block = -1

    def replay(self, blocks: Sequence[Block], last: int) -> None:
        """Fold stored final blocks and write their rows; nothing is asked."""
        self.final, _, _ = self._fold(self.state, blocks, None)
        self.pending = self.final.overlay()
        self.final_block = self.pending_block = last
        self.write()
        self.commit()

    # --- what changed ----------------------------------------------------------------------------

    def _touched(self, above: int) -> tuple[set[str], set[str], set[str]]:
        """Users and providers whose rows changed in blocks after `above`, and those providers whose
        listings did.
        """
        users: set[str] = set()
        providers: set[str] = set()
        listed: set[str] = set()
        for state in (self.final, self.pending):
            users |= {x.user for x in state.ledgers.own.values() if x.block > above}
            for account in state.accounts.own.values():
                if account.block > above:
                    users.add(account.user)
                    providers.add(account.provider)
            listed |= {s.provider for s in state.services.own.values() if s.block > above}
        return users, providers | listed, listed


def _read_whole(blocks: list[Block], numbers: list[int], read: Reader) -> list[Block]:
    """These blocks with everything in them; what was asked about them stays."""
    held = {block.header.number: block for block in blocks}
    for block in read.blocks(numbers):
        known = held.get(block.header.number)
        held[block.header.number] = replace(block, calls=known.calls) if known else block
    return [held[number] for number in sorted(held)]
