"""What happens on the chain: the scenario, several transactions per block, a contract wallet,
reorganisations, blocks taken back."""

from __future__ import annotations

import random
from typing import Any

from devnet import accounts
from devnet.client import Contract, Reverted, contract
from devnet.deploy import Deployment, connect
from devnet.rpc import RpcError
from devnet.scenario import Call
from devnet.scenario.world import World

ONE = 10**18
GAS = 3_000_000
WALLET_KEEPER = 14


class Chain:
    """One chain with everybody on it; every method does one thing that may happen."""

    def __init__(self, seed: int, deployment: Deployment, url: str) -> None:
        self.rng = random.Random(f"world {seed}")
        self.contracts = connect(url, deployment)
        self.rpc = self.contracts.chain.rpc
        self.world = World(self.rng, self.contracts)
        self.opening = self.world.opening()
        self.keeper = accounts.account(WALLET_KEEPER)
        self.wallet: Contract | None = None
        #: The highest block that was ever final: nothing below may change. The contracts stay.
        self.final = self.head()
        self.did: list[str] = []

    # --- transactions ----------------------------------------------------------------------------

    def step(self) -> None:
        """One transaction in one block, or a refusal."""
        call = self.opening.pop(0) if self.opening else self.world.next_call()
        if call is not None:
            self.world.perform(0, call, None)
            self.did.append(call.function)

    def crowd(self) -> None:
        """Several transactions in one block; what no longer holds then fails."""
        chosen = [self.world.next_call() for _ in range(self.rng.randint(2, 5))]
        # The contract wallet may have to be deployed first.
        calls = [(self.world.contract(call.contract), call) for call in chosen if call is not None]
        self.rpc.call("evm_setAutomine", False)
        try:
            for target, call in calls:
                self._submit(target, call)
            self.mine()
        finally:
            self.rpc.call("evm_setAutomine", True)
        self.did.append("crowd")

    def _submit(self, target: Contract, call: Call) -> None:
        data = target.encode(call.function, *call.args)
        self.rpc.call(
            "eth_sendTransaction",
            {
                "from": call.by.address,
                "to": target.address,
                "value": hex(call.value),
                "data": "0x" + data.hex(),
                "gas": hex(GAS),
            },
        )

    def through_wallet(self) -> None:
        """A user that is a contract: its transactions name none of ours."""
        chain, ledger = self.contracts.chain, self.contracts.ledger
        if self.wallet is None or not chain.code(self.wallet.address):
            self.wallet = contract(chain, "Puppet", chain.deploy(self.keeper, "Puppet"))
            self._execute(ledger.encode("depositFund"), 50 * ONE)
        provider = self.rng.choice(self.world.providers[:3]).address
        name = self.rng.choice(("inference-v1.0", "fine-tuning-v1.0"))
        deposit = (ledger.encode("depositFund"), self.rng.randint(1, 5) * ONE)
        transfer = (ledger.encode("transferFund", provider, name, self.rng.randint(0, 3 * ONE)), 0)
        retrieve = (ledger.encode("retrieveFund", [provider], name), 0)
        self._execute(*self.rng.choice((deposit, transfer, transfer, retrieve)))
        self.did.append("wallet")

    def _execute(self, data: bytes, value: int) -> None:
        assert self.wallet is not None
        target = self.contracts.ledger.address
        try:
            self.wallet.send(self.keeper, "execute", target, value, data, value=value)
        except Reverted:
            self.did.append("wallet refused")

    # --- blocks ----------------------------------------------------------------------------------

    def mine(self, blocks: int = 1) -> None:
        self.rpc.call("anvil_mine", hex(blocks))

    def idle(self) -> None:
        self.mine(self.rng.choice((1, 1, 3, 10, 40)))

    def head(self) -> int:
        return self.contracts.chain.block_number()

    def reorganise(self) -> None:
        """Replace blocks that are not final by empty ones, or take them back."""
        self._see_final()
        depth = self.rng.randint(0, self.head() - self.final)
        if depth == 0:
            return
        if self.rng.random() < 0.5:
            self.rpc.call("anvil_reorg", depth, [])
            self.did.append(f"reorg {depth}")
        else:
            self.rpc.call("anvil_rollback", depth)
            self.did.append(f"rollback {depth}")
            if self.rng.random() < 0.5:
                self.step()
        self._forget()

    def _forget(self) -> None:
        """The contract wallet of the scenario may be gone."""
        puppet = self.world.puppet
        if puppet is not None and not self.contracts.chain.code(puppet.address):
            self.world.puppet = None

    def _see_final(self) -> None:
        block: Any = self.rpc.call("eth_getBlockByNumber", "finalized", False)
        if block is not None:
            self.final = max(self.final, int(block["number"], 16))

    def act(self, reorganise: float) -> None:
        """Whatever comes next."""
        actions = (
            (70.0, self.step),
            (6.0, self.crowd),
            (6.0, self.through_wallet),
            (6.0, self.idle),
            (reorganise, self.reorganise),
        )
        weights = [weight for weight, _ in actions]
        try:
            self.rng.choices([action for _, action in actions], weights)[0]()
        except RpcError as error:
            self.did.append(f"refused: {error.message[:60]}")
        self._see_final()
