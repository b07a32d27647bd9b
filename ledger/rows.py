"""Between the fold's objects and database rows: both directions, one place. Pure of queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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

    def row(self, entity: Any, *, pending: bool) -> tables.Layered:
        key = {name: getattr(entity, name) for name in self.key}
        rest = dict(zip(self.columns, self.values(entity), strict=True))
        return self.model(**key, **rest, block=entity.block, pending=pending)


def _plain(*names: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda entity: tuple(getattr(entity, name) for name in names)


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
    "output_price", "additional_info", "updated_at_unix", "quota", "price_per_token", "occupied",
    "tee_signer", "tee_signer_acknowledged", "stake", "created_block",
)  # fmt: skip


def refunds_json(account: Account) -> list[dict[str, Any]]:
    return [{"amount": str(r.amount), "created_at": r.created_at} for r in account.refunds]


def deliverables_json(account: Account) -> list[dict[str, Any]]:
    return [
        {
            "id": d.id,
            "model_root_hash": d.model_root_hash,
            "acknowledged": d.acknowledged,
            "settled": d.settled,
            "timestamp": d.timestamp,
        }
        for d in account.deliverables
    ]


LAYERS = (
    Layer(tables.ServingContract, "servings", ("address",), _SERVING, _plain(*_SERVING)),
    Layer(tables.Ledger, "ledgers", ("user",), _LEDGER, _plain(*_LEDGER)),
    Layer(
        tables.SubAccount,
        "accounts",
        ("serving", "user", "provider"),
        (*_ACCOUNT, "refunds", "deliverables"),
        lambda a: (*_plain(*_ACCOUNT)(a), refunds_json(a), deliverables_json(a)),
    ),
    Layer(
        tables.Service,
        "services",
        ("serving", "provider"),
        (*_SERVICE, "model_list"),
        lambda s: (*_plain(*_SERVICE)(s), list(s.model_list)),
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


def _place(place: Place, pending: bool) -> tuple[Any, ...]:
    at = datetime.fromtimestamp(place.timestamp, UTC)
    return (place.block, at, place.tx_hash, place.log_index, place.sequence, pending)


def movement(row: Movement, pending: bool) -> tuple[Any, ...]:
    return (*_place(row.place, pending), *_plain(*MOVEMENT)(row))


def settlement(row: Settlement, pending: bool) -> tuple[Any, ...]:
    return (*_place(row.place, pending), *_plain(*SETTLEMENT)(row))


def change(row: Change, pending: bool, dump: Callable[[Any], str]) -> tuple[Any, ...]:
    both = [None if value is None else dump(value) for value in (row.before, row.after)]
    return (*_place(row.place, pending), *_plain(*CHANGE)(row), *both)


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
    found = Service(**_values(row, ("serving", "provider", *_SERVICE, "block")))
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
