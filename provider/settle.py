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
from collections.abc import Sequence

from eth_utils.crypto import keccak

from protocol.digests import Settlement, recover, settlement_digest
from provider.book import Book
from provider.chain import (
    INVALID_NONCE,
    PARTIAL,
    SUCCESS,
    Chain,
    Outcome,
    SignedItem,
)
from provider.config import Settlement as SettlementOptions
from provider.errors import ChainError
from provider.store import Charge, OpenBatch, OpenItem, Store
from provider.tee import Tee

MAX_ITEMS = 50
RECEIPT_SECONDS = 20
REPLACE_SECONDS = 90
RETRY_SECONDS = 5
KICK_SECONDS = 30
MAX_NONCE = 2**256 - 2  # one below the value that would block a pair for ever

log = logging.getLogger("provider.settle")


class Settler:
    """Turns the store's charges into settlements through one wallet."""

    def __init__(
        self,
        store: Store,
        chain: Chain,
        tee: Tee,
        book: Book,
        options: SettlementOptions,
        *,
        chain_id: int,
    ) -> None:
        self._store = store
        self._chain = chain
        self._tee = tee
        self._book = book
        self._chain_id = chain_id
        self._interval = options.interval_seconds
        self._minimum = options.minimum
        self._wake = asyncio.Event()
        self._kicked = float("-inf")
        self._lock = asyncio.Lock()

    def kick(self) -> None:
        """Settle soon, a user's balance is running low; but not so often that somebody with next
        to nothing could burn our gas with it."""
        now = time.monotonic()
        if now - self._kicked >= KICK_SECONDS:
            self._kicked = now
            self._wake.set()

    async def run(self) -> None:
        """Settle for ever: by the timer, when kicked, and sooner while something is pending."""
        pause = 0.0 if await asyncio.to_thread(self._pending) else self._interval
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
            everything = self._wake.is_set()
            self._wake.clear()
            pause = self._interval
            try:
                await self.settle(everything=everything)
                if await asyncio.to_thread(self._store.open_batches):
                    pause = min(RETRY_SECONDS, self._interval)
            except (ChainError, sqlite3.Error) as error:
                log.warning("settlement postponed: %s", error)
                pause = min(RETRY_SECONDS, self._interval)
            except Exception:
                # A node that talks nonsense must not end settlement for good; every step can be
                # done again.
                log.exception("settlement postponed")
                pause = min(RETRY_SECONDS, self._interval)

    def _pending(self) -> bool:
        return bool(self._store.open_items() or self._store.open_batches())

    async def settle(self, *, everything: bool = False) -> None:
        """One round: learn what became of earlier items, then send everything that can be paid.

        Debts below the configured minimum wait, unless `everything` is asked for. Raises
        ChainError when the node fails; whatever was under way is taken up by the next round.
        """
        async with self._lock:
            for batch in await asyncio.to_thread(self._store.open_batches):
                await self._follow(batch)
            await self._resolve_consumed()
            await self._collect(0 if everything else self._minimum)
            await self._send_open()

    # ---- earlier rounds --------------------------------------------------------------------

    async def _follow(self, batch: OpenBatch) -> None:
        """Find the receipt of a batch, or send it again, or give its transactions up."""
        if await self._apply_receipt(batch):
            return
        last = batch.attempts[-1]
        mined = await self._chain.number("eth_getTransactionCount", self._chain.provider, "latest")
        if mined > last.nonce:
            # Something took our transaction's nonce. Between the two reads it may have been ours.
            if not await self._apply_receipt(batch):
                log.warning("batch %d: replaced by a transaction we do not know", batch.id)
                await asyncio.to_thread(self._store.close_batch, batch.id)
            return
        if time.time() - batch.at > REPLACE_SECONDS * len(batch.attempts):
            last = await self._chain.sign_call(
                "settleFeesWithTEE",
                [item.signed.as_tuple() for item in batch.items],
                nonce=last.nonce,
                min_gas_price=last.gas_price * 9 // 8 + 1,
            )
            await asyncio.to_thread(self._store.add_attempt, batch.id, last)
            batch = OpenBatch(batch.id, batch.at, batch.items, (*batch.attempts, last))
        await self._transmit(batch)

    async def _apply_receipt(self, batch: OpenBatch) -> bool:
        """True if one of the batch's transactions is mined; its outcomes are then on disk."""
        for attempt in batch.attempts:
            receipt = await self._chain.receipt(attempt.hash)
            if receipt is not None:
                await self._apply(batch, self._chain.outcomes(receipt))
                return True
        return False

    async def _apply(self, batch: OpenBatch, outcomes: Sequence[Outcome] | None) -> None:
        if outcomes is None or len(outcomes) != len(batch.items):
            log.warning("batch %d: the transaction reverted", batch.id)
            outcomes = []
        for item, outcome in zip(batch.items, outcomes, strict=False):
            if outcome.status in (SUCCESS, PARTIAL):
                await self._judge(item, outcome)
            else:
                log.warning(
                    "%s: settlement refused with status %d", item.signed.item.user, outcome.status
                )
        await asyncio.to_thread(self._store.close_batch, batch.id)

    async def _judge(self, item: OpenItem, outcome: Outcome) -> None:
        """Write down what the chain decided, once."""
        settlement = item.signed.item
        unsettled = min(outcome.unsettled, settlement.total_fee)
        if await asyncio.to_thread(self._store.judge, item, outcome.status, unsettled):
            self._book.settled(settlement.user, settlement.total_fee - unsettled)
            log.info(
                "settled %d neuron of %s, %d left",
                settlement.total_fee - unsettled,
                settlement.user,
                unsettled,
            )

    async def _resolve_consumed(self) -> None:
        """Judge items whose nonce the chain has consumed without our having seen a receipt."""
        for item in await asyncio.to_thread(self._store.open_items):
            settlement = item.signed.item
            if item.batch is not None:
                continue
            account = await self._chain.account(settlement.user)
            if account is None or account.nonce < settlement.nonce:
                continue
            outcome = await self._chain.find_outcome(settlement, item.since_block)
            if outcome is None:
                # Nothing can ever be paid under this nonce again. To ask anew for what may have
                # been paid would be a double charge, so the user gets the benefit of the doubt.
                log.error(
                    "%s: nonce %d was used by an unknown transaction, %d neuron written off",
                    settlement.user,
                    settlement.nonce,
                    settlement.total_fee,
                )
                outcome = Outcome(INVALID_NONCE, 0)
            await self._judge(item, outcome)

    # ---- this round ------------------------------------------------------------------------

    async def _collect(self, minimum: int) -> None:
        """Sign one item per user who owes at least `minimum` in charges that no item holds yet."""
        free = {
            user: charges
            for user, charges in (await asyncio.to_thread(self._store.free_charges)).items()
            if sum(charge.fee for _, charge in charges) >= minimum
        }
        busy = {item.signed.item.user for item in await asyncio.to_thread(self._store.open_items)}
        if not free.keys() - busy:
            return
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
            signed = self._sign(user, [charge for _, charge in free[user]], nonce)
            await asyncio.to_thread(
                self._store.add_item, signed, [id_ for id_, _ in free[user]], head
            )

    def _sign(self, user: str, charges: Sequence[Charge], nonce: int) -> SignedItem:
        item = Settlement(
            user=user,
            provider=self._chain.provider,
            total_fee=sum(charge.fee for charge in charges),
            requests_hash=keccak(b"".join(charge.request_hash for charge in charges)),
            nonce=nonce,
        )
        return SignedItem(item, self._tee.sign(self._digest(item)))

    async def _send_open(self) -> None:
        """Send the open items that would be paid, fifty at a time."""
        waiting = [
            item for item in await asyncio.to_thread(self._store.open_items) if item.batch is None
        ]
        for start in range(0, len(waiting), MAX_ITEMS):
            chunk = [await self._current(item) for item in waiting[start : start + MAX_ITEMS]]
            items = await self._payable(chunk)
            if not items:
                continue
            transaction = await self._chain.sign_call(
                "settleFeesWithTEE", [item.signed.as_tuple() for item in items]
            )
            batch = await asyncio.to_thread(self._store.add_batch, items, transaction)
            await self._transmit(batch)

    async def _current(self, item: OpenItem) -> OpenItem:
        """The item, signed by the signer we have now: the operator may have changed it."""
        digest = self._digest(item.signed.item)
        if recover(digest, item.signed.signature) == self._tee.address:
            return item
        return await asyncio.to_thread(self._store.sign_again, item, self._tee.sign(digest))

    def _digest(self, item: Settlement) -> bytes:
        return settlement_digest(item, chain_id=self._chain_id, contract=self._chain.inference)

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
                    "%s: not settled yet, the contract would answer status %d",
                    item.signed.item.user,
                    outcome.status,
                )
        return payable

    async def _transmit(self, batch: OpenBatch) -> None:
        """Send the newest transaction of a batch and wait a while for its receipt."""
        patience = float(RECEIPT_SECONDS)
        try:
            await self._chain.send(batch.attempts[-1])
        except ChainError as error:
            # "Already known" is good news; for anything else the next round is the better wait.
            log.info("batch %d: %s", batch.id, error)
            patience = 0
        if await self._chain.wait(batch.attempts[-1].hash, patience) is not None:
            await self._apply_receipt(batch)
