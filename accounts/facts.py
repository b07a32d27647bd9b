"""What the contracts say about one wallet at one block: the whole input of a preview. Pure data,
amounts in neuron.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protocol import abi

INFERENCE = abi.INFERENCE_SERVING
FINE_TUNING = abi.FINE_TUNING_SERVING
#: Active refund entries that a pair may have (contracts.md 6.2).
MAX_REFUNDS = 5


@dataclass(frozen=True)
class Refund:
    """An active refund entry; it unlocks at `created_at` + the contract's current lock time
    (contracts.md 6.2).
    """

    amount: int
    created_at: int


@dataclass(frozen=True)
class Deliverable:
    id: str
    acknowledged: bool
    settled: bool


@dataclass(frozen=True)
class SubAccount:
    """What the wallet holds at one provider; `balance` includes `pending`, refunds are oldest
    first.
    """

    balance: int
    pending: int
    refunds: tuple[Refund, ...] = ()
    acknowledged: bool = False
    generation: int = 0
    revoked_bitmap: int = 0
    deliverables: tuple[Deliverable, ...] = ()

    @property
    def free(self) -> int:
        return self.balance - self.pending


@dataclass(frozen=True)
class Purse:
    """The main account in the LedgerManager."""

    available: int
    total: int


@dataclass(frozen=True)
class Limits:
    """Read from the LedgerManager, because they differ between networks and releases (contracts.md
    1.1, 9).
    """

    min_account: int
    min_transfer: int
    max_batch: int
    max_pairs: int


@dataclass(frozen=True)
class Serving:
    """A registered serving contract; `contract` is the ABI it speaks, "" where we do not know its
    type.
    """

    address: str
    contract: str
    name: str
    recommended: bool
    lock_time: int = 0
    min_stake: int = 0


@dataclass(frozen=True)
class Listing:
    """A provider's service: which key signs its answers, and whether the contract's owner
    acknowledged that key; `fields` as the contract's view names them.
    """

    signer: str
    owner_acknowledged: bool
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Facts:
    """Everything a plan may look at, all of one block; `mined` is that block's second, `timestamp`
    the earliest one by which what is sent now is judged (`clock.judged_at`).

    `accounts` and `listings` hold the providers the action names (None = no such pair, no such
    service); `refunding` is the sum of pending refunds over all of the wallet's sub-accounts,
    `pairs` the number of providers ever paired in the target serving contract, `stake` what the
    wallet itself staked there.
    """

    block: int
    timestamp: int
    sender: str
    wallet: int
    gas_price: int
    next_nonce: int
    ledger: str
    limits: Limits
    purse: Purse | None
    servings: tuple[Serving, ...]
    serving: Serving | None = None
    refunding: int = 0
    accounts: Mapping[str, SubAccount | None] = field(default_factory=dict)
    listings: Mapping[str, Listing | None] = field(default_factory=dict)
    pairs: int = 0
    recipient: Purse | None = None
    stake: int = 0
    #: The wallet is a contract: it sends transactions and signs no provider key.
    contract_wallet: bool = False
    mined: int = 0

    @property
    def available(self) -> int:
        return self.purse.available if self.purse else 0

    @property
    def total(self) -> int:
        return self.purse.total if self.purse else 0
