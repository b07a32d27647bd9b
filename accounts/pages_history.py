"""Pages of what was: transactions and movements, the statement of a month, spend."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from accounts.analytics import Runway, Spending
from accounts.history import Filter, Statement
from accounts.pages_parts import MovementRow, Option, Pager, tabs
from accounts.pages_transaction import Link, Transaction
from chain.selectors import Freshness


@dataclass(frozen=True)
class StatementPage:
    """A month's statement and the way to the others."""

    statement: Statement
    months: tuple[Link, ...]
    address: str
    freshness: Freshness
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/transactions"))


@dataclass(frozen=True)
class RunwayRow:
    runway: Runway
    empty_on: date | None
    top_up: str


@dataclass(frozen=True)
class AnalyticsPage:
    """Spend inside a window, in three cuts, and how long the rest lasts."""

    spending: Spending
    windows: tuple[Link, ...]
    runways: tuple[RunwayRow, ...]
    freshness: Freshness
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/analytics"))

    @property
    def everything(self) -> bool:
        """Whether the window is the widest."""
        return self.windows[-1].current


@dataclass(frozen=True)
class TransactionsPage:
    sent: tuple[Transaction, ...]
    sent_pager: Pager
    movements: tuple[MovementRow, ...]
    movements_pager: Pager
    address: str
    filter: Filter
    kinds: tuple[Option, ...]
    balances: tuple[Option, ...]
    providers: tuple[Option, ...]
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/transactions"))

    @property
    def export(self) -> str:
        """The file with what the filter shows."""
        query = self.filter.query()
        return "/account/transactions.csv" + (f"?{query}" if query else "")


@dataclass(frozen=True)
class TransactionPage:
    tx: Transaction
    contracts: tuple[str, ...]
