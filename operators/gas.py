"""Gas of settlements: receipts read once and kept, and from how much on a batch pays its gas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import node
from accounts.errors import RpcError
from chain import facts
from chain.errors import Unavailable
from ledger.models import ACCEPTED, Settlement
from operators.earnings import IN_BLOCKS
from operators.models import BatchGas
from operators.period import Period

#: Receipts of one look, and of one request to the node.
BATCH, AT_ONCE = 400, 50
READ_SECONDS = 20.0
#: Measured on the contract's recorded bytecode (contracts.md 12): what a batch costs, and each
#: item of a known user in it.
FIXED_GAS, ITEM_GAS = 56_500, 58_500
SIZES = (1, 5, 10, 25, 50)


# --- reading --------------------------------------------------------------------------------------


def unread(provider: str) -> list[tuple[str, int]]:
    """Final settlement transactions without a known gas, newest first (1 query)."""
    known = BatchGas.objects.filter(tx_hash=OuterRef("tx_hash"))
    rows = Settlement.objects.filter(provider=provider, pending=False, tx_hash__isnull=False)
    rows = rows.filter(~Exists(known)).order_by("-block", "tx_hash")
    found = rows.values_list("tx_hash", "block").distinct()[:BATCH]
    return [(tx_hash, block) for tx_hash, block in found if tx_hash]


def read(provider: str) -> int:
    """Read the receipts of a provider's settlements that are due; returns how many were.

    Raises `accounts.errors.NodeError` when no node answers. A receipt that is not of that block is
    left for another time: the node may be behind.
    """
    wanted = unread(provider)
    done = 0
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        answers = node.call_many(
            [("eth_getTransactionReceipt", [tx_hash]) for tx_hash, _ in part], timeout=READ_SECONDS
        )
        found = [_fact(*due, answer) for due, answer in zip(part, answers, strict=True)]
        rows = [row for row in found if row is not None]
        BatchGas.objects.bulk_create(rows, ignore_conflicts=True)
        done += len(rows)
    return done


def _fact(tx_hash: str, block: int, receipt: Any) -> BatchGas | None:
    if isinstance(receipt, RpcError) or not isinstance(receipt, dict):
        return None
    try:
        if receipt.get("transactionHash") != tx_hash:
            return None
        if facts.quantity(receipt.get("blockNumber")) != block:
            return None
        used = facts.quantity(receipt.get("gasUsed"))
        return BatchGas(
            tx_hash=tx_hash,
            block=block,
            sender=facts.address(receipt.get("from")),
            gas_used=used if used < 2**63 else 0,
            gas_price=facts.quantity(receipt.get("effectiveGasPrice")),
        )
    except Unavailable:
        return None


# --- gas against revenue --------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """A batch of `items`: its gas in neuron, and the mean fee from which it pays for itself."""

    items: int
    cost: int

    @property
    def fee(self) -> int:
        """Neuron per item, rounded up."""
        return -(-self.cost // self.items)


@dataclass(frozen=True)
class Economy:
    """Gas of a period's batches whose receipts were `read`, of `batches` in all.

    `spent` neuron of gas brought `settled` neuron from `paid` accepted items; `losing` batches cost
    more gas than they settled. `price`: neuron per gas of the newest batch, 0 without one.
    """

    batches: int
    read: int
    spent: int
    settled: int
    items: int
    paid: int
    losing: int
    price: int

    @property
    def unread(self) -> int:
        return self.batches - self.read

    @property
    def share(self) -> int | None:
        """Gas in 1/10000 of what was settled; None where nothing was."""
        return self.spent * 10_000 // self.settled if self.settled else None

    @property
    def mean_fee(self) -> int:
        """Neuron that a paid item brought."""
        return self.settled // self.paid if self.paid else 0

    @property
    def sizes(self) -> tuple[Size, ...]:
        """What batches would cost at the newest gas price."""
        return tuple(Size(n, self.price * (FIXED_GAS + ITEM_GAS * n)) for n in SIZES)

    @property
    def from_items(self) -> int | None:
        """The least number of items of the mean fee that pay their gas at the newest price; None
        where no number does (or nothing is known)."""
        over = self.mean_fee - ITEM_GAS * self.price
        if not self.price or over <= 0:
            return None
        least = -(-FIXED_GAS * self.price // over)
        return max(1, least)

    @property
    def sentence(self) -> str:
        """The break-even in one sentence; empty before any receipt was read."""
        if not self.price or not self.paid:
            return ""
        if self.from_items is None:
            return _(
                "At the newest gas price no batch pays its gas with your mean fee per item: let "
                "fees grow longer before you settle."
            )
        if self.from_items > SIZES[-1]:
            return _(
                "At the newest gas price a batch of your mean fee would pay its gas from "
                "%(count)s users on, and the contract takes %(most)s: let fees grow "
                "longer before you settle."
            ) % {"count": f"{self.from_items:,}", "most": SIZES[-1]}
        return ngettext(
            "With your mean fee per item, a batch pays its gas from %(count)s user on at the "
            "newest gas price.",
            "With your mean fee per item, a batch pays its gas from %(count)s users on at the "
            "newest gas price.",
            self.from_items,
        ) % {"count": self.from_items}


_ECONOMY = f"""
WITH batch AS (
    SELECT tx_hash, SUM(settled) AS settled, COUNT(*) AS items,
        COUNT(*) FILTER (WHERE status = ANY(%(accepted)s)) AS paid
    FROM ledger_settlement
    WHERE provider = %(provider)s AND at >= %(start)s AND at < %(end)s AND tx_hash IS NOT NULL
        AND {IN_BLOCKS}
    GROUP BY tx_hash
), known AS (
    SELECT batch.*, gas.block, gas.sender, gas.gas_price, gas.gas_used * gas.gas_price AS cost
    FROM batch JOIN operators_batchgas gas USING (tx_hash)
), own AS (SELECT * FROM known WHERE sender = %(provider)s)
SELECT (SELECT COUNT(*) FROM batch), (SELECT COUNT(*) FROM known), SUM(cost), SUM(settled),
    SUM(items), SUM(paid), COUNT(*) FILTER (WHERE cost > settled),
    (SELECT gas_price FROM own ORDER BY block DESC LIMIT 1)
FROM own
"""


def economy(provider: str, period: Period) -> Economy:
    """Gas against revenue of a period (1 query). Batches that another wallet sent, and paid the gas
    for, count as read and add nothing."""
    given = {
        "provider": provider,
        "accepted": list(ACCEPTED),
        "start": period.start or "-infinity",
        "end": period.end or "infinity",
    }
    with connection.cursor() as cursor:
        cursor.execute(_ECONOMY, given)
        found = [int(value or 0) for value in cursor.fetchone()]
    return Economy(*found)
