"""Sends transactions from a key and reads contracts, through one node's JSON-RPC."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount

from devnet.abi import Artifact, decode_error, load
from devnet.rpc import Rpc, RpcError
from protocol.addresses import checksum

PRIORITY_FEE = 10**9  # neuron per gas
#: The block that each node was put back to last, by its URL.
_PUT_BACK: dict[str, int] = {}


class Reverted(Exception):
    """A contract refused. `error` is the Solidity error's name, `args_` its arguments."""

    def __init__(self, error: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__(f"{error}{args!r}")
        self.error = error
        self.args_ = args


@dataclass(frozen=True, slots=True)
class Log:
    """One decoded event of our contracts."""

    name: str
    address: str
    args: dict[str, Any]
    block: int
    index: int
    tx_hash: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a transaction did. `logs` leaves out events that are not in our ABIs."""

    tx_hash: str
    block: int
    ok: bool
    gas_used: int
    contract_address: str | None
    logs: tuple[Log, ...]


class Chain:
    """One node. All calls block; a transaction returns when it is in a block."""

    def __init__(self, url: str) -> None:
        self.rpc = Rpc(url)
        self.chain_id = int(self.rpc.call("eth_chainId"), 16)

    # ---- reading ---------------------------------------------------------------------------

    def call(
        self, to: str, data: bytes, *, sender: str | None = None, block: int | str = "latest"
    ) -> bytes:
        """Raises Reverted."""
        query = {"to": to, "data": "0x" + data.hex()}
        if sender is not None:
            query["from"] = sender
        result = self._reverting("eth_call", query, _tag(block))
        return bytes.fromhex(result[2:])

    def balance(self, address: str) -> int:
        """Neuron."""
        return int(self.rpc.call("eth_getBalance", address, "latest"), 16)

    def code(self, address: str) -> bytes:
        return bytes.fromhex(self.rpc.call("eth_getCode", address, "latest")[2:])

    def storage(self, address: str, slot: int) -> int:
        return int(self.rpc.call("eth_getStorageAt", address, hex(slot), "latest"), 16)

    def block_number(self) -> int:
        return int(self.rpc.call("eth_blockNumber"), 16)

    def timestamp(self, block: int | str = "latest") -> int:
        """Unix seconds of a block."""
        found: Mapping[str, str] = self.rpc.call("eth_getBlockByNumber", _tag(block), False)
        return int(found["timestamp"], 16)

    # ---- writing ---------------------------------------------------------------------------

    def send(
        self,
        by: LocalAccount,
        to: str | None,
        data: bytes = b"",
        *,
        value: int = 0,
        gas: int | None = None,
    ) -> Receipt:
        """Signs, sends, waits. Without `gas` it is estimated, and a call that would fail raises
        Reverted and is not sent; with `gas` it is sent whatever happens (see `Receipt.ok`)."""
        tx: dict[str, Any] = {"from": by.address, "data": "0x" + data.hex(), "value": hex(value)}
        if to is not None:
            tx["to"] = checksum(to)
        if gas is None:
            # A quarter more: the estimate is for one block, inclusion happens in a later one.
            gas = int(self._reverting("eth_estimateGas", tx), 16) * 5 // 4
        latest = self.rpc.call("eth_getBlockByNumber", "latest", False)
        nonce = self.rpc.call("eth_getTransactionCount", by.address, "pending")
        signed = by.sign_transaction(
            {
                **({"to": tx["to"]} if to is not None else {}),
                "type": 2,
                "chainId": self.chain_id,
                "nonce": int(nonce, 16),
                "gas": gas,
                "maxFeePerGas": 2 * int(latest["baseFeePerGas"], 16) + PRIORITY_FEE,
                "maxPriorityFeePerGas": PRIORITY_FEE,
                "value": value,
                "data": data,
            }
        )
        tx_hash = self.rpc.call(
            "eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex()
        )
        return self.wait(tx_hash)

    def deploy(self, by: LocalAccount, name: str, *args: Any) -> str:
        """Deploys an artifact and returns its address."""
        receipt = self.send(by, None, load(name).creation_code(*args))
        if not receipt.ok or receipt.contract_address is None:
            raise Reverted("deployment failed", (name,))
        return receipt.contract_address

    def wait(self, tx_hash: str, timeout: float = 30.0) -> Receipt:
        """The receipt, once there is one. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        pause = 0.001
        while True:
            raw = self.rpc.call("eth_getTransactionReceipt", tx_hash)
            if raw is not None:
                return _receipt(raw)
            if time.monotonic() > deadline:
                raise TimeoutError(f"no receipt for {tx_hash}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def _reverting(self, method: str, *params: Any) -> Any:
        try:
            return self.rpc.call(method, *params)
        except RpcError as problem:
            data = problem.revert_data
            if data is None:
                raise
            raise Reverted(*decode_error(data)) from problem

    # ---- time (anvil only) -----------------------------------------------------------------

    def mine(self, blocks: int = 1) -> None:
        self.rpc.call("anvil_mine", hex(blocks))

    def travel(self, seconds: int) -> int:
        """Moves the clock forward and mines; returns the new block's time."""
        self.rpc.call("evm_increaseTime", hex(seconds))
        self.rpc.call("evm_mine")
        return self.timestamp()

    def snapshot(self) -> str:
        found: str = self.rpc.call("evm_snapshot")
        return found

    def restore(self, snapshot: str) -> None:
        """Back to a snapshot, which is used up by it. What waits to be mined is dropped: it would
        be mined afterwards."""
        self.rpc.call("anvil_dropAllTransactions")
        if self.rpc.call("evm_revert", snapshot) is not True:
            raise RpcError(0, f"no snapshot {snapshot}")

    @contextlib.contextmanager
    def rollback(self) -> Iterator[None]:
        """Whatever happens inside is undone."""
        self._close_gap()
        snapshot, block = self.snapshot(), self.block_number()
        try:
            yield
        finally:
            self.restore(snapshot)
            _PUT_BACK[self.rpc.url] = block

    def _close_gap(self) -> None:
        """A block that anvil was making while it was put back comes by its old number: where that
        is not the next one, there are none below it, and whoever follows the chain is stuck.
        """
        last = _PUT_BACK.get(self.rpc.url, 0)
        for _ in range(10):
            head = self.block_number()
            if head <= last or self.rpc.call("eth_getBlockByNumber", hex(last + 1), False):
                return
            with contextlib.suppress(RpcError):  # a block came meanwhile
                self.rpc.call("anvil_rollback", head - last)
        raise RpcError(0, f"no block {last + 1}")


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract at an address: `ledger.send(user, "depositFund", value=10**18)`."""

    chain: Chain
    address: str
    artifact: Artifact

    def encode(self, function: str, *args: Any) -> bytes:
        """Calldata."""
        return self.artifact.functions[function].encode(*args)

    def view(
        self, function: str, *args: Any, sender: str | None = None, block: int | str = "latest"
    ) -> Any:
        """Raises Reverted. `sender` matters to the views that depend on msg.sender."""
        data = self.encode(function, *args)
        result = self.chain.call(self.address, data, sender=sender, block=block)
        return self.artifact.functions[function].decode(result)

    def send(
        self, by: LocalAccount, function: str, *args: Any, value: int = 0, gas: int | None = None
    ) -> Receipt:
        """As `Chain.send`."""
        data = self.encode(function, *args)
        return self.chain.send(by, self.address, data, value=value, gas=gas)


def contract(chain: Chain, name: str, address: str) -> Contract:
    """The contract of artifact `name` at `address`."""
    return Contract(chain, checksum(address), load(name))


def decode_log(raw: Mapping[str, Any]) -> Log | None:
    """A raw JSON-RPC log as an event of our contracts, or None.

    The same topic means the same types in all of them; argument names can differ between inference
    and fine-tuning (`ServiceRemoved`), and the first contract that declares the event names them.
    """
    for name in ("LedgerManager", "InferenceServing", "FineTuningServing", "UpgradeableBeacon"):
        event = load(name).events.get(raw["topics"][0] if raw["topics"] else "")
        if event is not None:
            return Log(
                name=event.name,
                address=checksum(raw["address"]),
                args=event.decode(raw["topics"], bytes.fromhex(raw["data"][2:])),
                block=int(raw["blockNumber"], 16),
                index=int(raw["logIndex"], 16),
                tx_hash=raw["transactionHash"],
            )
    return None


def _receipt(raw: Mapping[str, Any]) -> Receipt:
    created = raw.get("contractAddress")
    return Receipt(
        tx_hash=raw["transactionHash"],
        block=int(raw["blockNumber"], 16),
        ok=raw["status"] == "0x1",
        gas_used=int(raw["gasUsed"], 16),
        contract_address=checksum(created) if created else None,
        logs=tuple(log for log in map(decode_log, raw["logs"]) if log is not None),
    )


def _tag(block: int | str) -> str:
    return block if isinstance(block, str) else hex(block)
