"""Collected fees become on-chain payments, each exactly once (provider-protocol.md 5.5 and 12).

The order of things is the whole safety: an item with its nonce and signature is on disk before any
transaction carries it; a transaction is on disk before it is sent; a nonce is used again until the
chain has consumed it. After a crash anywhere, the same item meets the contract's rule that a nonce
counts once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Sequence, Set

from eth_utils.crypto import keccak

from protocol.digests import Settlement, recover, settlement_digest
from provider.chain import PARTIAL, SUCCESS, Chain, Outcome, SignedItem
from provider.config import Settlement as SettlementOptions
from provider.confirmations import Confirmations
from provider.debts import Debts
from provider.errors import ChainError, TooDear
from provider.metrics import Metrics, outcome_name
from provider.store import Charge, OpenItem, Store
from provider.tee import Tee

MAX_ITEMS = 50
RETRY_SECONDS = 5
CONFIRM_SECONDS = 15
KICK_SECONDS = 30
MAX_NONCE = 2**256 - 2  # one below the value that would block a pair for ever

log = logging.getLogger("provider.settle")


class Settler:
    """Turns the store's charges into settlements through one wallet.

    `waiting` says why something was not sent in the last round, "" if nothing waits.
    """

    def __init__(
        self,
        store: Store,
        chain: Chain,
        tee: Tee,
        debts: Debts,
        options: SettlementOptions,
        *,
        chain_id: int,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._chain = chain
        self._tee = tee
        self._chain_id = chain_id
        self._options = options
        self._metrics = metrics
        self._confirmations = Confirmations(store, chain, debts, options, metrics)
        self._wake = asyncio.Event()
        self._urgent: set[str] = set()
        self._everything = False
        self._kicked = float("-inf")
        self._lock = asyncio.Lock()
        self.waiting = ""

    def kick(self, user: str) -> None:
        """Settle a user's debt soon, the balance is running low; but not so often that somebody
        with next to nothing could burn our gas with it."""
        self._urgent.add(user)
        now = time.monotonic()
        if now - self._kicked >= KICK_SECONDS:
            self._kicked = now
            self._wake.set()

    def settle_soon(self) -> None:
        """Settle everything now, because the operator says so."""
        self._everything = True
        self._wake.set()

    async def run(self) -> None:
        """Settle for ever: by the timer, when kicked, and sooner while something is pending."""
        interval = self._options.interval_seconds
        pending = await asyncio.to_thread(self._pending)
        due = time.monotonic() + (0.0 if pending else interval)
        look = due
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0, look - time.monotonic())):
                    await self._wake.wait()
            kicked, everything = self._wake.is_set(), self._everything
            self._wake.clear()
            self._everything = False
            try:
                if everything or time.monotonic() >= due:
                    await self.settle(everything=everything)
                    due = time.monotonic() + interval
                elif kicked:
                    await self.settle(only_urgent=True)
                else:
                    await self.follow()
                look = min(due, time.monotonic() + await asyncio.to_thread(self._next_look))
            except (ChainError, sqlite3.Error) as error:
                log.warning("settlement postponed: %s", error)
                due = look = time.monotonic() + min(RETRY_SECONDS, interval)
            except Exception:
                # A node that talks nonsense must not end settlement for good; every step can be
                # done again.
                log.exception("settlement postponed")
                due = look = time.monotonic() + min(RETRY_SECONDS, interval)

    def _pending(self) -> bool:
        return bool(
            self._store.open_items() or self._store.open_batches() or self._store.mined_batches()
        )

    def _next_look(self) -> float:
        """Seconds until something that was sent should be looked at again."""
        if self._store.open_batches():
            return RETRY_SECONDS
        return CONFIRM_SECONDS if self._store.mined_batches() else float("inf")

    async def settle(self, *, everything: bool = False, only_urgent: bool = False) -> None:
        """One round: learn what became of earlier items, then send everything that can be paid.

        Debts below the configured minimum wait, unless `everything` is asked for or we were kicked
        for the user; for those users the higher gas price is paid if need be. `only_urgent` signs
        nothing new for others. Raises ChainError when the node fails; whatever was under way, and
        what was asked for, is taken up by the next round.
        """
        async with self._lock:
            urgent, self._urgent = self._urgent, set()
            try:
                await self._confirmations.follow(urgent)
                await self._collect(
                    0 if everything else self._options.minimum, urgent, only_urgent=only_urgent
                )
                await self._send_open(urgent)
                # A user has one item at a time: what came while an earlier one waited is next.
                if everything and await self._collect(0, urgent, only_urgent=False):
                    await self._send_open(urgent)
            except BaseException:
                self._urgent |= urgent
                self._everything |= everything
                raise

    async def follow(self) -> None:
        """Between rounds: only learn what became of what was sent. Raises ChainError."""
        async with self._lock:
            await self._confirmations.follow(set())

    async def _collect(self, minimum: int, urgent: Set[str], *, only_urgent: bool) -> int:
        """Sign one item per user who owes at least `minimum` in charges that no item holds yet, or
        anything where it is urgent; how many."""
        found = await asyncio.to_thread(self._store.free_charges)
        free = {
            user: charges
            for user, charges in found.items()
            if user in urgent
            or (not only_urgent and sum(charge.fee for _, charge in charges) >= minimum)
        }
        busy = {item.signed.item.user for item in await asyncio.to_thread(self._store.open_items)}
        if not free.keys() - busy:
            return 0
        made = 0
        head = await self._chain.number("eth_blockNumber")
        for user in free.keys() - busy:
            account = await self._chain.account(user)
            if account is None:
                log.warning("%s: no sub-account any more, nothing to settle from", user)
                continue
            last = await asyncio.to_thread(self._store.last_nonce, user)
            nonce = max(int(time.time() * 1000), last + 1, account.nonce + 1)
            if nonce > MAX_NONCE:
                continue
            charges = free[user]
            if account.nonce > await asyncio.to_thread(self._store.known_nonce, user):
                if not await self._confirmations.drop_paid(user, account.nonce):
                    continue
                charges = (await asyncio.to_thread(self._store.free_charges)).get(user, [])
                if not charges:
                    continue
            signed = self._sign(user, [charge for _, charge in charges], nonce)
            await asyncio.to_thread(self._store.add_item, signed, [id_ for id_, _ in charges], head)
            made += 1
        return made

    def _sign(self, user: str, charges: Sequence[Charge], nonce: int) -> SignedItem:
        item = Settlement(
            user=user,
            provider=self._chain.provider,
            total_fee=sum(charge.fee for charge in charges),
            requests_hash=keccak(b"".join(charge.request_hash for charge in charges)),
            nonce=nonce,
        )
        return SignedItem(item, self._tee.sign(self._digest(item)))

    async def _send_open(self, urgent: Set[str]) -> None:
        """Send the open items that would be paid; where gas is too dear for that, those of
        `urgent` users at the price that is for them."""
        self.waiting = ""
        dear = await self._send_all(await self._unsent(), urgent=False)
        if dear is None:
            return
        theirs = [item for item in await self._unsent() if item.signed.item.user in urgent]
        dear = await self._send_all(theirs, urgent=True) or dear
        rest = await self._unsent()
        if rest:
            self._wait_for_gas(rest, dear)

    async def _send_all(self, items: Sequence[OpenItem], *, urgent: bool) -> TooDear | None:
        """Fifty at a time: the contract takes no more. Stops at, and returns, TooDear."""
        try:
            for start in range(0, len(items), MAX_ITEMS):
                chunk = items[start : start + MAX_ITEMS]
                await self._send(chunk, self._options.gas_limit(urgent=urgent))
        except TooDear as error:
            return error
        return None

    async def _unsent(self) -> list[OpenItem]:
        items = await asyncio.to_thread(self._store.open_items)
        return [item for item in items if item.batch is None]

    async def _send(self, chunk: Sequence[OpenItem], gas_limit: int | None) -> None:
        """Send those of at most fifty items that would be paid. Raises TooDear."""
        items = await self._payable([await self._current(item) for item in chunk])
        if not items:
            return
        transaction = await self._chain.sign_call(
            "settleFeesWithTEE",
            [item.signed.as_tuple() for item in items],
            nonce=await self._next_nonce(),
            max_gas_price=gas_limit,
        )
        batch = await asyncio.to_thread(self._store.add_batch, items, transaction)
        await self._confirmations.transmit(batch)

    async def _next_nonce(self) -> int:
        """The node's word, but never a nonce that a batch under way may still need: some nodes
        do not count what waits."""
        batches = await asyncio.to_thread(self._store.open_batches)
        ours = [attempt.nonce for batch in batches for attempt in batch.attempts]
        return max(await self._chain.next_nonce(), max(ours, default=-1) + 1)

    def _wait_for_gas(self, items: Sequence[OpenItem], error: TooDear) -> None:
        total = sum(item.signed.item.total_fee for item in items)
        self.waiting = f"{total} neuron of {len(items)} users wait: {error}"
        self._metrics.settlements.labels("waiting for gas").inc()
        log.warning("%s", self.waiting)

    async def _current(self, item: OpenItem) -> OpenItem:
        """The item, signed by the signer we have now: the operator may have changed it."""
        digest = self._digest(item.signed.item)
        if recover(digest, item.signed.signature) == self._tee.address:
            return item
        return await asyncio.to_thread(self._store.sign_again, item, self._tee.sign(digest))

    def _digest(self, item: Settlement) -> bytes:
        return settlement_digest(item, chain_id=self._chain_id, contract=self._chain.contract)

    async def _payable(self, items: Sequence[OpenItem]) -> list[OpenItem]:
        """Items that would bring money now: gas for a refusal or for zero neuron is wasted."""
        outcomes = await self._chain.preview([item.signed for item in items])
        payable = []
        for item in items:
            outcome = outcomes.get(item.signed.item.user, Outcome(SUCCESS, 0))
            some = outcome.status == PARTIAL and outcome.unsettled < item.signed.item.total_fee
            if outcome.status == SUCCESS or some:
                payable.append(item)
            else:
                log.warning(
                    "%s: not settled yet, the contract would answer status %d, %s",
                    item.signed.item.user,
                    outcome.status,
                    outcome_name(outcome.status),
                )
        return payable
