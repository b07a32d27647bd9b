"""The broker's side of the chain: one node's JSON-RPC, and InferenceServing through our own ABI.

Everything the node says is checked for shape before it is used; amounts are neuron.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp
import orjson
import rlp  # type: ignore[import-untyped]
from eth_utils.crypto import keccak

from protocol import abi
from protocol.abi import INFERENCE_SERVING, AbiError
from protocol.digests import Settlement, address_of_key, sign
from protocol.keys import Revocation
from provider.errors import ChainError, Reverted

CALL_SECONDS = 10
MAX_ANSWER_BYTES = 16 * 1024 * 1024
RECEIPT_POLL_SECONDS = 0.1
LOG_WINDOW_BLOCKS = 5000
SETTLEMENT_RESULT = abi.topic_of("TEESettlementResult(address,uint8,uint256)")

# SettlementStatus of the contract (contracts.md 4).
SUCCESS, PARTIAL, PROVIDER_MISMATCH, NO_TEE_SIGNER, INVALID_NONCE, INVALID_SIGNATURE = range(6)


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


@dataclass(frozen=True)
class Transaction:
    """A signed transaction, ready to be sent any number of times."""

    hash: str
    raw: str
    nonce: int
    gas_price: int


class Chain:
    """InferenceServing as `key`'s owner sees it, through one node."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, inference: str, wallet_key: bytes
    ) -> None:
        self._session = session
        self._url = url
        self._key = wallet_key
        self._ids = count(1)
        self.inference = inference
        self.provider = address_of_key(wallet_key)

    async def rpc(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call. Raises Reverted or ChainError."""
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        try:
            async with self._session.post(
                self._url,
                data=orjson.dumps(body),
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
                allow_redirects=False,
            ) as answer:
                raw = await answer.content.read(MAX_ANSWER_BYTES)
                while not answer.content.at_eof() and len(raw) < MAX_ANSWER_BYTES:
                    raw += await answer.content.read(MAX_ANSWER_BYTES - len(raw))
            document = orjson.loads(raw)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise ChainError(f"{method}: the node does not answer ({error!r})") from error
        if not isinstance(document, dict) or ("result" not in document and "error" not in document):
            raise ChainError(f"{method}: the node's answer is not JSON-RPC")
        if document.get("error") is not None:
            raise _problem(method, document["error"])
        return document["result"]

    async def number(self, method: str, *params: Any) -> int:
        """A call whose result is a quantity. Raises ChainError."""
        result = await self.rpc(method, *params)
        try:
            return int(result, 16)
        except (TypeError, ValueError) as error:
            raise ChainError(f"{method}: the result is not a number") from error

    async def view(self, function: str, *args: Any) -> Any:
        """Call a view of InferenceServing as the provider (some views answer by sender)."""
        data = abi.encode_call(INFERENCE_SERVING, function, *args)
        query = {"to": self.inference, "from": self.provider, "data": data}
        result = await self.rpc("eth_call", query, "latest")
        try:
            return abi.decode_result(INFERENCE_SERVING, function, result)
        except (AbiError, AttributeError) as error:
            raise ChainError(
                f"{function}: {self.inference} does not answer like InferenceServing"
            ) from error

    # ---- what the broker reads -------------------------------------------------------------

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
            generation=found["generation"],
            revoked_bitmap=found["revokedBitmap"],
        )

    async def service(self) -> dict[str, Any] | None:
        """Our own service as registered, or None."""
        try:
            found: dict[str, Any] = await self.view("getService", self.provider)
        except Reverted:
            return None
        return found

    async def preview(self, items: Sequence[SignedItem]) -> dict[str, Outcome]:
        """What would happen to each user's item now; users that would simply pay are left out."""
        failed, reasons, partial, unsettled = await self.view(
            "previewSettlementResults", [item.as_tuple() for item in items]
        )
        outcomes = {user: Outcome(reason, 0) for user, reason in zip(failed, reasons, strict=False)}
        for user, rest in zip(partial, unsettled, strict=False):
            outcomes[user] = Outcome(PARTIAL, rest)
        return outcomes

    # ---- what the broker sends -------------------------------------------------------------

    async def sign_call(
        self,
        function: str,
        *args: Any,
        value: int = 0,
        nonce: int | None = None,
        min_gas_price: int = 0,
    ) -> Transaction:
        """A signed call of InferenceServing, not yet sent. Raises Reverted if it would fail."""
        data = abi.encode_call(INFERENCE_SERVING, function, *args)
        call = {"from": self.provider, "to": self.inference, "data": data, "value": hex(value)}
        # A quarter more than estimated: inclusion happens in a later block. On what is mined, since
        # some nodes else estimate a replacement as if what it replaces had gone before it.
        gas = await self.number("eth_estimateGas", call, "latest") * 5 // 4
        gas_price = max(await self.number("eth_gasPrice") * 5 // 4, min_gas_price)
        if nonce is None:
            nonce = await self.number("eth_getTransactionCount", self.provider, "pending")
        chain_id = await self.number("eth_chainId")
        to = bytes.fromhex(self.inference[2:])
        payload = bytes.fromhex(data[2:])
        fields = [nonce, gas_price, gas, to, value, payload]
        signature = sign(keccak(rlp.encode([*fields, chain_id, 0, 0])), self._key)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        # EIP-155: the recovery id carries the chain id.
        raw = rlp.encode([*fields, signature[64] - 27 + 35 + 2 * chain_id, r, s])
        return Transaction("0x" + keccak(raw).hex(), "0x" + raw.hex(), nonce, gas_price)

    async def send(self, transaction: Transaction) -> None:
        """Hand the transaction to the node; sending it twice is harmless. Raises ChainError."""
        await self.rpc("eth_sendRawTransaction", transaction.raw)

    async def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        """The receipt, or None while there is none."""
        found = await self.rpc("eth_getTransactionReceipt", tx_hash)
        return found if isinstance(found, dict) else None

    async def wait(self, tx_hash: str, seconds: float) -> dict[str, Any] | None:
        """The receipt, or None if there is none after `seconds`."""
        for _ in range(max(1, int(seconds / RECEIPT_POLL_SECONDS))):
            found = await self.receipt(tx_hash)
            if found is not None:
                return found
            await asyncio.sleep(RECEIPT_POLL_SECONDS)
        return None

    # ---- what became of settlements --------------------------------------------------------

    def outcomes(self, receipt: dict[str, Any]) -> list[Outcome] | None:
        """One outcome per item of a mined settlement, in item order; None if it failed."""
        if receipt.get("status") != "0x1":
            return None
        found = []
        for log in receipt.get("logs", ()):
            ours = log["address"].lower() == self.inference.lower()
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
                "address": self.inference,
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


def _problem(method: str, error: object) -> ChainError:
    """The node's error as one of ours: with revert data it is the contract speaking."""
    if not isinstance(error, dict):
        return ChainError(f"{method}: {error!r:.200}")
    message = str(error.get("message", ""))[:300]
    data = error.get("data")
    if isinstance(data, dict):
        data = data.get("data")
    known = abi.decode_error(data) if isinstance(data, str) else None
    if known is not None:
        return Reverted(f"execution reverted: {known[0]}", known[0])
    if "revert" in message.lower():
        return Reverted(message)
    return ChainError(f"{method}: {message}")
