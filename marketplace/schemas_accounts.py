"""The JSON shapes of what an address owns in the contracts, and of its movements."""

from __future__ import annotations

from typing import Annotated, Literal

from ninja import Field, Schema

from accounts import history
from marketplace.schemas import Address, Hash, Instant, Neuron, Number, words


class LedgerOut(Schema):
    total: Neuron
    available: Neuron
    additional_info: str


class RefundOut(Schema):
    """`unlocks_at_unix` follows today's lock time of the contract, for old requests too."""

    index: int
    amount: Neuron
    created_at_unix: int
    unlocks_at_unix: int


class DeliverableOut(Schema):
    id: str
    model_root_hash: str
    acknowledged: bool
    settled: bool
    timestamp_unix: int


class _SubAccount(Schema):
    service_name: str
    provider: Address
    balance: Neuron
    pending_refund: Neuron
    nonce: Number
    acknowledged: bool
    additional_info: str
    refunds: list[RefundOut]


class InferenceSubAccount(_SubAccount):
    kind: Literal["inference"]
    generation: Number
    revoked_bitmap: Number


class FineTuningSubAccount(_SubAccount):
    kind: Literal["fine-tuning"]
    deliverables: list[DeliverableOut]


SubAccountOut = Annotated[InferenceSubAccount | FineTuningSubAccount, Field(discriminator="kind")]


class AccountOut(Schema):
    """`ledger` is null for an address without a main account."""

    address: Address
    ledger: LedgerOut | None
    sub_accounts: list[SubAccountOut]


class MovementOut(Schema):
    """A signed change of `available` or of a sub-account; `balance_after` is that balance's new
    value.
    """

    block: int
    at: Instant
    tx_hash: Hash | None
    log_index: int | None
    kind: Annotated[str, words(*history.KINDS)]
    provider: Address | None
    service_name: str | None
    balance: Literal["available", "sub_account"]
    amount: Neuron
    balance_after: Neuron
    source: Literal["event", "transaction", "view"]
