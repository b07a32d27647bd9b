"""What a person's conversations cost, for the analytics of their account."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from django.db.models import Count, Sum

from accounts.own_use import Use
from inference.models import FeeKind, State, Turn


def uses(address: str, since: dt.datetime | None) -> Iterator[Use]:
    """Costs of the ended answers that are still stored, by pair and token (1 query).

    A conversation that its owner deleted is gone with its costs.
    """
    rows = Turn.objects.filter(chat__owner__address=address, chat__deleted_at__isnull=True)
    rows = rows.exclude(state=State.OPEN).exclude(fee_kind=FeeKind.NONE)
    if since is not None:
        rows = rows.filter(ended_at__gte=since)
    parts = ("serving", "provider", "fee_kind", "token", "token__label")
    sums = rows.values(*parts).annotate(sum=Sum("fee"), n=Count("pk"))
    for row in sums.order_by():
        fee, count = int(row["sum"]), int(row["n"])
        unsure = row["fee_kind"] == FeeKind.UNKNOWN
        yield Use(
            row["serving"],
            row["provider"],
            known=fee if row["fee_kind"] == FeeKind.KNOWN else 0,
            estimated=fee if row["fee_kind"] == FeeKind.ESTIMATED else 0,
            at_most=fee if unsure else 0,
            answers=count,
            unsure=count if unsure else 0,
            token=row["token"] or 0,
            label=row["token__label"] or "",
        )
