"""The settlement ledger: one row per transaction, the items in it, and sums that close."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Count, IntegerField, Max, Q, QuerySet, Sum
from django.db.models.functions import Cast
from django.utils.translation import gettext_noop

from ledger import selectors
from ledger.models import ACCEPTED, IN_PART, Settlement
from ledger.records import Contract, Page, SettlementEntry
from operators import reasons
from operators.earnings import Epochs, Sums, settled_in
from operators.models import BatchGas
from operators.period import Period
from operators.reasons import Outcome, Reason

PAGE_SIZE = 25
#: Nobody turns more pages than that, and no database has to.
MOST_PAGES = 400
#: A transaction holds 50 items at most (contracts.md 6.4); one that calls the contract several
#: times may hold more.
MOST_ITEMS = 500

_PAID = Q(status__in=ACCEPTED)
#: Groups of statuses as a URL names them.
GROUPS: Mapping[str, tuple[str, Q]] = {
    "full": (gettext_noop("Paid in full"), _PAID & ~Q(status__in=IN_PART)),
    "part": (gettext_noop("Paid in part"), _PAID & Q(status__in=IN_PART)),
    "refused": (gettext_noop("Refused or abandoned"), ~_PAID),
}


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see of their own settlements. `service`: a service name, `status`: a
    key of `GROUPS` or one status, `user`: EIP-55; each may be ""."""

    period: Period
    service: str = ""
    status: str = ""
    user: str = ""
    page: int = 1

    @classmethod
    def parse(cls, given: Mapping[str, str], today: dt.date, page: int = 1) -> Asked:
        """Never an error: what makes no sense was not asked for."""
        status, service = given.get("status", ""), given.get("service", "")
        return cls(
            Period.parse(given, today),
            service=service if len(service) <= 100 and service.isprintable() else "",
            status=status if status in GROUPS or status in reasons.STATUSES else "",
            user=selectors.address_of(given.get("user", "")) or "",
            page=min(page, MOST_PAGES),
        )

    @property
    def narrows(self) -> bool:
        """Some items of the period are left out."""
        return bool(self.service or self.status or self.user)

    def query(self, **changed: object) -> str:
        """The same as a query string, with some fields changed."""
        mine = {"service": self.service, "status": self.status, "user": self.user}
        return self.period.query(**{**mine, **changed})

    def rows(self, provider: str, known: Mapping[str, Contract]) -> QuerySet[Settlement]:
        """The provider's items that were asked for, in no order."""
        return settled_in(provider, self.period).filter(self._where(known))

    def _where(self, known: Mapping[str, Contract]) -> Q:
        found = Q()
        if self.service:
            found &= Q(serving__in=[a for a, c in known.items() if c.service_name == self.service])
        if self.status:
            found &= GROUPS[self.status][1] if self.status in GROUPS else Q(status=self.status)
        if self.user:
            found &= Q(user=self.user)
        return found


# --- batches --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gas:
    """`cost` neuron of gas, None while the receipt was not read; `own`: paid by the provider's
    wallet. `used` gas units at `price` neuron each."""

    used: int | None = None
    price: int | None = None
    own: bool = True

    @property
    def cost(self) -> int | None:
        return None if self.used is None or self.price is None else self.used * self.price


@dataclass(frozen=True)
class Batch:
    """One settlement transaction. Amounts in neuron. `penalties`: items of which the log says what
    was paid alone; `pending`: its block is not final yet."""

    tx_hash: str
    block: int
    at: dt.datetime
    service_name: str
    users: int
    items: int
    settled: int
    unsettled: int
    penalties: int
    outcome: Outcome
    pending: bool
    gas: Gas

    @property
    def requested(self) -> int | None:
        """None where nobody knows."""
        return None if self.penalties else self.settled + self.unsettled

    @property
    def collected(self) -> int | None:
        """Settled in 1/10000 of what was asked for; None where nothing was, or nobody knows."""
        return self.settled * 10_000 // self.requested if self.requested else None

    @property
    def net(self) -> int | None:
        """What is left of the settled fees after the gas."""
        return None if self.gas.cost is None else self.settled - self.gas.cost

    @property
    def path(self) -> str:
        return f"/operator/settlements/{self.tx_hash}"


def batches(provider: str, asked: Asked, known: Mapping[str, Contract]) -> Page[Batch]:
    """One page of transactions, newest first (3 queries). Items of a transaction that the filters
    leave out are left out of its sums."""
    groups = _grouped(asked.rows(provider, known))
    found = selectors.paginate(groups, asked.page, PAGE_SIZE, dict)
    gas = gas_of(provider, [str(row["tx_hash"]) for row in found.items])
    return Page(
        tuple(_batch(row, known, gas) for row in found.items), found.count, found.number, found.size
    )


