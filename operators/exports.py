"""An operator's books as files: every item with a stable id, amounts in neuron."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts import csv_files
from accounts.problems import answer
from ledger.models import Settlement
from ledger.records import Contract
from ledger.selectors import newest_first, paginate
from operators import batches
from operators.batches import Asked
from operators.earnings import Earnings, Epochs
from operators.flows import Books
from operators.period import Period

COLUMNS = (
    "id",
    "block",
    "at",
    "tx_hash",
    "log_index",
    "service_name",
    "model",
    "user",
    "status",
    "requested",
    "settled",
    "unsettled",
    "final",
)
CUT_COLUMNS = ("id", "earned", "not_paid", "items", "paid_items")
PAGE_SIZE = 200


def settlements_csv(
    request: HttpRequest, provider: str, asked: Asked, known: Mapping[str, Contract]
) -> HttpResponseBase:
    """Every item that was asked for, newest first: one row per user of a transaction."""
    epochs = Epochs.of(provider)

    def body(row: Settlement) -> dict[str, Any]:
        return _item(row, known, epochs)

    part = f"{asked.period.file_part}{'-filtered' if asked.narrows else ''}"
    name = f"settlements-{part}-{provider}.csv"
    return csv_files.response(request, name, COLUMNS, asked.rows(provider, known), body)


def settlements_json(
    provider: str, asked: Asked, known: Mapping[str, Contract], page: int, books: Books | None
) -> HttpResponse:
    """`{count, items, next}` with the period's `books`, null where filters leave items out."""
    epochs = Epochs.of(provider)
    rows = newest_first(asked.rows(provider, known))
    found = paginate(rows, page, PAGE_SIZE, lambda row: _item(row, known, epochs))
    at = "/operator/settlements.json"
    body = {
        "count": found.count,
        "items": [_json(item) for item in found.items],
        "next": f"{at}?{asked.query(page=found.next_number)}" if found.next_number else None,
        "books": _books(books) if books else None,
    }
    return answer(body)


def _item(row: Settlement, known: Mapping[str, Contract], epochs: Epochs) -> dict[str, Any]:
    line = batches.line(row, known, epochs)
    return {
        **vars(line.entry),
        "id": line.id,
        "model": line.model,
        "requested": line.requested,
        "unsettled": None if line.requested is None else line.entry.unsettled,
        "final": "no" if row.pending else "yes",
    }


def _json(item: Mapping[str, Any]) -> dict[str, Any]:
    """Amounts as decimal strings, the time as ISO 8601 UTC (interfaces.md)."""
    amounts = {name: item[name] for name in ("requested", "settled", "unsettled")}
    return {
        **{name: item[name] for name in COLUMNS},
        "at": csv_files.cell(item["at"]),
        "final": item["final"] == "yes",
        **_texts(amounts),
    }


def _books(books: Books) -> dict[str, Any]:
    amounts = {
        "opening": books.opening,
        "settled": books.settled,
        "closing": books.closing,
        "charged_to_users": books.charged,
        "fund_spent": books.logged,
        "settled_before_fund_spent_was_logged": books.unlogged,
    }
    return {
        "block": books.block,
        "agrees": books.agrees,
        **_texts(amounts),
    }


def _texts(amounts: Mapping[str, int | None]) -> dict[str, str | None]:
    return {name: None if amount is None else str(amount) for name, amount in amounts.items()}


def earnings_csv(provider: str, found: Earnings, by: str, period: Period) -> HttpResponse:
    """One cut of the earnings; its rows sum to the total of the period."""
    rows = (
        (part.id, part.sums.earned, part.sums.missed, part.sums.items, part.sums.paid)
        for part in found.by(by)
    )
    name = f"earnings-by-{by}-{period.file_part}-{provider}.csv"
    response = csv_files.few(name, [CUT_COLUMNS, *rows])
    response["Cache-Control"] = "no-store"
    return response
