"""A small chain with code from before the audit release, served over real HTTP.

No bytecode of that time may be run here, so its logs are written down as contracts.md 9 describes
them; everything else (client, follower, database) is real. Views in the shapes of today are
answered only from the block of the release on; earlier ones come back in a shape that does not
decode, as the older code's do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eth_utils.crypto import keccak

from protocol import abi, events
from tests.db.test_chain_rpc import Node, error

LEDGER = "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0"
SERVING = "0x0165878A594ca255338adfa4d48449f69242Eb8F"
OWNER, USER, PROVIDER = (f"0x{digit * 40}" for digit in "123")
NAME = "inference-v1.0"
BLOOM = "0x" + "ff" * 256


def stamp(number: int) -> int:
    """Fifty thousand seconds between blocks: lock times pass quickly."""
    return 1_700_000_000 + number * 50_000


def digest(*parts: object) -> str:
    return "0x" + keccak(text="/".join(map(str, parts))).hex()


def word(kind: str, value: Any) -> str:
    """An indexed argument: texts are only there as their hash."""
    if kind == "string":
        return "0x" + keccak(text=value).hex()
    return "0x" + abi.CODEC.encode([kind], [value]).hex()


def logged(event: type[Any], address: str, *values: Any) -> dict[str, Any]:
    """A log of `event` with its arguments in the order of the signature."""
    shape = next(s for s in events.SHAPES if s.event is event)
    pairs = list(zip(shape.arguments, values, strict=True))
    plain = [(a, v) for a, v in pairs if not a.indexed]
    data = abi.CODEC.encode([a.type for a, _ in plain], [v for _, v in plain])
    topics = [shape.topic, *(word(a.type, v) for a, v in pairs if a.indexed)]
    return {"address": address, "topics": topics, "data": "0x" + data.hex()}


def answer(contract: str, function: str, *values: Any) -> str:
    outputs = abi.functions(contract)[function].outputs
    wired = [a.wire(v) for a, v in zip(outputs, values, strict=True)]
    return "0x" + abi.CODEC.encode([a.type for a in outputs], wired).hex()


@dataclass
class Block:
    """One transaction per block; `balance` is the LedgerManager's after it (neuron)."""

    number: int
    balance: int
    sender: str = OWNER
    to: str = LEDGER
    value: int = 0
    input: str = "0x"
    logs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def hash(self) -> str:
        return digest("block", self.number)

    @property
    def tx(self) -> str:
        return digest("tx", self.number)

    @property
    def header(self) -> dict[str, Any]:
        return {
            "number": hex(self.number),
            "hash": self.hash,
            "parentHash": digest("block", self.number - 1),
            "timestamp": hex(stamp(self.number)),
            "logsBloom": BLOOM,
            "transactions": [self.transaction],
        }

    @property
    def transaction(self) -> dict[str, Any]:
        return {
            "hash": self.tx,
            "blockHash": self.hash,
            "blockNumber": hex(self.number),
            "transactionIndex": "0x0",
            "from": self.sender,
            "to": self.to,
            "value": hex(self.value),
            "input": self.input,
            "gasPrice": "0x1",
        }

    @property
    def full_logs(self) -> list[dict[str, Any]]:
        place = {
            "blockNumber": hex(self.number),
            "blockHash": self.hash,
            "transactionHash": self.tx,
            "transactionIndex": "0x0",
        }
        return [{**log, **place, "logIndex": hex(i)} for i, log in enumerate(self.logs)]

    @property
    def receipt(self) -> dict[str, Any]:
        return {
            "transactionHash": self.tx,
            "blockHash": self.hash,
            "status": "0x1",
            "gasUsed": "0x5208",
            "effectiveGasPrice": "0x1",
            "logs": self.full_logs,
        }


class OldChain(Node):
    """`views` by function name, right from block `release` on; `asked` is (function, block)."""

    def __init__(self, blocks: list[Block], release: int, views: Mapping[str, str]) -> None:
        super().__init__()
        self.blocks, self.release, self.views = blocks, release, views
        self.asked: list[tuple[str, int]] = []
        self.behaviour = self.serve

    def block(self, ref: Any) -> Block | None:
        if isinstance(ref, dict):
            ref = ref["blockHash"]
        if ref in ("latest", "finalized"):
            return self.blocks[-1]
        for block in self.blocks:
            if ref in (block.hash, hex(block.number)):
                return block
        return None

    def serve(self, method: str, params: list[Any]) -> Any:
        if method.startswith("eth_getBlockBy"):
            found = self.block(params[0])
            return found.header if found else None
        if method == "eth_getTransactionReceipt":
            return next(b.receipt for b in self.blocks if b.tx == params[0])
        if method == "eth_getLogs":
            return self.logs(params[0])
        found = self.block(params[-1])
        if found is None:
            return error(-32000, "header not found")
        if method == "eth_getBalance":
            return hex(found.balance)
        if method == "eth_call":
            return self.call(params[0], found.number)
        return error(-32601, f"no such method: {method}")

    def logs(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        if "blockHash" in query:
            chosen = [b for b in self.blocks if b.hash == query["blockHash"]]
        else:
            first, last = (int(query[side], 16) for side in ("fromBlock", "toBlock"))
            chosen = [b for b in self.blocks if first <= b.number <= last]
        wanted = {a.lower() for a in query["address"]}
        return [g for b in chosen for g in b.full_logs if g["address"].lower() in wanted]

    def call(self, request: dict[str, str], number: int) -> Any:
        contract = abi.LEDGER_MANAGER if request["to"] == LEDGER else abi.INFERENCE_SERVING
        called = abi.decode_call(contract, request["data"])
        name = called[0] if called else ""
        self.asked.append((name, number))
        if name not in self.views:
            return error(3, "execution reverted", "0x")
        timeless = name in ("lockTime", "owner", "getAllActiveServices")
        return self.views[name] if timeless or number >= self.release else "0x" + "00" * 31 + "07"