def _grouped(rows: QuerySet[Settlement]) -> QuerySet[Any, Any]:
    """Sums by transaction, newest first."""
    return (
        rows.values("block", "tx_hash")
        .annotate(
            last=Max("sequence"),
            time=Max("at"),
            serving=Max("serving"),
            users=Count("user", distinct=True),
            items=Count("pk"),
            paid=Sum("settled"),
            missed=Sum("unsettled"),
            open=Max(Cast("pending", IntegerField())),
            **{
                _column(status): Count("pk", filter=Q(status=status)) for status in reasons.STATUSES
            },
        )
        .order_by("-block", "-last")
    )


def bounded(found: Page[Batch]) -> Page[Batch]:
    """The page with no more pages after it than anybody may turn."""
    return replace(found, count=min(found.count, MOST_PAGES * found.size))


def sums(provider: str, asked: Asked, known: Mapping[str, Contract]) -> Sums:
    """Of everything that was asked for, on all pages (1 query)."""
    found = asked.rows(provider, known).aggregate(
        earned=Sum("settled"), missed=Sum("unsettled"), n=Count("pk"), ok=Count("pk", filter=_PAID)
    )
    return Sums(int(found["earned"] or 0), int(found["missed"] or 0), found["n"], found["ok"])


def _column(status: str) -> str:
    return f"n_{status}"


def _batch(row: dict[str, Any], known: Mapping[str, Contract], gas: Mapping[str, Gas]) -> Batch:
    contract = known.get(row["serving"])
    counts = [(status, row[_column(status)]) for status in reasons.STATUSES]
    unknown = row["items"] - sum(number for _, number in counts)
    tx_hash = row["tx_hash"] or ""
    return Batch(
        tx_hash=tx_hash,
        block=row["block"],
        at=row["time"],
        service_name=contract.service_name if contract else "",
        users=row["users"],
        items=row["items"],
        settled=int(row["paid"]),
        unsettled=int(row["missed"]),
        penalties=row[_column("penalty")],
        outcome=reasons.outcome([*counts, ("unknown", unknown)]),
        pending=bool(row["open"]),
        gas=gas.get(tx_hash, Gas()),
    )


def gas_of(provider: str, hashes: list[str]) -> dict[str, Gas]:
    """What is known of the gas of transactions (1 query)."""
    rows = BatchGas.objects.filter(tx_hash__in=hashes)
    return {row.tx_hash: Gas(row.gas_used, row.gas_price, row.sender == provider) for row in rows}


# --- one transaction ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One item; `id` never changes."""

    id: str
    entry: SettlementEntry
    reason: Reason
    model: str

    @property
    def requested(self) -> int | None:
        """None where the log does not say it."""
        known = self.entry.status != "penalty"
        return self.entry.settled + self.entry.unsettled if known else None


@dataclass(frozen=True)
class Opened:
    """A transaction, and its items in the order of the contract: the first `MOST_ITEMS`."""

    batch: Batch
    lines: tuple[Line, ...]


def opened(provider: str, tx_hash: str, known: Mapping[str, Contract]) -> Opened | None:
    """One of the provider's own transactions; None for anybody else's (6 queries)."""
    rows = Settlement.objects.filter(provider=provider, tx_hash=tx_hash)
    whole = _grouped(rows).first()
    if whole is None:
        return None
    shown = rows.filter(block=whole["block"]).order_by("sequence", "pk")[:MOST_ITEMS]
    epochs = Epochs.of(provider)
    return Opened(
        _batch(whole, known, gas_of(provider, [tx_hash])),
        tuple(line(row, known, epochs) for row in shown),
    )


def line(row: Settlement, known: Mapping[str, Contract], epochs: Epochs) -> Line:
    """An item with its words and the model its listing named at that place."""
    return Line(
        id=f"{row.tx_hash}-{row.log_index}",
        entry=SettlementEntry.of(row, known),
        reason=reasons.of(row.status),
        model=epochs.model(row.serving, row.block, row.sequence),
    )


# --- why unpaid -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unpaid:
    """Items of one status that paid less than was asked: how many, of how many users, and `amount`
    neuron that is missing."""

    status: str
    reason: Reason
    items: int
    users: int
    amount: int


def unpaid(provider: str, period: Period) -> tuple[Unpaid, ...]:
    """Why fees of a period were not collected, the largest amount first (1 query)."""
    rows = settled_in(provider, period).exclude(status__in=("success", "acknowledged"))
    groups = rows.values("status").annotate(
        n=Count("pk"), who=Count("user", distinct=True), missed=Sum("unsettled")
    )
    found = (
        Unpaid(row["status"], reasons.of(row["status"]), row["n"], row["who"], int(row["missed"]))
        for row in groups.order_by()
    )
    return tuple(sorted(found, key=lambda one: (-one.amount, -one.items, one.status)))
