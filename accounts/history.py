"""Every movement of an account, narrowed by what the address bar says, and the statement of a
month: opening + movements = closing, to the neuron.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, Q, QuerySet, Sum
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, pgettext

from accounts.days import day_of, end_of, start_of
from ledger.models import Movement, SubAccount
from ledger.records import MovementEntry, Page
from ledger.selectors import account, address_of, contracts, newest_first, paginate
from net.postgres.moment import one_moment

KINDS = {
    "deposit": gettext_noop("Deposit"),
    "deposit_received": gettext_noop("Deposit by another wallet"),
    "withdraw": gettext_noop("Withdrawal"),
    "transfer": gettext_noop("Transfer"),
    "refund_requested": gettext_noop("Refund requested"),
    "refund_cancelled": gettext_noop("Refund cancelled"),
    "refund_paid": gettext_noop("Refund paid"),
    "settlement": gettext_noop("Charged by provider"),
    "account_deleted": gettext_noop("Account closed"),
    "opening": gettext_noop("Opening balance"),
}


def kind(name: str) -> str:
    """What a movement is, in the reader's language: a noun, which some tell from the act."""
    nouns = {
        "deposit": pgettext("movement", "Deposit"),
        "transfer": pgettext("movement", "Transfer"),
    }
    return nouns.get(name) or _(KINDS.get(name, name))


BALANCES = {"available": gettext_noop("Available"), "sub_account": gettext_noop("At providers")}
_MAX_PROVIDERS = 200


@dataclass(frozen=True)
class Filter:
    """What the person asked to see; empty fields ask for everything, dates are whole UTC days."""

    kind: str = ""
    balance: str = ""
    provider: str = ""
    since: dt.date | None = None
    until: dt.date | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """From the address bar; values that mean nothing are left out."""
        kind, balance = query.get("kind", ""), query.get("balance", "")
        return cls(
            kind=kind if kind in KINDS else "",
            balance=balance if balance in BALANCES else "",
            provider=address_of(query.get("provider", "")) or "",
            since=day_of(query.get("since", "")),
            until=day_of(query.get("until", "")),
        )

    def query(self, **more: object) -> str:
        """The same as a query string, with `more` added (empty ones left out)."""
        fields = {**vars(self), **more}
        return urlencode({name: str(value) for name, value in fields.items() if value})

    @property
    def narrows(self) -> bool:
        return any(vars(self).values())

    def where(self) -> Q:
        found = Q()
        for name in ("kind", "balance", "provider"):
            if value := getattr(self, name):
                found &= Q(**{name: value})
        if self.since:
            found &= Q(at__gte=start_of(self.since))
        if self.until:
            found &= Q(at__lt=end_of(self.until))
        return found


def movements(user: str, wanted: Filter, page: int, page_size: int) -> Page[MovementEntry]:
    """One page, newest first (3 queries)."""
    known = contracts()
    rows = newest_first(Movement.objects.filter(wanted.where(), user=user))
    return paginate(rows, page, page_size, lambda row: MovementEntry.of(row, known))


def providers(user: str) -> tuple[str, ...]:
    """Providers the account ever had a sub-account with; deleted ones keep their row."""
    rows = SubAccount.objects.filter(user=user).order_by("provider")
    return tuple(rows.values_list("provider", flat=True).distinct()[:_MAX_PROVIDERS])


# --- the statement of a month --------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """Movements of one kind: signed neuron on each side, and how many."""

    label: str
    available: int
    locked: int
    count: int

    @property
    def total(self) -> int:
        return self.available + self.locked


@dataclass(frozen=True)
class Statement:
    """`locked` is what lies at providers, refunds included. `stated` is the closing balance that
    the movements themselves carry (available, locked), read apart from the sums.
    """

    month: dt.date
    opening: Line
    lines: tuple[Line, ...]
    closing: Line
    stated: tuple[int, int]
    running: bool

    @property
    def adds_up(self) -> bool:
        return (self.closing.available, self.closing.locked) == self.stated


