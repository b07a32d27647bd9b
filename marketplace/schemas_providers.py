"""The JSON shapes of what providers earned and of settlement items."""

from __future__ import annotations

import datetime as dt

from ninja import Schema

from marketplace.api_notes import NoteOut
from marketplace.schemas import Address, Hash, Instant, Neuron
from marketplace.schemas_listings import ServiceOut


class ProviderOut(Schema):
    """One provider over all serving contracts; sums in neuron, payers and users are counted once.

    `services`: what it lists now. `deposited`: what lies in sub-accounts for its services. `notes`:
    maintenance and incidents as its page shows them; `/notes` has the past ones too.
    """

    address: Address
    services: list[ServiceOut]
    notes: list[NoteOut]
    stake: Neuron
    users: int
    deposited: Neuron
    payers_30d: int
    earned: Neuron
    earned_24h: Neuron
    earned_30d: Neuron
    unsettled: Neuron


class DayOut(Schema):
    date: dt.date
    amount: Neuron
    settlements: int


class PayerOut(Schema):
    user: Address
    amount: Neuron


class EarningsOut(Schema):
    """`by_service`, `by_day` (UTC, oldest first) and `by_user` each sum to `total`."""

    total: Neuron
    by_service: dict[str, Neuron]
    by_day: list[DayOut]
    by_user: list[PayerOut]


class SettlementOut(Schema):
    block: int
    at: Instant
    tx_hash: Hash | None
    log_index: int | None
    service_name: str
    user: Address
    status: str
    settled: Neuron
    unsettled: Neuron
