"""What a scenario is made of, and how it looks at the chain."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount

from devnet import accounts, signatures
from devnet.client import Contract, Log, Reverted, contract
from devnet.deploy import Contracts

ONE = 10**18  # neuron in one 0G
HOUR = 3600
# Users 1-4, and four funded accounts that have a role in the demo alone.
USER_INDEXES = (1, 2, 3, 4, 10, 11, 12, 13)
NAMES = {"inference": "inference-v1.0", "fine_tuning": "fine-tuning-v1.0"}
MODELS = ("alpha-7b", "beta-70b", "gamma-vl", "größe-α", "")
SENT_ANYWAY = 0.15  # share of refused calls that are sent as failing transactions
FAILING_GAS = 2_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """One transaction to make."""

    by: LocalAccount
    contract: str  # "ledger", "inference", "fine_tuning" or "puppet"
    function: str
    args: tuple[Any, ...] = ()
    value: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What was done. `error` names the contract's refusal; then `tx_hash` is None unless the
    failing transaction was sent. `timestamp` is that of the block, or of the latest one."""

    number: int
    sender: str
    contract: str
    function: str
    args: tuple[Any, ...]
    value: int
    error: str | None
    error_args: tuple[Any, ...]
    tx_hash: str | None
    block: int
    timestamp: int
    logs: tuple[Log, ...]

    @property
    def ok(self) -> bool:
        return self.error is None


class Base:
    """The people of a scenario and their view of the chain."""

    def __init__(self, rng: random.Random, contracts: Contracts) -> None:
        self.rng = rng
        self.contracts = contracts
        self.users = [accounts.account(i) for i in USER_INDEXES]
        self.providers = [accounts.provider(i + 1) for i in range(accounts.PROVIDERS)]
        self.signers = [accounts.signer(i + 1) for i in range(accounts.PROVIDERS)]
        self.tasks = 0
        self.puppet: Contract | None = None
        self.plan: list[Callable[[], Call | None]] = []  # goes before the menu
        self.domains = {
            "inference": signatures.Domain(contracts.chain.chain_id, contracts.inference.address),
            "fine_tuning": signatures.Domain(
                contracts.chain.chain_id, contracts.fine_tuning.address
            ),
        }

    def contract(self, name: str) -> Contract:
        """A proxy, or the contract wallet of this run, which is deployed when first needed."""
        if name != "puppet":
            found: Contract = getattr(self.contracts, name)
            return found
        if self.puppet is None:
            chain = self.contracts.chain
            address = chain.deploy(accounts.account(USER_INDEXES[-1]), "Puppet")
            self.puppet = contract(chain, "Puppet", address)
        return self.puppet

    def _user(self) -> LocalAccount:
        return self.rng.choice(self.users)

    def _kind(self) -> str:
        return "inference" if self.rng.random() < 0.65 else "fine_tuning"

    def _ledger(self, user: LocalAccount) -> dict[str, Any] | None:
        return self._view("ledger", "getLedger", user.address)

    def _account(self, kind: str, user: str, provider: str) -> dict[str, Any] | None:
        return self._view(kind, "getAccount", user, provider)

    def _view(self, name: str, function: str, *args: Any) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.contract(name).view(function, *args)
        except Reverted:
            return None
        return found

    def _some_account(self, kind: str) -> dict[str, Any] | None:
        """One random existing pair of a serving contract."""
        _, total = self.contract(kind).view("getAllAccounts", 0, 1)
        if not total:
            return None
        page, _ = self.contract(kind).view("getAllAccounts", self.rng.randrange(total), 1)
        found: dict[str, Any] = page[0]
        return found

    def _by_address(self, address: str) -> LocalAccount | None:
        """The key of a user or provider of ours; None on a chain that others use too."""
        known = [*self.users, *self.providers]
        return next((one for one in known if one.address == address), None)

    def _amount(self, whole: int) -> int:
        """Everything, nothing, a part with odd neuron, or more than there is."""
        draw = self.rng.random()
        if draw < 0.15:
            return whole
        if draw < 0.2:
            return 0
        if draw < 0.27:
            return whole + self.rng.randint(1, ONE)
        return self.rng.randint(0, whole)

    def pass_time(self, seconds: int = 0) -> None:
        choices = (60, HOUR, 7 * HOUR, 25 * HOUR)
        self.contracts.chain.travel(seconds or self.rng.choice(choices))
