"""The JSON shape of how far the index is."""

from __future__ import annotations

from ninja import Schema

from marketplace.schemas import Address, Instant


class ContractOut(Schema):
    address: Address
    role: str
    service_name: str | None
    start_block: int


class ReconciliationOut(Schema):
    """The last comparison with the contracts: at which block, and how many values differed."""

    at: Instant
    block: int
    compared: int
    drift: int


class Status(Schema):
    """How far the index is. `lag_seconds` is the time since we last agreed with the node's head."""

    network: str
    chain_id: int
    head_block: int | None
    indexed_block: int | None
    final_block: int | None
    lag_blocks: int | None
    lag_seconds: int | None
    logs: int
    contracts: list[ContractOut]
    halted: bool
    blocks_per_second: float
    events_per_second: float
    reconciliation: ReconciliationOut | None
