"""What became of settlements that were sent: mined, stuck, pushed out, or taken back by the chain
(provider-protocol.md 12).

An outcome is believed as soon as a block holds it, so that users see it at once, and taken back if
that block disappears before it is `confirmations` deep. The same signed transaction then goes out
again, once per round; the nonces inside it count once, so nobody pays twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence, Set
from typing import Any

from provider.chain import PARTIAL, SUCCESS, Chain, Outcome
from provider.config import Settlement as SettlementOptions
from provider.debts import Debts
from provider.errors import ChainError, TooDear
from provider.metrics import Metrics, outcome_name
from provider.store import Mined, MinedBatch, OpenBatch, OpenItem, Store

RECEIPT_SECONDS = 20
REPLACE_SECONDS = 90
REMIND_SECONDS = 3600


log = logging.getLogger("provider.settle")


class Confirmations:
    """Follows sent batches until they are confirmed."""

    def __init__(
        self,
        store: Store,
        chain: Chain,
        debts: Debts,
        options: SettlementOptions,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._chain = chain
        self._debts = debts
        self._options = options
        self._metrics = metrics
        #: What was said of batches that wait, and in which hour of theirs.
        self._said: dict[tuple[int, str], int] = {}

    async def follow(self, urgent: Set[str]) -> None:
        """Learn what became of everything that was sent. Raises ChainError.

        A batch with items of `urgent` users may be replaced at the higher of the two gas prices.
        """
        for mined in await asyncio.to_thread(self._store.mined_batches):
            await self._confirm(mined)
        for batch in await asyncio.to_thread(self._store.open_batches):
            await self._follow(
                batch, urgent=any(item.signed.item.user in urgent for item in batch.items)
            )
        await self._resolve_consumed()

    async def transmit(self, batch: OpenBatch) -> None:
        """Send the newest transaction of a batch and wait a while for its receipt."""
        patience = float(RECEIPT_SECONDS)
        try:
            await self._chain.send(batch.attempts[-1])
        except ChainError as error:
            # "Already known" is good news; for anything else the next round is the better wait.
            if "insufficient funds" in str(error).lower():
                self._say(batch, "the wallet cannot pay its gas: send it 0G")
            log.info("batch %d: %s", batch.id, error)
            patience = 0
        if await self._chain.wait(batch.attempts[-1].hash, patience) is not None:
            await self._apply_receipt(batch)

    # ---- mined, and not final yet ----------------------------------------------------------

    async def _confirm(self, mined: MinedBatch) -> None:
        """Final if the block is deep enough; taken back if it is gone."""
        hash_ = await self._chain.block_hash(mined.block_number)
        if hash_ is None:
            return  # this node is behind the one we heard it from
        if hash_ == mined.block_hash:
            head = await self._chain.number("eth_blockNumber")
            if head - mined.block_number >= self._options.confirmations:
                await asyncio.to_thread(self._store.confirm_batch, mined.batch.id)
            return
        again = await asyncio.to_thread(self._store.take_back, mined.batch.id)
        for user, amount in again.items():
            self._debts.charge(user, amount)
        self._metrics.settlements.labels("taken back").inc()
        log.warning(
            "batch %d: the chain took back block %d, %d neuron of %d users are owed again",
            mined.batch.id,
            mined.block_number,
            sum(again.values()),
            len(again),
        )

    # ---- under way -------------------------------------------------------------------------

    async def _follow(self, batch: OpenBatch, *, urgent: bool) -> None:
        """Find the receipt of a batch, or send it again, or give its transactions up."""
        if await self._apply_receipt(batch):
            return
        last = batch.attempts[-1]
        mined = await self._chain.number("eth_getTransactionCount", self._chain.provider, "latest")
        if mined > last.nonce:
            # Something took our transaction's nonce. Between the two reads it may have been ours.
            if not await self._apply_receipt(batch):
                log.warning("batch %d: replaced by a transaction we do not know", batch.id)
                self._metrics.settlements.labels("pushed out").inc()
                await asyncio.to_thread(self._store.close_batch, batch.id, final=True)
            return
        held = await self._chain.held(batch.attempts[::-1])
        if held is None and await self._chain.next_nonce() > last.nonce:
            # What the operator or another broker sends from this wallet is not pushed out.
            self._say(
                batch,
                f"the node has a transaction of nonce {last.nonce} and shows none of this broker's;"
                " if it was sent by hand, raise its gas price there",
            )
            return
        # A dearer one that has never come to the node is sent again instead of outbid.
        if held in (last, None) and (
            time.time() - batch.at > REPLACE_SECONDS * len(batch.attempts)
        ):
            batch = await self._replace(batch, urgent=urgent)
        await self.transmit(batch)

    def _say(self, batch: OpenBatch, why: str) -> None:
        """Why a batch waits, once an hour: nothing but the operator may end it."""
        hours = int((time.time() - batch.at) // REMIND_SECONDS)
        if self._said.get((batch.id, why)) != hours:
            self._said[batch.id, why] = hours
            log.warning("batch %d waits for %d h: %s", batch.id, hours, why)

    async def _replace(self, batch: OpenBatch, *, urgent: bool) -> OpenBatch:
        """The batch with a dearer transaction of the same nonce; as it was where that would cost
        more than the operator pays."""
        last = batch.attempts[-1]
        try:
            dearer = await self._chain.sign_call(
                "settleFeesWithTEE",
                [item.signed.as_tuple() for item in batch.items],
                nonce=last.nonce,
                min_gas_price=last.gas_price * 9 // 8 + 1,
                max_gas_price=self._options.gas_limit(urgent=urgent),
            )
        except TooDear as error:
            log.warning("batch %d is stuck and stays at its gas price: %s", batch.id, error)
            return batch
        await asyncio.to_thread(self._store.add_attempt, batch.id, dearer)
        self._metrics.settlements.labels("replaced").inc()
        return OpenBatch(batch.id, batch.at, batch.items, (*batch.attempts, dearer))

    async def _apply_receipt(self, batch: OpenBatch) -> bool:
        """True if one of the batch's transactions is mined; its outcomes are then on disk."""
        for attempt in batch.attempts:
            receipt = await self._chain.receipt(attempt.hash)
            if receipt is not None:
                mined = _mined(attempt.hash, receipt)
                await self._apply(batch, self._chain.outcomes(receipt), mined)
                return True
        return False

    async def _apply(
        self, batch: OpenBatch, outcomes: Sequence[Outcome] | None, mined: Mined
    ) -> None:
        kind = "mined"
        if outcomes is None or len(outcomes) != len(batch.items):
            log.warning("batch %d: the transaction reverted", batch.id)
            outcomes, kind = [], "reverted"
        judged = []
        for item, outcome in zip(batch.items, outcomes, strict=False):
            if outcome.status in (SUCCESS, PARTIAL):
                judged.append((item, _bounded(item, outcome)))
            else:
                self._metrics.outcome(outcome.status)
                log.warning(
                    "%s: settlement refused with status %d, %s",
                    item.signed.item.user,
                    outcome.status,
                    outcome_name(outcome.status),
                )
        final = kind == "reverted" or not self._options.confirmations
        close = self._store.close_batch
        for one in await asyncio.to_thread(close, batch.id, mined, judged, final=final):
            self._paid(*one)
        self._metrics.settlements.labels(kind).inc()
        self._metrics.gas_spent.inc(mined.gas_fee)

    def _paid(self, item: OpenItem, outcome: Outcome) -> None:
        """What the chain decided is on disk since now."""
        settlement = item.signed.item
        paid = settlement.total_fee - outcome.unsettled
        self._debts.settled(settlement.user, paid)
        self._metrics.outcome(outcome.status)
        self._metrics.settled.inc(paid)
        log.info("settled %d neuron of %s, %d left", paid, settlement.user, outcome.unsettled)

    # ---- paid without our knowing ----------------------------------------------------------

    async def _resolve_consumed(self) -> None:
        """Judge items whose nonce the chain has consumed without our having seen a receipt."""
        for item in await asyncio.to_thread(self._store.open_items):
            settlement = item.signed.item
            if item.batch is not None:
                continue
            account = await self._chain.account(settlement.user)
            if account is None or account.nonce < settlement.nonce:
                continue
            try:
                outcome = await self._chain.find_outcome(settlement, item.since_block)
            except ChainError as error:
                # A node may refuse to look so far back: that is no reason to settle with nobody.
                log.warning("%s: what used nonce %d: %s", settlement.user, settlement.nonce, error)
                continue
            if outcome is not None:
                outcome = _bounded(item, outcome)
                if await asyncio.to_thread(self._store.judge, item, outcome):
                    self._paid(item, outcome)
                continue
            if await self.drop_paid(settlement.user, settlement.nonce):
                await self._write_off(item)

    async def _write_off(self, item: OpenItem) -> None:
        """Nothing can ever be paid under this nonce again. To ask anew for what may have been paid
        would be a double charge, so the user gets the benefit of the doubt. It is no income."""
        settlement = item.signed.item
        if await asyncio.to_thread(self._store.write_off, item):
            self._debts.settled(settlement.user, settlement.total_fee)
            self._metrics.written_off.inc(settlement.total_fee)
            log.error(
                "%s: nonce %d was used by an unknown transaction, %d neuron written off",
                settlement.user,
                settlement.nonce,
                settlement.total_fee,
            )

    async def drop_paid(self, user: str, used: int) -> bool:
        """Somebody settled with our keys and another store, by a nonce from `used` on: ours may be
        an old copy of that one, and asking again for what that had paid would be a double charge.

        False while that is not final, and nothing is given up: the block may be taken back, and a
        node that is behind does not have its log yet.
        """
        head = await self._chain.number("eth_blockNumber")
        final = hex(max(head - self._options.confirmations, 0))
        account = await self._chain.account(user, final)
        if account is None or account.nonce < used:
            return False
        nonce = account.nonce
        dropped = await asyncio.to_thread(self._store.explain_nonce, user, nonce)
        if dropped:
            self._debts.settled(user, dropped)
            self._metrics.written_off.inc(dropped)
            log.error(
                "%s: a settlement that is not in this store used nonce %d, %d neuron from before "
                "it written off",
                user,
                nonce,
                dropped,
            )
        return True


def _bounded(item: OpenItem, outcome: Outcome) -> Outcome:
    return Outcome(outcome.status, min(outcome.unsettled, item.signed.item.total_fee))


def _mined(tx_hash: str, receipt: dict[str, Any]) -> Mined:
    """Raises ChainError for a receipt that does not say where it is."""
    try:
        gas, price = (int(receipt.get(k) or "0x0", 16) for k in ("gasUsed", "effectiveGasPrice"))
        return Mined(
            tx_hash, int(receipt["blockNumber"], 16), str(receipt["blockHash"]), gas * price
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ChainError(f"the receipt of {tx_hash} names no block") from error
