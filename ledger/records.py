"""What readers of the ledger get: frozen values, free of the ORM, amounts as int neuron.

Names follow interfaces.md 3, so the JSON API is a plain transcription and pages speak the same
words.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from ledger.models import (
    Kind,
    Ledger,
    Movement,
    Service,
    ServiceChange,
    ServingContract,
    Settlement,
    SubAccount,
)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a list; `count` is the length of the whole list, `number` starts at 1.

    `cursor` is where a history goes on (`ledger.cursors`): None where the list has no cursors, ""
    at its end.
    """

    items: tuple[Item, ...]
    count: int
    number: int
    size: int
    cursor: str | None = None

    @property
    def pages(self) -> int:
        """Number of pages, at least 1 (an empty list has one empty page)."""
        return max(1, -(-self.count // self.size))

    @property
    def next_number(self) -> int | None:
        return self.number + 1 if self.number * self.size < self.count else None

    @property
    def previous_number(self) -> int | None:
        return min(self.number - 1, self.pages) if self.number > 1 else None

    @property
    def first_index(self) -> int:
        """Position of the first shown item, counted from 1; 0 on an empty page."""
        return (self.number - 1) * self.size + 1 if self.items else 0

    @property
    def last_index(self) -> int:
        return self.first_index + len(self.items) - 1 if self.items else 0


@dataclass(frozen=True)
class Contract:
    """A serving contract as registered in the LedgerManager; `lock_time_seconds` applies to all
    its refunds.
    """

    address: str
    kind: str
    service_name: str
    version: str
    recommended: bool
    owner: str
    lock_time_seconds: int
    penalty_percentage: int | None
    registered_block: int
    start_block: int

    @classmethod
    def of(cls, row: ServingContract) -> Contract:
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class Quota:
    """Hardware a fine-tuning provider offers, as the contract holds it."""

    cpu_count: int
    node_memory: int
    gpu_count: int
    node_storage: int
    gpu_type: str

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Quota:
        return cls(
            cpu_count=int(raw.get("cpu_count", 0)),
            node_memory=int(raw.get("node_memory", 0)),
            gpu_count=int(raw.get("gpu_count", 0)),
            node_storage=int(raw.get("node_storage", 0)),
            gpu_type=str(raw.get("gpu_type", "")),
        )


@dataclass(frozen=True)
class Listing:
    """A provider's service in one serving contract. Strings are the provider's own words: hostile
    until escaped.

    Prices are neuron per token (per image for images); `price_per_token` is fine-tuning's.
    `pending` says that the row includes a block that is not final yet.
    """

    kind: str
    provider: str
    service_name: str
    serving: str
    recommended: bool
    service_type: str
    url: str
    model: str
    verifiability: str
    input_price: int
    output_price: int
    additional_info: str
    updated_at_unix: int
    quota: Quota | None
    price_per_token: int
    occupied: bool
    models: tuple[str, ...]
    tee_signer: str
    tee_signer_acknowledged: bool
    stake: int
    created_block: int
    position: int
    removed: bool
    block: int
    pending: bool

    @property
    def is_fine_tuning(self) -> bool:
        return self.kind == Kind.FINE_TUNING

    @classmethod
    def of(cls, row: Service, contracts: Mapping[str, Contract]) -> Listing:
        contract = contracts.get(row.serving)
        return cls(
            kind=row.kind,
            provider=row.provider,
            service_name=contract.service_name if contract else "",
            serving=row.serving,
            recommended=contract.recommended if contract else False,
            service_type=row.service_type,
            url=row.url,
            model=row.model,
            verifiability=row.verifiability,
            input_price=row.input_price,
            output_price=row.output_price,
            additional_info=row.additional_info,
            updated_at_unix=row.updated_at_unix,
            quota=Quota.of(row.quota) if row.quota else None,
            price_per_token=row.price_per_token,
            occupied=row.occupied,
            models=tuple(str(name) for name in row.model_list),
            tee_signer=row.tee_signer,
            tee_signer_acknowledged=row.tee_signer_acknowledged,
            stake=row.stake,
            created_block=row.created_block,
            position=row.position,
            removed=row.removed,
            block=row.block,
            pending=row.pending,
        )


@dataclass(frozen=True)
class Refund:
    """An active refund. `unlocks_at_unix` is derived from TODAY's lock time (contracts.md 6.2):
    never store it.
    """

    index: int
    amount: int
    created_at_unix: int
    unlocks_at_unix: int


@dataclass(frozen=True)
class Deliverable:
    """A fine-tuning result on chain; hostile strings."""

    id: str
    model_root_hash: str
    acknowledged: bool
    settled: bool
    timestamp_unix: int

    @property
    def waits(self) -> bool:
        """Whether its owner's acknowledgement is waited for, and a penalty due without."""
        return not (self.acknowledged or self.settled)


@dataclass(frozen=True)
class Position:
    """What one user holds at one provider in one serving contract (a sub-account).

    `balance` still contains `pending_refund`; `spendable` is what is left of it.
    """

    user: str
    provider: str
    service_name: str
    serving: str
    kind: str
    balance: int
    pending_refund: int
    nonce: int
    acknowledged: bool
    additional_info: str
    generation: int
    revoked_bitmap: int
    refunds: tuple[Refund, ...]
    deliverables: tuple[Deliverable, ...]
    lock_time_seconds: int
    block: int
    pending: bool

    @property
    def spendable(self) -> int:
        return self.balance - self.pending_refund

    @property
    def keeps_results(self) -> bool:
        """Whether results lie there that can be acknowledged still, or whose keys may: there is
        none of one that was settled without an acknowledgement.
        """
        return any(one.acknowledged or not one.settled for one in self.deliverables)

    def unlocked(self, now_unix: int) -> int:
        """Neuron that a `retrieveFund` would pay out at that time (the contract compares
        inclusively).
        """
        return sum(refund.amount for refund in self.refunds if refund.unlocks_at_unix <= now_unix)

    @classmethod
    def of(cls, row: SubAccount, contracts: Mapping[str, Contract]) -> Position:
        contract = contracts.get(row.serving)
        lock = contract.lock_time_seconds if contract else 0
        return cls(
            user=row.user,
            provider=row.provider,
            service_name=contract.service_name if contract else "",
            serving=row.serving,
            kind=contract.kind if contract else "",
            balance=row.balance,
            pending_refund=row.pending_refund,
            nonce=row.nonce,
            acknowledged=row.acknowledged,
            additional_info=row.additional_info,
            generation=row.generation,
            revoked_bitmap=row.revoked_bitmap,
            refunds=tuple(
                Refund(index, int(raw["amount"]), raw["created_at"], raw["created_at"] + lock)
                for index, raw in enumerate(row.refunds)
            ),
            deliverables=tuple(
                Deliverable(
                    raw["id"],
                    raw["model_root_hash"],
                    raw["acknowledged"],
                    raw["settled"],
                    raw["timestamp"],
                )
                for raw in row.deliverables
            ),
            lock_time_seconds=lock,
            block=row.block,
            pending=row.pending,
        )


@dataclass(frozen=True)
class Purse:
    """A user's main account in the LedgerManager; `locked` is what lies in sub-accounts."""

    total: int
    available: int
    additional_info: str
    block: int
    pending: bool

    @property
    def locked(self) -> int:
        return self.total - self.available

    @classmethod
    def of(cls, row: Ledger) -> Purse:
        return cls(row.total, row.available, row.additional_info, row.block, row.pending)


@dataclass(frozen=True)
class Account:
    """All that an address owns in the contracts; `ledger` is None where it has no main account."""

    address: str
    ledger: Purse | None
    positions: tuple[Position, ...]

    @property
    def refunding(self) -> int:
        return sum(position.pending_refund for position in self.positions)


@dataclass(frozen=True)
class MovementEntry:
    """A signed change of the balance named by `balance` (`available` or `sub_account`).
    `pending_change` is that of the sub-account's open refunds, in neuron: a request for a refund
    changes nothing else.
    """

    block: int
    at: dt.datetime
    tx_hash: str | None
    log_index: int | None
    kind: str
    provider: str | None
    service_name: str | None
    balance: str
    amount: int
    balance_after: int
    source: str
    pending: bool
    pending_change: int

    @classmethod
    def of(cls, row: Movement, contracts: Mapping[str, Contract]) -> MovementEntry:
        contract = contracts.get(row.serving) if row.serving else None
        return cls(
            block=row.block,
            at=row.at,
            tx_hash=row.tx_hash,
            log_index=row.log_index,
            kind=row.kind,
            provider=row.provider,
            service_name=contract.service_name if contract else None,
            balance=row.balance,
            amount=row.amount,
            balance_after=row.balance_after,
            source=row.source,
            pending=row.pending,
            pending_change=row.pending_change,
        )


@dataclass(frozen=True)
class SettlementEntry:
    """One settlement item: what was paid and what was not."""

    block: int
    at: dt.datetime
    tx_hash: str | None
    log_index: int | None
    provider: str
    service_name: str
    user: str
    status: str
    settled: int
    unsettled: int
    pending: bool

    @classmethod
    def of(cls, row: Settlement, contracts: Mapping[str, Contract]) -> SettlementEntry:
        contract = contracts.get(row.serving)
        return cls(
            block=row.block,
            at=row.at,
            tx_hash=row.tx_hash,
            log_index=row.log_index,
            provider=row.provider,
            service_name=contract.service_name if contract else "",
            user=row.user,
            status=row.status,
            settled=row.settled,
            unsettled=row.unsettled,
            pending=row.pending,
        )


@dataclass(frozen=True)
class ChangeEntry:
    """One on-chain change of a listing; `before` and `after` hold the provider's own words:
    hostile.
    """

    block: int
    at: dt.datetime
    tx_hash: str | None
    log_index: int | None
    kind: str
    provider: str
    service_name: str
    recommended: bool
    change: str
    before: Any
    after: Any
    pending: bool

    @classmethod
    def of(cls, row: ServiceChange, contracts: Mapping[str, Contract]) -> ChangeEntry:
        contract = contracts.get(row.serving)
        return cls(
            block=row.block,
            at=row.at,
            tx_hash=row.tx_hash,
            log_index=row.log_index,
            kind=contract.kind if contract else "",
            provider=row.provider,
            service_name=contract.service_name if contract else "",
            recommended=contract is None or contract.recommended,
            change=row.change,
            before=row.before,
            after=row.after,
            pending=row.pending,
        )
