"""Files of an account: movements as the page shows them, and the statement of a month.

Chain facts only: no key, label, session or unsent transaction is ever in a file. Amounts are
neuron.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db.models import Max
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts import clock, csv_files, history
from ledger.models import Movement
from ledger.records import MovementEntry
from ledger.selectors import contracts

COLUMNS = (
    "block",
    "at",
    "tx_hash",
    "log_index",
    "kind",
    "provider",
    "service_name",
    "balance",
    "amount",
    "balance_after",
    "refunding_change",
    "source",
)


def movements(request: HttpRequest, user: str, wanted: history.Filter) -> HttpResponseBase:
    """Every movement that `wanted` selects, newest first."""
    rows = Movement.objects.filter(wanted.where(), user=user)
    part = "-filtered" if wanted.narrows else ""
    return _file(request, f"movements{part}-{user}.csv", rows)


def statement(request: HttpRequest, user: str, month: dt.date) -> HttpResponseBase:
    """A UTC month, oldest first: one `opening_balance` line per balance, every movement, one
    `closing_balance` line per balance.

    The `amount` column of openings and movements sums to the `balance_after` column of the
    closings, per balance and in all.
    """
    start, end = history.bounds(month)
    rows = Movement.objects.filter(user=user)
    # What moves while the file is fetched would be in some of its lines and not in others.
    rows = rows.filter(block__lte=rows.aggregate(last=Max("block"))["last"] or 0)
    opening = [_balance("opening_balance", start, row) for row in history.balances_at(rows, start)]
    closing = [
        _balance("closing_balance", min(end, clock.now()), row)
        for row in history.balances_at(rows, end)
    ]
    return _file(
        request,
        f"statement-{month:%Y-%m}-{user}.csv",
        rows.filter(at__gte=start, at__lt=end),
        before=[{**line, "amount": line["balance_after"]} for line in opening],
        after=closing,
        oldest_first=True,
    )


def _file(request: HttpRequest, name: str, rows: Any, **framed: Any) -> HttpResponseBase:
    known = contracts()

    def body(row: Movement) -> dict[str, Any]:
        entry = MovementEntry.of(row, known)
        return {**vars(entry), "refunding_change": entry.pending_change}

    return csv_files.response(request, name, COLUMNS, rows, body, **framed)


def _balance(kind: str, at: dt.datetime, row: Movement) -> dict[str, Any]:
    entry = MovementEntry.of(row, contracts())
    return {
        "at": at,
        "kind": kind,
        "provider": entry.provider if row.balance == "sub_account" else None,
        "service_name": entry.service_name if row.balance == "sub_account" else None,
        "balance": row.balance,
        "balance_after": row.balance_after,
    }