def statement(user: str, month: dt.date, today: dt.date) -> Statement:
    """Opening + movements = closing of a UTC month, all of one moment (4 queries at most)."""
    start, end = bounds(month)
    running = month <= today < _next(month)
    rows = Movement.objects.filter(user=user)
    with one_moment(Movement):
        before, during = _sums(rows.filter(at__lt=end), start)
        stated = _now(user) if running else _stated(rows, end)
    opening = _line(_("Opening balance"), before)
    lines = tuple(
        _line(kind(name), [sums for sums in during if sums["kind"] == name])
        for name in KINDS
        if any(sums["kind"] == name for sums in during)
    )
    closing = Line(
        _("Closing balance"),
        opening.available + sum(line.available for line in lines),
        opening.locked + sum(line.locked for line in lines),
        sum(line.count for line in lines),
    )
    return Statement(month, opening, lines, closing, stated, running)


def months(user: str, today: dt.date) -> tuple[dt.date, ...]:
    """First days of the months from the first movement until now, newest first."""
    rows = Movement.objects.filter(user=user).order_by("block")  # by its index; times follow blocks
    first = rows.values_list("at", flat=True).first()
    month, last = _first(first.date() if first else today), _first(today)
    found = []
    while month <= last:
        found.append(month)
        month = _next(month)
    return tuple(reversed(found)) or (last,)


Sums = Sequence[Mapping[str, Any]]


def _sums(rows: QuerySet[Movement], start: dt.datetime) -> tuple[Sums, Sums]:
    """Sums by kind of what happened before `start` and since (1 query)."""
    found: Sums = list(
        rows.values("kind", since=Q(at__gte=start))
        .annotate(
            available=Sum("amount", filter=Q(balance="available"), default=0),
            locked=Sum("amount", filter=Q(balance="sub_account"), default=0),
            count=Count("pk"),
        )
        .order_by()
    )
    return [s for s in found if not s["since"]], [s for s in found if s["since"]]


def _line(label: str, sums: Sums) -> Line:
    available, locked, count = (
        sum(int(each[name]) for each in sums) for name in ("available", "locked", "count")
    )
    return Line(label, available, locked, count)


def bounds(month: dt.date) -> tuple[dt.datetime, dt.datetime]:
    """First instant of a UTC month and of the next one."""
    return start_of(month), start_of(_next(month))


def balances_at(rows: QuerySet[Movement], end: dt.datetime) -> list[Movement]:
    """The last movement before `end` of every balance: `available` and each pair (2 queries)."""
    before = rows.filter(at__lt=end)
    newest = ("-block", "-sequence", "-pk")
    own = before.filter(balance="available").order_by(*newest)[:1]
    pairs = before.filter(balance="sub_account").order_by("serving", "provider", *newest)
    return [*own, *pairs.distinct("serving", "provider")]


def _stated(rows: QuerySet[Movement], end: dt.datetime) -> tuple[int, int]:
    """The last `balance_after` of every balance, summed per side."""
    last = balances_at(rows, end)
    available = sum(row.balance_after for row in last if row.balance == "available")
    return available, sum(row.balance_after for row in last) - available


def _now(user: str) -> tuple[int, int]:
    """The balances of this moment, from the state rows."""
    found = account(user)
    available = found.ledger.available if found.ledger else 0
    return available, sum(position.balance for position in found.positions)


def _first(day: dt.date) -> dt.date:
    return day.replace(day=1)


def _next(month: dt.date) -> dt.date:
    return (month.replace(day=28) + dt.timedelta(days=4)).replace(day=1)


def month_of(text: str, known: tuple[dt.date, ...]) -> dt.date:
    """The month `YYYY-MM` if it is one of `known`, else the newest."""
    return next((month for month in known if f"{month:%Y-%m}" == text), known[0])
