"""FineTuningServing as its provider sees it (contracts.md 5, 6.5); amounts in neuron."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from protocol.abi import FINE_TUNING_SERVING
from provider.errors import ChainError, Reverted
from provider.node import RECEIPT_POLL_SECONDS, Node, Transaction
from provider.register import put
from provider.store import Store
from provider.tuning.announcements import Announcements
from provider.tuning.options import Options
from provider.tuning.sent import Sent, Signed

COUNTED_SECONDS = 10
#: How long it may take to learn what has used a nonce of ours, from the first look that finds it
#: used, before it counts as somebody else's.
DOUBT_SECONDS = 600
REPLACE_SECONDS = 90
WAIT_SECONDS = 60
#: A replacement costs at most so many times what the node asks per gas: where no block comes at
#: all, a higher price helps nobody.
MOST_TIMES = 2

log = logging.getLogger("provider.tuning.chain")


class EarlierWaits(ChainError):
    """A transaction of this wallet is under way: nothing was sent."""

    def __init__(self) -> None:
        super().__init__("an earlier transaction is under way")


@dataclass(frozen=True)
class Account:
    """A user's sub-account with this provider. `balance` includes `pending_refund`.

    `unacknowledged` is the newest deliverable while nobody acknowledged it, "" otherwise: until
    then the contract takes no other (contracts.md 6.5).
    """

    balance: int
    pending_refund: int
    nonce: int
    acknowledged: bool
    deliverables: tuple[str, ...]
    unacknowledged: str

    @property
    def available(self) -> int:
        """What a fee may come from."""
        return self.balance - self.pending_refund


@dataclass(frozen=True)
class Deliverable:
    """A delivered result as the contract keeps it; `time` in unix seconds of the chain."""

    root: bytes
    acknowledged: bool
    settled: bool
    time: int


class TuningChain(Node):
    """The contract, through one node; every transaction waits for the one before, and is in `store`
    before it is sent."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        contract: str,
        wallet_key: bytes,
        store: Store,
    ) -> None:
        super().__init__(
            session, url, kind=FINE_TUNING_SERVING, contract=contract, wallet_key=wallet_key
        )
        self._sent = Sent(store)
        self._announcements = Announcements(store)
        self._doubts: dict[int, float] = {}
        self._sending = asyncio.Lock()

    async def account(self, user: str) -> Account | None:
        """The sub-account of `user` with us, or None."""
        try:
            found = await self.view("getAccount", user, self.provider)
        except Reverted:
            return None
        return Account(
            balance=found["balance"],
            pending_refund=found["pendingRefund"],
            nonce=found["nonce"],
            acknowledged=found["acknowledged"],
            deliverables=tuple(item["id"] for item in found["deliverables"]),
            unacknowledged=_unacknowledged(found["deliverables"]),
        )

    async def deliverable(self, user: str, id_: str) -> Deliverable | None:
        """One delivered result, or None where it was not delivered (or its account is gone)."""
        try:
            found = await self.view("getDeliverable", user, self.provider, id_)
        except Reverted:
            return None
        return Deliverable(
            root=bytes.fromhex(found["modelRootHash"][2:]),
            acknowledged=found["acknowledged"],
            settled=found["settled"],
            time=found["timestamp"],
        )

    async def transact(self, function: str, *args: Any, value: int = 0) -> str:
        """`Node.transact`, and EarlierWaits."""
        async with self._sending:
            await self._nothing_waits()
            transaction = await self.sign_call(function, *args, value=value)
            await asyncio.to_thread(self._sent.keep, transaction)
            return await self.send_and_wait(function, transaction)

    async def pay(
        self,
        to: str,
        data: str,
        value: int,
        *,
        earlier: Sequence[Signed],
        keep: Callable[[Transaction], None],
    ) -> None:
        """Send a transaction to another contract and wait until it is mined, unless one of the
        `earlier` ones for the same thing was. `keep` writes it down (blocks) before it is sent.

        Of those that a node has forgotten, ours has the nonce: at most one of them is ever mined.
        """
        async with self._sending:
            await self._nothing_waits()
            if await self._any_mined(earlier):
                return
            transaction = await self.sign_transaction(to, data, value=value)
            await asyncio.to_thread(keep, transaction)
            await asyncio.to_thread(self._sent.keep, transaction)
            await self.send_and_wait("payment", transaction)

    async def _any_mined(self, earlier: Sequence[Signed]) -> bool:
        """Whether one of them did what it should. Raises ChainError while nobody can tell."""
        count = await self.number("eth_getTransactionCount", self.provider, "latest")
        unknown: set[int] = set()
        # A node may count a transaction a moment before it has the receipt.
        for _ in range(max(1, int(COUNTED_SECONDS / RECEIPT_POLL_SECONDS))):
            unknown = {sent.nonce for sent in earlier if sent.nonce < count}
            for sent in earlier:
                receipt = await self.receipt(sent.hash)
                if receipt is not None and receipt.get("status") == "0x1":
                    return True
                if receipt is not None:
                    unknown.discard(sent.nonce)
            if not unknown:
                return False
            await asyncio.sleep(RECEIPT_POLL_SECONDS)
        for nonce in unknown:
            # One node counts it, the one behind the same address that has its receipt is slow. Not
            # since it was sent: what was stuck for long may be mined just now.
            since = self._doubts.setdefault(nonce, time.monotonic())
            if time.monotonic() - since < DOUBT_SECONDS:
                raise ChainError(f"what used nonce {nonce} is not known yet")
        return False

    async def _nothing_waits(self) -> None:
        """Raises EarlierWaits while a transaction of this wallet is under way: it may be this very
        one, sent before we died or gave up waiting, and would be paid for twice. One of ours that
        is stuck is offered again."""
        mined = await self.number("eth_getTransactionCount", self.provider, "latest")
        if await self.next_nonce() > mined:
            await self._replace(mined)
            raise EarlierWaits

    async def _replace(self, nonce: int) -> None:
        """Offer more gas for ours of that nonce where it has waited for long: the same call with
        the same nonce, so that at most one of them is ever mined. What the operator or another
        broker sends from this wallet is left alone. Raises ChainError."""
        tried = await asyncio.to_thread(self._sent.of, nonce)
        if not tried or time.time() - tried[0].at < REPLACE_SECONDS:
            return
        stuck = tried[0].transaction
        held = await self.held([one.transaction for one in tried])
        if held is None:
            log.warning("nonce %d waits: the node knows none of this broker's there", nonce)
            return
        # The newest of ours may have been signed, and never have come to the node.
        dearer = await self.dearer(stuck, MOST_TIMES) if held == stuck else stuck
        if dearer is None:
            log.warning("nonce %d is stuck and stays at its gas price", nonce)
            return
        if dearer != stuck:
            await asyncio.to_thread(self._announcements.replaced, stuck, dearer)
            await asyncio.to_thread(self._sent.keep, dearer)
        log.warning("nonce %d is stuck: sent again at %d neuron per gas", nonce, dearer.gas_price)
        try:
            await self.send(dearer)
        except ChainError as error:
            log.warning("nonce %d: the node does not take the replacement (%s)", nonce, error)

    async def other_view(self, to: str, data: str) -> str:
        """The raw 0x-hex result of a view of another contract."""
        result = await self.rpc("eth_call", {"to": to, "data": data}, "latest")
        if not isinstance(result, str):
            raise ChainError("eth_call: the result is not hex")
        return result


