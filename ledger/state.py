"""What the fold works on: the contracts' state as plain objects, in layers. Pure.

A `State` holds everything folded so far. `overlay()` gives a layer on top of it that copies an
entity before the first change, so that folding can be thrown away (an exception, a reorganised
block) or absorbed (blocks that became final). All amounts are int neuron, times unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from protocol.abi import ZERO_ADDRESS


class Refund(NamedTuple):
    """An active refund entry; it unlocks at created_at + the serving contract's CURRENT lock."""

    amount: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Deliverable:
    id: str
    model_root_hash: str
    acknowledged: bool
    settled: bool
    timestamp: int


class Entity(Protocol):
    block: int

    def copy(self) -> Self: ...


@dataclass(slots=True)
class Serving:
    """A serving contract; `providers` lists the live services in the contract's array order."""

    address: str
    kind: str
    version: str
    service_name: str
    registered_block: int
    start_block: int
    block: int
    recommended: bool = False
    owner: str = ""
    lock_time_seconds: int = 0
    penalty_percentage: int | None = None
    #: Runs code of the audit release or later (contracts.md 9), as its logs have shown.
    audited: bool = False
    providers: list[str] = field(default_factory=list)

    def copy(self) -> Serving:
        return replace(self, providers=list(self.providers))


@dataclass(slots=True)
class Ledger:
    user: str
    block: int
    exists: bool = True
    available: int = 0
    total: int = 0
    additional_info: str = ""

    def copy(self) -> Ledger:
        return replace(self)


@dataclass(slots=True)
class Account:
    """A sub-account; `balance` includes `pending_refund`."""

    serving: str
    user: str
    provider: str
    block: int
    live: bool = False
    balance: int = 0
    pending_refund: int = 0
    refunds: tuple[Refund, ...] = ()
    nonce: int = 0
    acknowledged: bool = False
    additional_info: str = ""
    generation: int = 0
    revoked_bitmap: int = 0
    deliverables: tuple[Deliverable, ...] = ()

    def copy(self) -> Account:
        return replace(self)


@dataclass(slots=True)
class Service:
    """A listing. `removed` also while a stake is paid but the listing not yet made."""

    serving: str
    provider: str
    kind: str
    created_block: int
    block: int
    removed: bool = True
    position: int = 0
    url: str = ""
    service_type: str = ""
    model: str = ""
    verifiability: str = ""
    input_price: int = 0
    output_price: int = 0
    additional_info: str = ""
    updated_at_unix: int = 0
    quota: dict[str, Any] | None = None
    price_per_token: int = 0
    occupied: bool = False
    model_list: tuple[str, ...] = ()
    tee_signer: str = ZERO_ADDRESS
    tee_signer_acknowledged: bool = False
    stake: int = 0

    def copy(self) -> Service:
        return replace(self)


# --- rows that only get added, in the order of their columns (ledger.rows) ------------------------
# (Tuples, not dataclasses: a back-fill makes millions.)


class Place(NamedTuple):
    """Where on the chain a row comes from; `sequence` orders the rows of one block."""

    block: int
    timestamp: int
    tx_hash: str | None
    log_index: int | None
    sequence: int


class Movement(NamedTuple):
    place: Place
    user: str
    kind: str
    balance: str
    serving: str | None
    provider: str | None
    amount: int
    balance_after: int
    pending_change: int
    source: str


class Settlement(NamedTuple):
    place: Place
    serving: str
    provider: str
    user: str
    status: str
    settled: int
    unsettled: int


class Change(NamedTuple):
    place: Place
    serving: str
    provider: str
    change: str
    before: Any
    after: Any


# --- layers --------------------------------------------------------------------------------------

K = TypeVar("K")
V = TypeVar("V", bound=Entity)


class Table(Generic[K, V]):
    """Entities by key, on top of an optional lower layer that is never changed."""

    def __init__(self, base: Table[K, V] | None = None) -> None:
        self.base = base
        self.own: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The entity, to read only."""
        layer: Table[K, V] | None = self
        while layer is not None:
            if (found := layer.own.get(key)) is not None:
                return found
            layer = layer.base
        return None

    def edit(self, key: K, block: int) -> V | None:
        """The entity, to change in this layer; `block` becomes its last change."""
        found = self.own.get(key)
        if found is None and self.base is not None and (below := self.base.get(key)) is not None:
            found = self.own[key] = below.copy()
        if found is not None:
            found.block = block
        return found

    def add(self, key: K, value: V) -> V:
        self.own[key] = value
        return value

    def keys(self) -> set[K]:
        return set(self.own) | (self.base.keys() if self.base is not None else set())

    def values(self) -> Iterator[V]:
        """Every entity, the newest layer's form of it."""
        yield from self.own.values()
        if self.base is not None:
            yield from (v for v in self.base.values() if self.key_of(v) not in self.own)

    def key_of(self, value: V) -> Any:
        raise NotImplementedError

    def absorb(self, above: Table[K, V]) -> None:
        self.own.update(above.own)


class Servings(Table[str, Serving]):
    def key_of(self, value: Serving) -> str:
        return value.address


class Ledgers(Table[str, Ledger]):
    def key_of(self, value: Ledger) -> str:
        return value.user


class Accounts(Table[tuple[str, str, str], Account]):
    def key_of(self, value: Account) -> tuple[str, str, str]:
        return (value.serving, value.user, value.provider)


class Services(Table[tuple[str, str], Service]):
    def key_of(self, value: Service) -> tuple[str, str]:
        return (value.serving, value.provider)


class State:
    """Everything folded so far, or one layer on top of it with the rows that layer adds.

    `available` is the sum of all ledgers' available balances; `surplus` is what the ledger
    contract's native balance holds above it (forced in by selfdestruct or block rewards).
    """

    def __init__(self, base: State | None = None) -> None:
        self.servings: Servings = Servings(base.servings if base else None)
        self.ledgers: Ledgers = Ledgers(base.ledgers if base else None)
        self.accounts: Accounts = Accounts(base.accounts if base else None)
        self.services: Services = Services(base.services if base else None)
        self.available: int = base.available if base else 0
        self.surplus: int = base.surplus if base else 0
        self.movements: list[Movement] = []
        self.settlements: list[Settlement] = []
        self.changes: list[Change] = []

    def overlay(self) -> State:
        return State(self)

    def absorb(self, above: State) -> None:
        """Take over a layer made by `overlay()`; the rows it added are the caller's to store."""
        self.servings.absorb(above.servings)
        self.ledgers.absorb(above.ledgers)
        self.accounts.absorb(above.accounts)
        self.services.absorb(above.services)
        self.available, self.surplus = above.available, above.surplus

    @property
    def expected_balance(self) -> int:
        """What the ledger contract's native balance must be (contracts.md 2)."""
        return self.available + self.surplus
