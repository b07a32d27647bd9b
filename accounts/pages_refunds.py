"""Pages of money on its way back: the queue of refunds, and collecting all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from accounts.pages_parts import tabs
from accounts.pages_transaction import Link, Review, Transaction
from accounts.refunds import Batch, FullQueue, Reduction, Relocked
from chain.selectors import Freshness


@dataclass(frozen=True)
class RefundRow:
    provider: str
    service_name: str
    amount: int
    created_at_unix: int
    unlocks_at_unix: int
    unlocked: bool
    collect: str
    lead: int = 0

    @property
    def ticks_to(self) -> int:
        """When it unlocks by this machine's clock, by which browsers count down; not before, though
        a lead is rounded up.
        """
        return self.unlocks_at_unix - self.lead + (self.lead > 0)

    @property
    def requested_at(self) -> datetime:
        """By this machine's clock, as pages say how long ago something was."""
        return datetime.fromtimestamp(self.created_at_unix - self.lead, UTC)

    @property
    def unlocks_at(self) -> datetime:
        return datetime.fromtimestamp(self.unlocks_at_unix, UTC)


@dataclass(frozen=True)
class RefundsPage:
    """`unlocked` neuron can be collected now; `full` are pairs that can take no further request."""

    rows: tuple[RefundRow, ...]
    total: int
    unlocked: int
    full: tuple[FullQueue, ...]
    reductions: tuple[Reduction, ...]
    freshness: Freshness
    skip: bool = False
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/refunds"))


@dataclass(frozen=True)
class CollectPage:
    """`review` is of the first batch; the rest follow one by one. `sent` are collections under way
    or done, with what became of each.
    """

    batches: tuple[Batch, ...]
    review: Review | None
    current: Transaction | None
    sent: tuple[Transaction, ...]
    relocked: tuple[Relocked, ...]
    contracts: tuple[str, ...]
    freshness: Freshness
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/refunds"))

    @property
    def collected(self) -> bool:
        """Whether one of those that were sent has brought money back."""
        return any(tx.collected and not tx.brought_nothing for tx in self.sent)

    @property
    def paid(self) -> int:
        return sum(batch.paid for batch in self.batches)
