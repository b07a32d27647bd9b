"""What several pages of an account are made of: pagers, tabs, choices, rows of movements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.history import kind
from accounts.pages_transaction import Link
from ledger.records import MovementEntry, Page


class PastTheEnd(Exception):
    """A list is shorter than the page asked for; its last one is at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True)
class Pager:
    """Page links of a list; `target` is what htmx replaces, empty for plain navigation."""

    first: int
    last: int
    count: int
    what: str
    links: tuple[Link, ...]
    previous: str
    next: str
    target: str = ""


def pager(
    page: Page[Any],
    what: str,
    path: Callable[[int], str],
    target: str = "",
    most: int | None = None,
) -> Pager:
    """First, last and the neighbours of the current page; gaps are a link without path. Nobody
    turns more than `most` pages, whatever the list's length. Raises PastTheEnd."""
    pages = page.pages if most is None else min(page.pages, most)
    if page.number > pages:
        raise PastTheEnd(path(pages))
    wanted = sorted({1, pages, *range(max(1, page.number - 2), min(pages, page.number + 2) + 1)})
    shown: list[Link] = []
    before = 0
    for number in wanted:
        if number > before + 1:
            shown.append(Link("…", ""))
        shown.append(Link(str(number), path(number), number == page.number))
        before = number
    return Pager(
        first=page.first_index,
        last=page.last_index,
        count=page.count,
        what=what,
        links=tuple(shown),
        previous=path(page.previous_number) if page.previous_number else "",
        next=path(page.number + 1) if page.number < pages else "",
        target=target,
    )


def tabs(current: str) -> tuple[Link, ...]:
    """The pages of an account."""
    pages = [
        (_("Funds"), "/account"),
        (_("Refunds"), "/account/refunds"),
        (_("Transactions"), "/account/transactions"),
        (_("Keys"), "/account/keys"),
        (_("Analytics"), "/account/analytics"),
        (_("Alerts"), "/account/alerts"),
        (_("Your data"), "/account/data"),
    ]
    return tuple(Link(label, path, path == current) for label, path in pages)


@dataclass(frozen=True)
class SignedOut:
    """What a page says to somebody without a session."""

    title: str


@dataclass(frozen=True)
class StepUp:
    """What a page says to somebody whose signature is too old for what it gives away."""

    title: str
    why: str
    back: str = "/account"


@dataclass(frozen=True)
class Option:
    """One choice of a select."""

    value: str
    label: str
    selected: bool


def named(table: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The choices that a table of marked labels offers, in the reader's language."""
    return tuple((value, _(label)) for value, label in table.items())


def options(choices: Iterable[tuple[str, str]], chosen: str) -> tuple[Option, ...]:
    return tuple(Option(value, label, value == chosen) for value, label in choices)


@dataclass(frozen=True)
class MovementRow:
    entry: MovementEntry
    label: str
    source: str


_SOURCES = {
    "event": gettext_noop("chain event"),
    "transaction": gettext_noop("your transaction"),
    "view": gettext_noop("contract view"),
}


def movement_rows(
    entries: Iterable[MovementEntry], *, public: bool = False
) -> tuple[MovementRow, ...]:
    """`public`: as anybody reads them, to whom the account is not "yours"."""
    said = {**_SOURCES, "transaction": gettext_noop("its owner’s transaction")}
    words = said if public else _SOURCES
    return tuple(MovementRow(e, kind(e.kind), _(words.get(e.source, e.source))) for e in entries)
