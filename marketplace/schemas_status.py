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


class PartOut(Schema):
    """A part of this site. `state` is up, degraded or down, null where nobody looked lately;
    `not_down` the share of looks of the last 90 days in 1/10000, null without any."""

    name: str
    label: str
    state: str | None
    not_down: int | None
    looks: int


class UpdateOut(Schema):
    at: Instant
    text: str


class AnnouncementOut(Schema):
    """An incident or a maintenance of this site: `state` is planned, open or over."""

    id: int
    kind: str
    title: str
    state: str
    starts_at: Instant
    ends_at: Instant | None
    updates: list[UpdateOut]


class ExchangeRateOut(Schema):
    """What 1 0G cost in US dollars (a decimal) by the word of the host `source`, at that moment."""

    source: str
    usd: str
    at: Instant


class Status(Schema):
    """How far the index is, and how this site is. `lag_seconds` is the time since we last agreed
    with the node's head; announcements are those of the last 90 days: what is open, then what is
    planned, then what is over, each newest first; `exchange_rate` is null where no source is named
    or it was silent for a day."""

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
    version: str
    parts: list[PartOut]
    announcements: list[AnnouncementOut]
    exchange_rate: ExchangeRateOut | None
