"""The inference broker's side of the chain: accounts, the service, settlements; in neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from protocol import abi
from protocol.abi import INFERENCE_SERVING
from protocol.digests import Settlement
from protocol.keys import Revocation
from provider.errors import Reverted
from provider.node import Node

LOG_WINDOW_BLOCKS = 5000
#: A settlement of fifty users took 3.8 million gas against our build of the contract; with margin.
BATCH_GAS = 4_500_000
SETTLEMENT_RESULT = abi.topic_of("TEESettlementResult(address,uint8,uint256)")

# SettlementStatus of the contract (contracts.md 4).
SUCCESS, PARTIAL, PROVIDER_MISMATCH, NO_TEE_SIGNER, INVALID_NONCE, INVALID_SIGNATURE = range(6)


def batch_cost(gas_price: int) -> int:
    """Neuron that the wallet must hold for one settlement of fifty users: transactions offer a
    quarter more than the present gas price."""
    return BATCH_GAS * gas_price * 5 // 4


@dataclass(frozen=True)
class Account:
    """A user's sub-account with this provider. `balance` includes `pending_refund`."""

    balance: int
    pending_refund: int
    nonce: int
    acknowledged: bool
    generation: int
    revoked_bitmap: int

    @property
    def revocation(self) -> Revocation:
        """What decides whether a key is still good."""
        return Revocation(self.generation, self.revoked_bitmap)


@dataclass(frozen=True)
class SignedItem:
    """A settlement item with its signature: the same bytes however often it is sent."""

    item: Settlement
    signature: bytes

    def as_tuple(self) -> tuple[Any, ...]:
        """The calldata struct TEESettlementData."""
        item = self.item
        return (
            item.user,
            item.provider,
            item.total_fee,
            item.requests_hash,
            item.nonce,
            self.signature,
        )


@dataclass(frozen=True)
class Outcome:
    """What the contract made of one item; `unsettled` is the part that was not paid."""

    status: int
    unsettled: int


class Chain(Node):
    """InferenceServing as `wallet_key`'s owner sees it, through one node."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, inference: str, wallet_key: bytes
    ) -> None:
        super().__init__(
            session, url, kind=INFERENCE_SERVING, contract=inference, wallet_key=wallet_key
        )

    # ---- what the broker reads -------------------------------------------------------------

    async def account(self, user: str, block: str = "latest") -> Account | None:
        """The sub-account of `user` with us, or None."""
        try:
            found = await self.view("getAccount", user, self.provider, block=block)
        except Reverted:
            return None
        return Account(
            balance=found["balance"],
            pending_refund=found["pendingRefund"],
            nonce=found["nonce"],
            acknowledged=found["acknowledged"],
            generation=found["generation"],
            revoked_bitmap=found["revokedBitmap"],
        )

    async def preview(self, items: Sequence[SignedItem]) -> dict[str, Outcome]:
        """What would happen to each user's item now; users that would simply pay are left out."""
        failed, reasons, partial, unsettled = await self.view(
            "previewSettlementResults", [item.as_tuple() for item in items]
        )
        outcomes = {user: Outcome(reason, 0) for user, reason in zip(failed, reasons, strict=False)}
        for user, rest in zip(partial, unsettled, strict=False):
            outcomes[user] = Outcome(PARTIAL, rest)
        return outcomes

    # ---- what became of settlements --------------------------------------------------------

    def outcomes(self, receipt: dict[str, Any]) -> list[Outcome] | None:
        """One outcome per item of a mined settlement, in item order; None if it failed."""
        if receipt.get("status") != "0x1":
            return None
        found = []
        for log in receipt.get("logs", ()):
            ours = log["address"].lower() == self.contract.lower()
            if ours and log["topics"][:1] == [SETTLEMENT_RESULT]:
                data = bytes.fromhex(log["data"][2:])
                found.append(
                    Outcome(int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big"))
                )
        return found

    async def find_outcome(self, item: Settlement, from_block: int) -> Outcome | None:
        """What became of an item whose nonce the chain has already consumed, or None if no
        transaction of ours since `from_block` holds it (contracts.md 4.3: the log names neither
        nonce nor provider, so the calldata has to be read)."""
        head = await self.number("eth_blockNumber")
        topic = "0x" + item.user[2:].lower().rjust(64, "0")
        for start in range(from_block, head + 1, LOG_WINDOW_BLOCKS):
            query = {
                "address": self.contract,
                "topics": [SETTLEMENT_RESULT, topic],
                "fromBlock": hex(start),
                "toBlock": hex(min(start + LOG_WINDOW_BLOCKS - 1, head)),
            }
            for tx_hash in {log["transactionHash"] for log in await self.rpc("eth_getLogs", query)}:
                outcome = await self._outcome_in(tx_hash, item)
                if outcome is not None:
                    return outcome
        return None

    async def _outcome_in(self, tx_hash: str, item: Settlement) -> Outcome | None:
        transaction = await self.rpc("eth_getTransactionByHash", tx_hash)
        receipt = await self.receipt(tx_hash)
        call = abi.decode_call(INFERENCE_SERVING, (transaction or {}).get("input", "0x"))
        if receipt is None or call is None or call[0] != "settleFeesWithTEE":
            return None
        (rows,) = call[1].values()
        outcomes = self.outcomes(receipt) or []
        for row, outcome in zip(rows, outcomes, strict=False):
            ours = (row["user"], row["provider"], row["nonce"])
            consumed = outcome.status in (SUCCESS, PARTIAL)
            if ours == (item.user, item.provider, item.nonce) and consumed:
                return outcome
        return None
