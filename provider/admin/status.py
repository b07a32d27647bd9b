"""What the operator's page shows, gathered; the same as JSON. Amounts are neuron."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from provider.config import Settlement
from provider.debts import Debts
from provider.settle import Settler
from provider.store import Store
from provider.watch import Debtor, View, Watch

SHOWN = 20


@dataclass(frozen=True)
class Place:
    """What this broker is."""

    provider: str
    url: str
    model: str
    kind: str
    signer: str
    chain_id: int
    contract: str
    started: int


@dataclass(frozen=True)
class Sent:
    """One batch: `outcome` in words, `at` and `gas_fee` as far as known."""

    id: int
    at: float
    users: int
    asked: int
    settled: int
    outcome: str
    tx_hash: str
    gas_fee: int | None


@dataclass(frozen=True)
class Status:
    """Everything at one moment."""

    place: Place
    paused: bool
    full: bool
    waiting: str
    view: View
    debtors: dict[str, Debtor]
    reserved: int
    sent: tuple[Sent, ...]
    gas_limits: tuple[int | None, int | None]

    def document(self) -> dict[str, Any]:
        """As JSON; neuron as decimal text, because they outgrow what JSON readers count."""
        found: dict[str, Any] = _texts(asdict(self))
        return found


class Gathering:
    """Gathers a Status; may block for a moment."""

    def __init__(
        self,
        place: Place,
        options: Settlement,
        *,
        watch: Watch,
        settler: Settler,
        debts: Debts,
        store: Store,
    ) -> None:
        self._place = place
        self._limits = options.gas_limit(urgent=False), options.gas_limit(urgent=True)
        self._watch = watch
        self._settler = settler
        self._debts = debts
        self._store = store

    def __call__(self) -> Status:
        return Status(
            place=self._place,
            paused=self._watch.switch.paused,
            full=self._watch.switch.full,
            waiting=self._settler.waiting,
            view=self._watch.view,
            debtors=self._watch.debtors(),
            reserved=self._debts.reserved(),
            sent=_last_batches(self._store),
            gas_limits=self._limits,
        )


def _last_batches(store: Store) -> tuple[Sent, ...]:
    """The newest batches, newest first."""
    found = []
    for id_, at, closed, confirmed, tx_hash, gas in store.rows(
        "SELECT id, at, closed, confirmed, tx_hash, gas_fee FROM batch ORDER BY id DESC LIMIT ?",
        SHOWN,
    ):
        items = store.rows("SELECT total_fee, settled FROM item WHERE batch = ?", id_)
        asked = sum(int(fee) for fee, _ in items)
        settled = sum(int(amount or 0) for _, amount in items)
        if not tx_hash:
            ((tx_hash,),) = store.rows(
                "SELECT tx_hash FROM attempt WHERE batch = ? ORDER BY rowid DESC LIMIT 1", id_
            )
            outcome = "under way" if closed is None else "closed without a receipt"
        elif not items:
            outcome = "nothing was paid"
        else:
            outcome = "paid" if settled == asked else "paid in part"
            outcome += "" if confirmed else ", not final yet"
        found.append(
            Sent(
                id=int(id_),
                at=float(at),
                users=len(items),
                asked=asked,
                settled=settled,
                outcome=outcome,
                tx_hash=str(tx_hash),
                gas_fee=None if gas is None else int(gas),
            )
        )
    return tuple(found)


_NEURON = {
    *("owed", "balance", "pending", "reserved", "asked", "settled"),
    *("gas_fee", "wallet", "gas_price", "gas_limits"),
}


def _texts(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _texts(inner, key) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(inner, name) for inner in value]
    if type(value) is int and name in _NEURON:
        return str(value)
    return value
