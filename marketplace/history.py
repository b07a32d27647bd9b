"""What changed about services, on chain and in our verdicts on their evidence, as one history.

Newest first by block; a verdict comes after what its block changed on chain, because it was made
with that block read. Places in it (`ledger.cursors`) are those of the ledger's own histories.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

from django.db import models
from django.db.models import F, Model, QuerySet, Value

from accounts.csv_files import BATCH, batches
from attestation.models import Turn, VerdictChange
from ledger import selectors
from ledger.cursors import Place, older
from ledger.models import ServiceChange
from ledger.records import ChangeEntry, Contract, Page

Table = TypeVar("Table", bound=Model)

VERDICTS: tuple[str, ...] = tuple(Turn.values)
#: Where verdicts stand within their block: beyond the rows of the ledger, in nine digits.
_LAST = 999_999_999
_ORDER = ("-block", "-sequence", "-id")
_SHARED = ("block", "sequence", "id", "at", "tx_hash", "log_index", "provider", "change")
_COLUMNS = (*_SHARED, "before", "after", "pending", "contract", "service", "report")


@dataclass(frozen=True)
class VerdictEntry(ChangeEntry):
    """A turn of a verdict among the changes; `report` is the run that found it."""

    report: uuid.UUID


@dataclass(frozen=True)
class Asked:
    """Which changes: empty means any. `change` is one of `ledger`'s sorts or of `VERDICTS`."""

    kind: str = ""
    provider: str = ""
    change: str = ""

    def on_chain(self, known: dict[str, Contract]) -> QuerySet[ServiceChange]:
        rows = ServiceChange.objects.filter(
            selectors.changes_where(known, self.provider, kind=self.kind)
        )
        if self.change in VERDICTS:
            return rows.none()
        return rows.filter(change=self.change) if self.change else rows

    def of_verdicts(self) -> QuerySet[VerdictChange]:
        given = {"kind": self.kind, "provider": self.provider, "change": self.change}
        rows = VerdictChange.objects.filter(**{name: one for name, one in given.items() if one})
        return rows.annotate(sequence=Value(_LAST, models.IntegerField()))


def changes(
    asked: Asked,
    page: int = 1,
    page_size: int = selectors.PAGE_SIZE,
    *,
    after: Place | None = None,
) -> Page[ChangeEntry]:
    """One page of the history (4 queries)."""
    if asked.change and asked.change not in VERDICTS:
        return selectors.timeline(
            asked.provider, "", asked.kind, page, page_size, change=asked.change, after=after
        )
    known = selectors.contracts()
    count = asked.of_verdicts().count()
    if not asked.change:
        where = selectors.changes_where(known, asked.provider, kind=asked.kind)
        count += selectors.counted("changes", where & models.Q(provider=asked.provider))
    size = min(max(1, page_size), selectors.MAX_PAGE_SIZE)
    number = min(max(1, page), selectors.MAX_PAGE) if after is None else 1
    start = (number - 1) * size
    # One more than is shown says whether the list goes on.
    found = list(_rows(asked, known, after)[start : start + size + 1]) if start < count else []
    cursor = str(Place(*found[size - 1][:3])) if len(found) > size else ""
    items = tuple(_entry(row, known) for row in found[:size])
    return Page(items, count, number, size, cursor)


def _rows(asked: Asked, known: dict[str, Contract], after: Place | None) -> QuerySet[Any, Any]:
    """Both tables in one query: the follower may write pending rows anew between two of them."""
    text, number = models.TextField(), models.IntegerField()
    on_chain = older(asked.on_chain(known), after).annotate(
        contract=F("serving"),
        service=Value("", text),
        report=Value(None, models.UUIDField()),
    )
    verdicts = older(asked.of_verdicts(), after).annotate(
        tx_hash=Value(None, text),
        log_index=Value(None, number),
        pending=Value(False),
        contract=F("kind"),
        service=F("service_name"),
        report=F("verification_id"),
    )
    listed = [rows.order_by().values_list(*_COLUMNS) for rows in (on_chain, verdicts)]
    return listed[0].union(listed[1], all=True).order_by(*_ORDER)


def _entry(row: tuple[Any, ...], known: dict[str, Contract]) -> ChangeEntry:
    """`contract` of a row on chain is an address; a verdict names kind and service itself."""
    found = dict(zip(_COLUMNS, row, strict=True))
    contract, service, report = (found.pop(name) for name in ("contract", "service", "report"))
    del found["id"], found["sequence"]
    if report is not None:
        usual = _recommended(known, contract, service)
        return VerdictEntry(
            **found, kind=contract, service_name=service, recommended=usual, report=report
        )
    serving = known.get(contract)
    return ChangeEntry(
        **found,
        kind=serving.kind if serving else "",
        service_name=serving.service_name if serving else "",
        recommended=serving is None or serving.recommended,
    )


def _recommended(known: dict[str, Contract], kind: str, service_name: str) -> bool:
    """Whether the kind alone means this contract; also where none is known by the name."""
    named = (one for one in known.values() if (one.kind, one.service_name) == (kind, service_name))
    return all(one.recommended for one in named)


# --- all of it, for files -------------------------------------------------------------------------


def everything(asked: Asked) -> Iterator[list[ChangeEntry]]:
    """The whole history in batches, without a query that is open between two of them."""
    known = selectors.contracts()
    sources: list[Iterator[ServiceChange | VerdictChange]] = [
        _one_by_one(asked.on_chain(known)),
        _one_by_one(asked.of_verdicts()),
    ]
    merged = heapq.merge(*sources, key=_place, reverse=True)
    while batch := list(islice(merged, BATCH)):
        yield [entry_of(row, known) for row in batch]


def entry_of(row: ServiceChange | VerdictChange, known: dict[str, Contract]) -> ChangeEntry:
    if isinstance(row, ServiceChange):
        return ChangeEntry.of(row, known)
    return VerdictEntry(
        block=row.block,
        at=row.at,
        tx_hash=None,
        log_index=None,
        kind=row.kind,
        provider=row.provider,
        service_name=row.service_name,
        recommended=_recommended(known, row.kind, row.service_name),
        change=row.change,
        before=row.before,
        after=row.after,
        pending=False,
        report=row.verification_id,
    )


def _place(row: Any) -> tuple[int, int, int]:
    return row.block, row.sequence, row.pk


def _one_by_one(rows: QuerySet[Table]) -> Iterator[Table]:
    found: Iterable[list[Table]] = batches(rows)
    return chain.from_iterable(found)
