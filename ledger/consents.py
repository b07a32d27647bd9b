"""By what a user acknowledges a signing key. The contract keeps a flag and no key (contracts.md
6.6), so the key is that of the moment.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from chain.models import RawTransaction
from ledger.models import Movement
from ledger.reads import CONTRACT_OF
from protocol import abi


def by_money(**of: Any) -> QuerySet[Movement]:
    """Movements that a transfer makes; one that only takes back a refund is told from a settlement
    that eats it by the settlement's own row.
    """
    own = Movement.objects.filter(balance="sub_account", **of)
    settled = own.filter(
        kind="settlement",
        tx_hash=OuterRef("tx_hash"),
        user=OuterRef("user"),
        serving=OuterRef("serving"),
        provider=OuterRef("provider"),
    )
    return own.filter(
        Q(kind__in=("transfer", "opening")) | Q(kind="refund_cancelled") & ~Exists(settled)
    )


def by_call(
    kind: str, serving: str, provider: str, users: Collection[str], after: int
) -> frozenset[str]:
    """Those of these users who acknowledged it in a block after `after` by the call that leaves no
    log, where they sent it themselves (1 query)."""
    call = abi.encode_call(CONTRACT_OF[kind], "acknowledgeTEESigner", provider, True)
    sent = RawTransaction.objects.filter(
        block_number__gt=after, to=serving, sender__in=users, status=1, input=call
    )
    return frozenset(sent.values_list("sender", flat=True))