def _unacknowledged(deliverables: list[dict[str, Any]]) -> str:
    """The id of the last of them, if it is not acknowledged."""
    if deliverables and not deliverables[-1]["acknowledged"]:
        return str(deliverables[-1]["id"])
    return ""


def listing(options: Options, *, url: str, signer: str) -> dict[str, Any]:
    """What the chain should say about the service, in the order of the contract's arguments."""
    quota = options.quota
    return {
        "url": url,
        "quota": {
            "cpuCount": quota.cpu_count,
            "nodeMemory": quota.memory_gb,
            "gpuCount": quota.gpu_count,
            "nodeStorage": quota.storage_gb,
            "gpuType": quota.gpu_type,
        },
        "pricePerToken": options.price_per_token,
        "occupied": False,
        "models": [model.name for model in options.models],
        "teeSignerAddress": signer,
    }


async def register(chain: TuningChain, options: Options, *, url: str, signer: str) -> None:
    """Register or update the service if the chain says otherwise, and wait for it; before that for
    what the wallet has sent already, at most a minute.

    Raises ConfigError where the wallet cannot, ChainError where the node does not.
    """
    wanted = listing(options, url=url, signer=signer)
    for left in reversed(range(WAIT_SECONDS)):
        try:
            await put(
                chain,
                wanted,
                tuple(wanted.values()),
                stake=options.stake,
                section="tuning",
                refused="tasks",
            )
            return
        except EarlierWaits:
            if not left:
                raise
        await asyncio.sleep(1)
