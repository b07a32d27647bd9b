"""The books against the chain: what our rows say was earned, and what the contracts' logs say was
paid.

Three sources that are read apart: settlement items (`TEESettlementResult`, `FeesSettled`), the
charges of sub-accounts (`BalanceUpdated`), and the LedgerManager's own `FundSpent`, taken from the
stored logs as the node gave them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count, Q, Sum

from ledger.models import ACCEPTED, Movement, Settlement
from operators.earnings import IN_BLOCKS
from operators.period import Period
from protocol import events
from protocol.addresses import checksum

#: Logs of so many items are added up while somebody waits; of more the page says so.
MOST_ITEMS = 20_000


@dataclass(frozen=True)
class Books:
    """`opening` + `settled` = `closing`, neuron, of final blocks up to `block`. `charged_before`
    and `charged` are the same read from sub-accounts. `logged` is the period read from `FundSpent`,
    None where there are too many items; `unlogged` was settled in blocks of older code, which logs
    none (contracts.md 9). `pending` was settled in blocks that are not final yet.
    """

    block: int
    opening: int
    settled: int
    items: int
    charged_before: int
    charged: int
    logged: int | None
    unlogged: int
    pending: int

    @property
    def closing(self) -> int:
        return self.opening + self.settled

    @property
    def agrees(self) -> bool:
        """All sources say the same, to the neuron."""
        of_logs = self.logged is None or self.logged + self.unlogged == self.settled
        return (self.charged_before, self.charged) == (self.opening, self.settled) and of_logs


def books(provider: str, period: Period, final_block: int) -> Books:
    """The books of a period (3 queries, 4 where something was settled without a log), none of which
    sees a block after `final_block`, whichever becomes final between two of them."""
    during = period.where()
    before = period.before()
    none = Q(pk__isnull=True)
    rows = Settlement.objects.filter(provider=provider, status__in=ACCEPTED)
    final = Q(pending=False, block__lte=final_block)
    found = rows.aggregate(
        opening=Sum("settled", filter=final & (before or none)),
        paid=Sum("settled", filter=final & during),
        items=Count("pk", filter=final & during),
        open=Sum("settled", filter=Q(block__gt=final_block) & during),
    )
    moves = Movement.objects.filter(
        final, provider=provider, kind="settlement", balance="sub_account"
    )
    moved = moves.aggregate(
        before=Sum("amount", filter=before or none), during=Sum("amount", filter=during)
    )
    settled = int(found["paid"] or 0)
    logged, unlogged = (None, 0)
    if found["items"] <= MOST_ITEMS:
        logged, unlogged = _spent(provider, period, final_block)
    return Books(
        block=final_block,
        opening=int(found["opening"] or 0),
        settled=settled,
        items=found["items"],
        charged_before=-int(moved["before"] or 0),
        charged=-int(moved["during"] or 0),
        logged=logged,
        unlogged=unlogged,
        pending=int(found["open"] or 0),
    )


# Blocks in which either side knows a payment of the period. In each, every charge of one of the
# provider's accounts (BalanceUpdated, directly after FundSpent of the same user by that contract).
_SPENT = f"""
WITH paid AS (
    SELECT block, SUM(settled) AS settled FROM ledger_settlement
    WHERE provider = %(provider)s AND NOT pending AND status = ANY(%(accepted)s)
        AND block <= %(final)s AND at >= %(start)s AND at < %(end)s AND {IN_BLOCKS} GROUP BY block
), here AS (
    SELECT block FROM paid UNION
    SELECT block FROM ledger_movement WHERE provider = %(provider)s AND NOT pending
        AND block <= %(final)s AND kind = 'settlement' AND at >= %(start)s AND at < %(end)s
        AND {IN_BLOCKS}
)
SELECT here.block, COALESCE(paid.settled, 0), ARRAY(
    SELECT spent.data FROM chain_rawlog updated JOIN chain_rawlog spent
        ON spent.block_number = updated.block_number AND spent.block_hash = updated.block_hash
        AND spent.log_index = updated.log_index - 1
    WHERE updated.block_number = here.block AND updated.topics->>0 = %(updated)s
        AND updated.topics->>2 = %(topic)s AND spent.address = %(ledger)s
        AND spent.topics->>0 = %(spent)s AND spent.topics->>1 = updated.topics->>1
        AND RIGHT(spent.topics->>2, 40) = LOWER(RIGHT(updated.address, 40))
) FROM here LEFT JOIN paid USING (block)
"""


def _spent(provider: str, period: Period, final_block: int) -> tuple[int, int]:
    """Neuron that `FundSpent` moved to the provider, and what was settled without one before the
    LedgerManager's first: its code logs each one ever since."""
    given: dict[str, Any] = {
        "provider": provider,
        "final": final_block,
        "accepted": list(ACCEPTED),
        "start": period.start or "-infinity",
        "end": period.end or "infinity",
        "updated": _topic(events.BalanceUpdated),
        "spent": _topic(events.FundSpent),
        "topic": "0x" + provider[2:].lower().rjust(64, "0"),
        "ledger": checksum(settings.LEDGER_ADDRESS),
    }
    with connection.cursor() as cursor:
        cursor.execute(_SPENT, given)
        found = cursor.fetchall()
        logged = sum(int(amount, 16) for _, _, amounts in found for amount in amounts)
        bare = {block: int(settled) for block, settled, amounts in found if settled and not amounts}
        first = _first_below(cursor, max(bare), given) if bare else None
    return logged, sum(paid for block, paid in bare.items() if first is None or block < first)


_FIRST = """
SELECT block_number FROM chain_rawlog
WHERE block_number < %(below)s AND address = %(ledger)s AND topics->>0 = %(spent)s
ORDER BY block_number LIMIT 1
"""


def _first_below(cursor: Any, below: int, given: dict[str, Any]) -> int | None:
    """The block of the first `FundSpent` of anybody, where there is one below `below`."""
    cursor.execute(_FIRST, {**given, "below": below})
    found = cursor.fetchone()
    return int(found[0]) if found else None


def _topic(event: type[Any]) -> str:
    return next(shape.topic for shape in events.SHAPES if shape.event is event)
