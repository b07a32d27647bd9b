"""Refunds in the person's words: why one became smaller, when the next can be asked for, and what
collecting would do (contracts.md 6.1-6.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from django.utils.translation import gettext as _

from accounts import links, money, selectors
from accounts.facts import MAX_REFUNDS
from accounts.models import Intent, State, User
from ledger.models import Movement
from ledger.records import Position
from ledger.selectors import newest_first

#: Providers one `retrieveFund` takes (contracts.md 3.1 `MAX_PROVIDERS_PER_BATCH`).
CHUNK = 20
_SHOWN = 20
_RECENT = 10


@dataclass(frozen=True)
class Reduction:
    """A pending refund that became smaller: `amount` neuron are no longer on their way back."""

    at: datetime
    provider: str
    amount: int
    eaten: bool
    tx_hash: str
    pending: bool

    @property
    def why(self) -> str:
        if self.eaten:
            return _(
                "The provider charged, and the rest of your balance there was not enough. The "
                "contract does not ask for what."
            )
        return _("Your top-up there took this money back before it took new money.")


def reductions(user: str) -> tuple[Reduction, ...]:
    """The newest reductions of a wallet's refunds (2 queries).

    A settlement and the cancellation it causes are one log of one transaction, so they share it.
    """
    rows = Movement.objects.filter(user=user, kind="refund_cancelled")
    cancelled = list(newest_first(rows)[:_SHOWN])
    hashes = {row.tx_hash for row in cancelled if row.tx_hash}
    charged = Movement.objects.filter(user=user, kind="settlement", tx_hash__in=hashes)
    eaten = set(charged.values_list("tx_hash", "serving", "provider"))
    return tuple(
        Reduction(
            at=row.at,
            provider=row.provider or "",
            amount=-row.pending_change,
            eaten=(row.tx_hash, row.serving, row.provider) in eaten,
            tx_hash=row.tx_hash or "",
            pending=row.pending,
        )
        for row in cancelled
    )


@dataclass(frozen=True)
class FullQueue:
    """A pair with five open refunds: the contract takes no sixth until one is collected."""

    provider: str
    service_name: str
    next_slot_unix: int

    @property
    def next_slot_at(self) -> datetime:
        return datetime.fromtimestamp(self.next_slot_unix, UTC)


def full_queues(positions: Iterable[Position], now: int) -> tuple[FullQueue, ...]:
    """Pairs that refuse a further request now; `next_slot_unix` is when their first entry
    unlocks.
    """
    return tuple(
        FullQueue(p.provider, p.service_name, min(r.unlocks_at_unix for r in p.refunds))
        for p in positions
        if len(p.refunds) >= MAX_REFUNDS and not p.unlocked(now)
    )


# --- collect all ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Collectable:
    """A pair with something to collect: `paid` neuron now, `relocked` neuron would start a new
    lock.
    """

    provider: str
    service_name: str
    paid: int
    relocked: int


@dataclass(frozen=True)
class Batch:
    """One transaction of collecting: at most 20 pairs of one contract."""

    service_name: str
    items: tuple[Collectable, ...]

    @property
    def paid(self) -> int:
        return sum(item.paid for item in self.items)

    @property
    def relocked(self) -> int:
        return sum(item.relocked for item in self.items)

    @property
    def params(self) -> dict[str, object]:
        return {
            "providers": [item.provider for item in self.items],
            "service_name": self.service_name,
        }


def batches(positions: Iterable[Position], now: int) -> tuple[Batch, ...]:
    """What is left to collect, in the order in which it is sent.

    Only pairs with a matured entry: for any other the call would do nothing but lock what is free.
    A pair that was collected has none any more, so the list itself remembers how far one came.
    """
    by_service: dict[str, list[Collectable]] = {}
    for position in positions:
        paid = position.unlocked(now)
        if paid:
            item = Collectable(
                position.provider, position.service_name, paid, max(0, position.spendable)
            )
            by_service.setdefault(position.service_name, []).append(item)
    return tuple(
        Batch(name, tuple(items[start : start + CHUNK]))
        for name, items in sorted(by_service.items())
        for start in range(0, len(items), CHUNK)
    )


def paid_by(intent: Intent) -> bool:
    """Whether a transaction of ours paid a refund out, by the chain (1 query)."""
    rows = Movement.objects.filter(user=intent.user.address, tx_hash=intent.tx_hash)
    return rows.filter(kind="refund_paid").exists()


_NOT_SENT = (State.PRECHECKED, State.BLOCKED, State.REJECTED)


@dataclass(frozen=True)
class Relocked:
    """Money that a collection of ours locked again and that is still cancellable as one part."""

    provider: str
    service_name: str
    amount: int

    @property
    def keep(self) -> str:
        """The transfer that un-requests exactly this part: it moves no new money (contracts.md
        6.1).
        """
        return links.form("transfer", self, amount=money.exact(self.amount))


def recent_collections(user: User) -> tuple[Intent, ...]:
    """The person's latest `retrieve` transactions that a wallet got, newest first."""
    kept = selectors.intents_of(user).filter(action="retrieve")
    return tuple(kept.exclude(state__in=_NOT_SENT)[:_RECENT])


def relocked(
    user: str, positions: Iterable[Position], collections: Iterable[Intent]
) -> tuple[Relocked, ...]:
    """Parts that `collections` locked again: the newest entry of the pair, still whole (2 queries).

    Cancelling goes from the newest entry backwards, so only the newest can be taken back alone.
    """
    hashes = [intent.tx_hash for intent in collections if intent.tx_hash]
    moved = Movement.objects.filter(user=user, balance="sub_account", tx_hash__in=hashes)
    paid = set(
        moved.filter(kind="refund_paid").values_list("tx_hash", "serving", "provider"),
    )
    found = {
        (row.serving, row.provider, int(row.at.timestamp())): row.pending_change
        for row in moved.filter(kind="refund_requested")
        if (row.tx_hash, row.serving, row.provider) in paid
    }
    return tuple(
        Relocked(position.provider, position.service_name, newest.amount)
        for position in positions
        for newest in position.refunds[-1:]
        if found.get((position.serving, position.provider, newest.created_at_unix)) == newest.amount
    )
