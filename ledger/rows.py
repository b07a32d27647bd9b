"""Between the fold's objects and database rows: both directions, one place. Pure of queries."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

from django.db import models

from ledger import models as tables
from ledger.state import (
    Account,
    Change,
    Deliverable,
    Ledger,
    Movement,
    Place,
    Refund,
    Service,
    Serving,
    Settlement,
    State,
)


@dataclass(frozen=True, slots=True)
class Layer:
    """How one kind of entity is stored: its model, natural key and other columns."""

    model: type[tables.Layered]
    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    values: Callable[[Any], tuple[Any, ...]]

    def entities(self, state: State) -> dict[Any, Any]:
        """The entities that the top layer of `state` changed, by key."""
        own: dict[Any, Any] = getattr(state, self.table).own
        return own

    @property
    def all_columns(self) -> tuple[str, ...]:
        """The columns of `row`; `key` and `pending` together are unique."""
        return (*self.key, "pending", "shadowed", "block", *self.columns)

    def row(self, entity: Any, *, pending: bool) -> tuple[Any, ...]:
        """Database values of `all_columns`."""
        key = [getattr(entity, name) for name in self.key]
        return (*key, pending, False, entity.block, *self.values(entity))


#: The values of several attributes, in order.
_plain: Callable[..., Callable[[Any], tuple[Any, ...]]] = attrgetter


_SERVING = (
    "kind", "version", "service_name", "recommended", "registered_block", "start_block", "owner",
    "lock_time_seconds", "penalty_percentage", "audited",
)  # fmt: skip
_LEDGER = ("exists", "available", "total", "additional_info")
_ACCOUNT = (
    "live", "balance", "pending_refund", "nonce", "acknowledged", "additional_info", "generation",
    "revoked_bitmap",
)  # fmt: skip
_SERVICE = (
    "kind", "removed", "position", "url", "service_type", "model", "verifiability", "input_price",
    "output_price", "additional_info", "updated_at_unix", "price_per_token", "occupied",
    "tee_signer", "tee_signer_acknowledged", "stake", "created_block",
)  # fmt: skip
_account, _service = _plain(*_ACCOUNT), _plain(*_SERVICE)


def dump(value: Any) -> str | None:
    """JSON for the database, None for NULL. (Not orjson: strangers' numbers have 256 bits.)"""
    return None if value is None else _JSON(value)


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def refunds_json(account: Account) -> str | None:
    if not account.refunds:
        return "[]"
    return dump([{"amount": str(r.amount), "created_at": r.created_at} for r in account.refunds])


def deliverables_json(account: Account) -> str | None:
    found = [
        {
            "id": d.id,
            "model_root_hash": d.model_root_hash,
            "acknowledged": d.acknowledged,
            "settled": d.settled,
            "timestamp": d.timestamp,
        }
        for d in account.deliverables
    ]
    return dump(found)


LAYERS = (
    Layer(tables.ServingContract, "servings", ("address",), _SERVING, _plain(*_SERVING)),
    Layer(tables.Ledger, "ledgers", ("user",), _LEDGER, _plain(*_LEDGER)),
    Layer(
        tables.SubAccount,
        "accounts",
        ("serving", "user", "provider"),
        (*_ACCOUNT, "refunds", "deliverables"),
        lambda a: (*_account(a), refunds_json(a), deliverables_json(a)),
    ),
    Layer(
        tables.Service,
        "services",
        ("serving", "provider"),
        (*_SERVICE, "quota", "model_list"),
        lambda s: (*_service(s), dump(s.quota), dump(s.model_list)),
    ),
)

# --- append-only rows ----------------------------------------------------------------------------

PLACE = ("block", "at", "tx_hash", "log_index", "sequence", "pending")
MOVEMENT = (
    "user", "kind", "balance", "serving", "provider", "amount", "balance_after", "pending_change",
    "source",
)  # fmt: skip
SETTLEMENT = ("serving", "provider", "user", "status", "settled", "unsettled")
CHANGE = ("serving", "provider", "change")
APPENDED: tuple[tuple[type[models.Model], tuple[str, ...]], ...] = (
    (tables.Movement, (*PLACE, *MOVEMENT)),
    (tables.Settlement, (*PLACE, *SETTLEMENT)),
    (tables.ServiceChange, (*PLACE, *CHANGE, "before", "after")),
)


@lru_cache(1024)
def _moment(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


def _place(place: Place, pending: bool) -> tuple[Any, ...]:
    block, timestamp, tx_hash, log_index, sequence = place
    return (block, _moment(timestamp), tx_hash, log_index, sequence, pending)


def entry(row: Movement | Settlement, pending: bool) -> tuple[Any, ...]:
    place, *rest = row
    return (*_place(place, pending), *rest)


def change(row: Change, pending: bool) -> tuple[Any, ...]:
    place, serving, provider, change, before, after = row
    return (*_place(place, pending), serving, provider, change, dump(before), dump(after))


# --- back from the database ----------------------------------------------------------------------


def load(*, current: bool = False) -> State:
    """The state of the final rows, or with `current` of the newest ones. One query per table."""
    chosen = {"shadowed": False} if current else {"pending": False}
    state = State()
    for contract in tables.ServingContract.objects.filter(**chosen):
        state.servings.add(contract.address, serving(contract))
    for row in tables.Ledger.objects.filter(**chosen).iterator():
        state.ledgers.add(row.user, ledger(row))
        state.available += row.available
    for held in tables.SubAccount.objects.filter(**chosen).iterator():
        state.accounts.add((held.serving, held.user, held.provider), account(held))
    _load_services(state, chosen)
    return state


def serving(row: tables.ServingContract) -> Serving:
    return Serving(**_values(row, ("address", *_SERVING, "block")))


def ledger(row: tables.Ledger) -> Ledger:
    return Ledger(**_values(row, ("user", *_LEDGER, "block")))


def account(row: tables.SubAccount) -> Account:
    found = Account(**_values(row, ("serving", "user", "provider", *_ACCOUNT, "block")))
    found.refunds = tuple(Refund(int(r["amount"]), r["created_at"]) for r in row.refunds)
    found.deliverables = tuple(Deliverable(**d) for d in row.deliverables)
    return found


def service(row: tables.Service) -> Service:
    found = Service(**_values(row, ("serving", "provider", *_SERVICE, "quota", "block")))
    found.model_list = tuple(row.model_list)
    return found


def _load_services(state: State, chosen: dict[str, bool]) -> None:
    listed: dict[str, list[tuple[int, str]]] = {}
    for row in tables.Service.objects.filter(**chosen).iterator():
        state.services.add((row.serving, row.provider), service(row))
        if not row.removed:
            listed.setdefault(row.serving, []).append((row.position, row.provider))
    for address, order in listed.items():
        contract = state.servings.get(address)
        if contract is not None:
            contract.providers = [provider for _, provider in sorted(order)]


def _values(row: models.Model, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}
