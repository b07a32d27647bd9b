"""A node whose chain is that of another node, with many empty blocks between any two of its own."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import Any

from devnet.faults import FaultPlan, FaultProxy, Item

#: Blocks above the final one.
PENDING = 12
REMEMBERED = 50_000


class Stretched(FaultProxy):
    """Block `n` of `upstream` is block `n * factor` here; the ones between hold nothing.

    The head is `factor - 1` empty blocks after the last true one.
    """

    def __init__(self, upstream: str, factor: int, plan: FaultPlan) -> None:
        super().__init__(upstream, plan)
        self.factor = factor
        self._made: OrderedDict[str, int] = OrderedDict()

    async def _ask(self, batch: list[Item]) -> list[Item]:
        head = (await self._true("eth_blockNumber"))["result"]
        last = int(head, 16) * self.factor + self.factor - 1
        return [await self._one(call, last) for call in batch]

    async def _true(self, method: str, *params: Any) -> Item:
        call = {"jsonrpc": "2.0", "id": 0, "method": method, "params": params}
        return (await super()._ask([call]))[0]

    async def _one(self, call: Item, last: int) -> Item:
        method, params = call["method"], call["params"]
        if method == "eth_getBlockByNumber":
            tags = {"latest": last, "finalized": max(0, last - PENDING)}
            number = tags[params[0]] if params[0] in tags else int(params[0], 16)
            found: Any = None if number > last else await self._block_at(number, params[1])
        elif method == "eth_getBlockByHash":
            found = await self._by_hash(params[0], params[1])
        elif method == "eth_getLogs":
            found = await self._logs_of(params[0])
        elif method == "eth_getTransactionReceipt":
            found = self._moved((await self._true(method, *params))["result"])
        elif method in ("eth_call", "eth_getBalance", "eth_getStorageAt", "eth_getCode"):
            return {**await self._true(method, *params[:-1], self._state(params[-1])), **_id(call)}
        elif method == "eth_blockNumber":
            found = hex(last)
        else:
            return {**await self._true(method, *params), **_id(call)}
        return {"jsonrpc": "2.0", "result": found, **_id(call)}

    def _state(self, at: Any) -> str:
        """The true block whose state a block of ours has."""
        if isinstance(at, dict):
            made = self._made.get(at["blockHash"])
            return at if made is None else hex(made // self.factor)  # type: ignore[return-value]
        return at if not at.startswith("0x") else hex(int(at, 16) // self.factor)

    async def _block_at(self, number: int, full: bool) -> Item:
        below, between = divmod(number, self.factor)
        true = (await self._true("eth_getBlockByNumber", hex(below), full))["result"]
        if not between:
            return self._moved_block(true)
        return {
            **true,
            "number": hex(number),
            "hash": self._hash(number),
            "parentHash": true["hash"] if between == 1 else self._hash(number - 1),
            "transactions": [],
            "logsBloom": "0x" + "00" * 256,
        }

    def _hash(self, number: int) -> str:
        made = "0x" + sha256(f"block {number}".encode()).hexdigest()
        self._made[made] = number
        if len(self._made) > REMEMBERED:
            self._made.popitem(last=False)
        return made

    async def _by_hash(self, wanted: str, full: bool) -> Item | None:
        if (made := self._made.get(wanted)) is not None:
            return await self._block_at(made, full)
        true = (await self._true("eth_getBlockByHash", wanted, full))["result"]
        return None if true is None else self._moved_block(true)

    async def _logs_of(self, query: Item) -> Any:
        if "blockHash" in query:
            if query["blockHash"] in self._made:
                return []
            moved = query
        else:
            first, last = (int(query[k], 16) for k in ("fromBlock", "toBlock"))
            low, high = -(-first // self.factor), last // self.factor
            if low > high:
                return []
            moved = {**query, "fromBlock": hex(low), "toBlock": hex(high)}
        return [self._moved(log) for log in (await self._true("eth_getLogs", moved))["result"]]

    def _moved_block(self, true: Item) -> Item:
        number = int(true["number"], 16) * self.factor
        parent = self._hash(number - 1) if number else true["parentHash"]
        transactions = [self._moved(t) if isinstance(t, dict) else t for t in true["transactions"]]
        return {
            **true,
            "number": hex(number),
            "parentHash": parent if self.factor > 1 else true["parentHash"],
            "transactions": transactions,
        }

    def _moved(self, entry: Any) -> Any:
        """A transaction, receipt or log with our block number."""
        if entry is None or entry.get("blockNumber") is None:
            return entry
        moved = {**entry, "blockNumber": hex(int(entry["blockNumber"], 16) * self.factor)}
        if "logs" in entry:
            moved["logs"] = [self._moved(log) for log in entry["logs"]]
        return moved


def _id(call: Item) -> Item:
    return {"id": call["id"]}
