"""One node's JSON-RPC, one contract through our own ABI, one wallet that sends.

Everything the node says is checked for shape before it is used; amounts are neuron.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import rlp  # type: ignore[import-untyped]
from eth_utils.crypto import keccak

from protocol import abi
from protocol.abi import AbiError
from protocol.digests import address_of_key, sign
from provider.bodies import beginning
from provider.errors import ChainError, Reverted, TooDear, plain

CALL_SECONDS = 10
MAX_ANSWER_BYTES = 16 * 1024 * 1024
RECEIPT_POLL_SECONDS = 0.1
RECEIPT_SECONDS = 60
_FAR_FUTURE = 2**53  # seconds; what a node says beyond it is no number for a clock
#: A view of each contract that the other ones lack, and what it takes (contracts.md 4 and 5).
_OWN_VIEW = {
    abi.INFERENCE_SERVING: ("serviceExists", "provider"),
    abi.FINE_TUNING_SERVING: ("penaltyPercentage",),
}


@dataclass(frozen=True)
class Transaction:
    """A signed transaction, ready to be sent any number of times."""

    hash: str
    raw: str
    nonce: int
    gas_price: int


class Node:
    """The contract of artifact `kind` at `contract`, as `wallet_key`'s owner sees it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        kind: str,
        contract: str,
        wallet_key: bytes,
    ) -> None:
        self._session = session
        self._url = url
        self._key = wallet_key
        self._ids = count(1)
        self.kind = kind
        self.contract = contract
        self.provider = address_of_key(wallet_key)

    @property
    def host(self) -> str:
        """Where the node is, for messages: the rest of such addresses often is a key."""
        return urlsplit(self._url).netloc.rpartition("@")[2]

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
                document = orjson.loads(await beginning(answer, MAX_ANSWER_BYTES))
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise ChainError(f"{method}: the node does not answer ({plain(error)})") from error
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

    async def view(self, function: str, *args: Any, block: str = "latest") -> Any:
        """Call a view of the contract as the provider (some views answer by sender)."""
        data = abi.encode_call(self.kind, function, *args)
        query = {"to": self.contract, "from": self.provider, "data": data}
        result = await self.rpc("eth_call", query, block)
        try:
            return abi.decode_result(self.kind, function, result)
        except (AbiError, AttributeError) as error:
            raise ChainError(
                f"{function}: {self.contract} does not answer like {self.kind}"
            ) from error

    async def recognise(self) -> None:
        """Raises ChainError where the contract is of another kind, as where an address of another
        0G contract was copied: to one that only lacks our service it must not look alike."""
        function, *args = _OWN_VIEW[self.kind]
        try:
            await self.view(function, *(self.provider for _ in args))
        except Reverted as error:
            raise ChainError(f"{self.contract} is another contract than {self.kind}") from error

    async def service(self) -> dict[str, Any] | None:
        """Our own service as registered, or None."""
        try:
            found: dict[str, Any] = await self.view("getService", self.provider)
        except Reverted:
            return None
        return found

    async def sign_call(
        self,
        function: str,
        *args: Any,
        value: int = 0,
        nonce: int | None = None,
        min_gas_price: int = 0,
        max_gas_price: int | None = None,
    ) -> Transaction:
        """A signed call of the contract, not yet sent. Raises Reverted if it would fail, TooDear
        if gas costs more than `max_gas_price`."""
        data = abi.encode_call(self.kind, function, *args)
        return await self.sign_transaction(
            self.contract,
            data,
            value=value,
            nonce=nonce,
            min_gas_price=min_gas_price,
            max_gas_price=max_gas_price,
        )

    async def sign_transaction(
        self,
        to: str,
        data: str,
        *,
        value: int = 0,
        nonce: int | None = None,
        min_gas_price: int = 0,
        max_gas_price: int | None = None,
    ) -> Transaction:
        """A signed transaction with 0x-hex `data`, not yet sent. Raises Reverted if it would
        fail, TooDear if gas costs more than `max_gas_price`."""
        asked = {"from": self.provider, "to": to, "data": data, "value": hex(value)}
        # A quarter more than estimated: inclusion happens in a later block. On what is mined, since
        # some nodes else estimate a replacement as if what it replaces had gone before it.
        gas = await self.number("eth_estimateGas", asked, "latest") * 5 // 4
        gas_price = await self._gas_price(min_gas_price, max_gas_price)
        if nonce is None:
            nonce = await self.next_nonce()
        chain_id = await self.number("eth_chainId")
        call = (gas, bytes.fromhex(to[2:]), value, bytes.fromhex(data[2:]))
        return self._signed(nonce, gas_price, call, chain_id)

    async def dearer(self, stuck: Transaction, most: int) -> Transaction | None:
        """The same call with the same nonce, at least an eighth above its gas price; None where
        that would be more than `most` times what the node asks now. Nothing is estimated anew: it
        is no other transaction. Raises ChainError.
        """
        price = await self.number("eth_gasPrice")
        gas_price = max(price * 5 // 4, stuck.gas_price * 9 // 8 + 1)
        if gas_price > price * most:
            return None
        chain_id = await self.number("eth_chainId")
        call = rlp.decode(bytes.fromhex(stuck.raw[2:]))[2:6]
        return self._signed(stuck.nonce, gas_price, call, chain_id)

    def _signed(
        self, nonce: int, gas_price: int, call: Sequence[int | bytes], chain_id: int
    ) -> Transaction:
        """`call`: gas, to, value, data, as numbers or as RLP has them."""
        fields = [nonce, gas_price, *call]
        signature = sign(keccak(rlp.encode([*fields, chain_id, 0, 0])), self._key)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        # EIP-155: the recovery id carries the chain id.
        raw = rlp.encode([*fields, signature[64] - 27 + 35 + 2 * chain_id, r, s])
        return Transaction("0x" + keccak(raw).hex(), "0x" + raw.hex(), nonce, gas_price)

    async def _gas_price(self, least: int, most: int | None) -> int:
        """A quarter above the present price, so that a rise does not strand the transaction, but
        within the bounds."""
        price = await self.number("eth_gasPrice")
        if most is None:
            return max(price * 5 // 4, least)
        if max(price, least) > most:
            raise TooDear(max(price, least), most)
        return min(max(price * 5 // 4, least), most)

    async def next_nonce(self) -> int:
        """The wallet's next nonce, as far as the node knows what is under way."""
        return await self.number("eth_getTransactionCount", self.provider, "pending")

    async def send(self, transaction: Transaction) -> None:
        """Hand the transaction to the node; sending it twice is harmless. Raises ChainError."""
        await self.rpc("eth_sendRawTransaction", transaction.raw)

    async def held(self, tried: Sequence[Transaction]) -> Transaction | None:
        """The first of these that the node has, waiting or mined. None of ours of one nonce: what
        waits there is somebody else's, who sends from the same wallet. Raises ChainError."""
        for transaction in tried:
            if await self.rpc("eth_getTransactionByHash", transaction.hash) is not None:
                return transaction
        return None

    async def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        """The receipt, or None while no block holds the transaction."""
        found = await self.rpc("eth_getTransactionReceipt", tx_hash)
        return found if isinstance(found, dict) and found.get("blockHash") else None

    async def block_hash(self, number: int) -> str | None:
        """The hash of the block at that height, None above the head."""
        found = await self.rpc("eth_getBlockByNumber", hex(number), False)
        return str(found["hash"]) if isinstance(found, dict) and "hash" in found else None

    async def now(self) -> int:
        """The chain's clock, in unix seconds. Raises ChainError."""
        block = await self.rpc("eth_getBlockByNumber", "latest", False)
        try:
            return min(int(block["timestamp"], 16), _FAR_FUTURE)
        except (TypeError, KeyError, ValueError) as error:
            raise ChainError("eth_getBlockByNumber: the block has no time") from error

    async def wait(self, tx_hash: str, seconds: float) -> dict[str, Any] | None:
        """The receipt, or None if there is none after `seconds`."""
        for _ in range(max(1, int(seconds / RECEIPT_POLL_SECONDS))):
            found = await self.receipt(tx_hash)
            if found is not None:
                return found
            await asyncio.sleep(RECEIPT_POLL_SECONDS)
        return None

    async def transact(self, function: str, *args: Any, value: int = 0) -> str:
        """Send a call of the contract and wait until it is mined; its transaction hash.

        Raises Reverted for one that would fail or failed, ChainError where nobody knows.
        """
        transaction = await self.sign_call(function, *args, value=value)
        return await self.send_and_wait(function, transaction)

    async def send_and_wait(self, what: str, transaction: Transaction) -> str:
        """Send it and wait until it is mined; its hash.

        Raises Reverted for one that failed, ChainError where nobody knows.
        """
        await self.send(transaction)
        tx_hash = transaction.hash
        receipt = await self.wait(tx_hash, RECEIPT_SECONDS)
        if receipt is None:
            raise ChainError(f"{what}: {tx_hash} was not mined in time")
        if receipt.get("status") != "0x1":
            raise Reverted(f"{what}: {tx_hash} was reverted")
        return tx_hash


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
