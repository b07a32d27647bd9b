"""Pages about change over time: one frozen dataclass each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from accounts.pages_parts import Option, Pager
from accounts.pages_transaction import Link
from ledger.records import ChangeEntry
from marketplace.changes import ChangeRow
from marketplace.pages import ServiceHead
from marketplace.parts import Chip
from marketplace.selectors import offered
from probes.charts import Chart


def change_rows(entries: Iterable[ChangeEntry], *, alone: bool) -> tuple[ChangeRow, ...]:
    """Lines of a timeline (3 queries; 2 where no price changed)."""
    listed = tuple(entries)
    pairs = zip(listed, offered(listed), strict=True)
    return tuple(ChangeRow.of(entry, about, alone=alone) for entry, about in pairs)


@dataclass(frozen=True)
class ChangesPage:
    """`/changes`: `wrong` says why a provider's address was not understood."""

    rows: tuple[ChangeRow, ...]
    pager: Pager
    count: int
    kinds: tuple[Link, ...]
    kind: str
    sorts: tuple[Option, ...]
    provider: str
    wrong: str
    chips: tuple[Chip, ...]
    twins: tuple[Link, ...]
    feed: str


@dataclass(frozen=True)
class ChangesTab:
    """A service's tab Changes: what it cost, then everything that changed. `chart` is None where
    no price was ever recorded.
    """

    service: ServiceHead
    chart: Chart | None
    windows: tuple[Link, ...]
    rows: tuple[ChangeRow, ...]
    pager: Pager
    sorts: tuple[Option, ...]
    path: str
    all_path: str
    service_name: str
    twins: tuple[Link, ...]
    feed: str
