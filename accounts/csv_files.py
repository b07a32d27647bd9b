"""Rows as a CSV file: complete, streamed in batches, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from django.db.models import Model, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from accounts.http import in_pieces

Row = TypeVar("Row", bound=Model)
Item = TypeVar("Item")

BATCH = 2000
MEDIA = "text/csv; charset=utf-8; header=present"
#: Above every block number: the column is a signed 64-bit integer.
_HIGHEST_BLOCK = 2**63 - 1

#: Excel, LibreOffice and Sheets run a cell that begins so as a formula; plain numbers are harmless.
_FORMULA = re.compile(r"^[=+\-@\t\r\n|%]")
_NUMBER = re.compile(r"^-?\d+$")
#: The same in the middle of a text: where lists are written with semicolons a cell begins there,
#: since such a spreadsheet knows neither our commas nor, behind them, our quotation marks.
_LATER = re.compile(r"([;\t\r\n][ \"]*)(?=[=+\-@|%])")


def cell(value: Any) -> str:
    """A value as a cell: instants as ISO 8601 UTC, nothing as empty, a would-be formula quoted."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = str(value)
    first = "'" if _FORMULA.match(text) and not _NUMBER.match(text) else ""
    return first + _LATER.sub(r"\1'", text)


def lines(rows: Sequence[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(
        [cell(value) for value in row] for row in rows
    )
    return buffer.getvalue().encode()


def batches(
    rows: QuerySet[Row], size: int = BATCH, *, oldest_first: bool = False
) -> Iterator[list[Row]]:
    """All rows, newest (or oldest) first, in batches of whole blocks (one query each).

    The follower may turn pending rows into final ones while we read, with new primary keys.
    Blocks never change their place, so a batch that ends at a block boundary neither repeats nor
    skips a row.
    """
    sign, beyond, within = ("", "gt", "lte") if oldest_first else ("-", "lt", "gte")
    order = [f"{sign}{name}" for name in ("block", "sequence", "pk")]
    last: int | None = None
    while True:
        rest = rows if last is None else rows.filter(**{f"block__{beyond}": last})
        bound = Subquery(rest.order_by(order[0]).values("block")[size - 1 : size])
        everything = _HIGHEST_BLOCK if oldest_first else -1
        batch = list(
            rest.filter(**{f"block__{within}": Coalesce(bound, everything)}).order_by(*order)
        )
        if not batch:
            return
        last = batch[-1].block  # type: ignore[attr-defined]
        yield batch
        if len(batch) < size:
            return


def response(
    request: HttpRequest,
    filename: str,
    columns: tuple[str, ...],
    rows: QuerySet[Row],
    convert: Callable[[Row], dict[str, Any]],
    *,
    before: Sequence[dict[str, Any]] = (),
    after: Sequence[dict[str, Any]] = (),
    oldest_first: bool = False,
) -> StreamingHttpResponse:
    """A download of all rows, framed by the lines `before` and `after` them."""

    def source() -> Iterator[list[Row]]:
        return batches(rows, oldest_first=oldest_first)

    return streamed(request, filename, columns, source, convert, before=before, after=after)


def streamed(
    request: HttpRequest,
    filename: str,
    columns: tuple[str, ...],
    source: Callable[[], Iterator[list[Item]]],
    convert: Callable[[Item], dict[str, Any]],
    *,
    before: Sequence[dict[str, Any]] = (),
    after: Sequence[dict[str, Any]] = (),
) -> StreamingHttpResponse:
    """A download of what `source` brings in batches (`http.in_pieces`)."""

    def written(bodies: Iterable[dict[str, Any]]) -> bytes:
        return lines([[body.get(name) for name in columns] for body in bodies])

    def whole() -> Iterator[bytes]:
        yield lines([columns]) + written(before)
        for batch in source():
            yield written(map(convert, batch))
        yield written(after)

    answer = StreamingHttpResponse(in_pieces(request, whole()), MEDIA, headers=_named(filename))
    answer["Cache-Control"] = "no-store"
    return answer


def few(filename: str, rows: Sequence[Sequence[Any]]) -> HttpResponse:
    """A download of rows that are whole in memory, the first of them the header."""
    return HttpResponse(lines(rows), MEDIA, headers=_named(filename))


def _named(filename: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{filename}"'}
