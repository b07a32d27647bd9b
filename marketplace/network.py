"""The network in numbers, each with the path of the rows it was counted from."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Count, F, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.pages_parts import Pager, pager
from accounts.pages_transaction import Link
from chain.selectors import Freshness
from ledger import records, selectors, statistics
from ledger.models import ACCEPTED, Kind, Ledger, ServiceTotal, Settlement
from ledger.records import Page
from marketplace import formats, links
from marketplace.catalogue import totals
from marketplace.formats import ONE
from marketplace.memo import at_block, at_listing
from marketplace.settlements import WINDOW_LABELS, Asked
from probes.charts import Chart, Point, Value, series

SETTLEMENTS, ACCOUNTS = "/network/settlements", "/network/accounts"
DAYS = {"30d": 30, "90d": 90}
#: Pages of accounts that anybody turns.
MOST_PAGES = 40


@dataclass(frozen=True)
class Day:
    """A UTC day's accepted items: neuron paid, how many, by how many users."""

    date: dt.date
    paid: int
    items: int
    users: int


@dataclass(frozen=True)
class Results:
    """All items ever, by what became of them. Anybody can send items that the contract refuses, for
    any amount (contracts.md 6.4), so `lost` is what accepted ones asked for and did not get."""

    items: int
    in_part: int
    refused: int
    lost: int

    @property
    def part_said(self) -> str:
        return _("%(share)s of all") % {"share": formats.percentage(self.in_part, self.items)}

    @property
    def refused_said(self) -> str:
        return _("%(share)s of all, whoever sent them") % {
            "share": formats.percentage(self.refused, self.items)
        }


@dataclass(frozen=True)
class Spending:
    """Of a window: its days with at least one payment, and distinct payers up to now."""

    days: tuple[Day, ...]
    payers: int

    @property
    def paid(self) -> int:
        return sum(day.paid for day in self.days)


@dataclass(frozen=True)
class NetworkPage:
    """`/network`. `window`: a key of `DAYS`, of charts and payers."""

    totals: statistics.Totals
    results: Results
    spending: Spending
    window: str
    windows: tuple[Link, ...]
    charts: tuple[Chart, ...]
    contracts: tuple[records.Contract, ...]
    ledger_address: str
    ledger_start: int
    day_path: str
    paid_path: str
    payers_path: str
    part_path: str
    refused_path: str

    @property
    def twin(self) -> str:
        return f"/api/v1/network?window={self.window}"

    @property
    def accounts_said(self) -> str:
        n = self.totals.accounts
        return ngettext("%(n)s account", "%(n)s accounts", n) % {"n": f"{n:,}"}

    @property
    def payers_said(self) -> str:
        return _("in %(window)s") % {"window": _(WINDOW_LABELS[self.window])}

    @property
    def fine_tuning(self) -> int:
        return self.totals.services_by_kind[Kind.FINE_TUNING.value]


def page(head: Freshness, window: str) -> NetworkPage:
    """A constant number of queries; sums over days are made anew every 30 seconds."""
    version, today = selectors.listings_version(), timezone.now().date()
    found = kept_spending(version, window, today)
    asked = Asked(status="paid")
    return NetworkPage(
        totals=at_block.get(head.indexed_hash, "network", lambda: totals(version, all_time=True)),
        results=results(),
        spending=found,
        window=window,
        windows=tuple(
            Link(_(WINDOW_LABELS[name]), f"/network?window={name}", name == window) for name in DAYS
        ),
        charts=charts(found, window, today),
        contracts=tuple(selectors.contracts().values()),
        ledger_address=settings.LEDGER_ADDRESS,
        ledger_start=settings.START_BLOCK,
        day_path=asked.path(SETTLEMENTS, window="24h"),
        paid_path=asked.path(SETTLEMENTS),
        payers_path=asked.path(SETTLEMENTS, by="payer", window=window),
        part_path=asked.path(SETTLEMENTS, status="part"),
        refused_path=asked.path(SETTLEMENTS, status="refused"),
    )


def kept_spending(version: str, window: str, today: dt.date) -> Spending:
    """`spending` of a key of `DAYS`, at most 30 seconds old."""
    return at_listing.get(version, ("days", window, today), lambda: spending(DAYS[window], today))


def results() -> Results:
    """By kept sums (1 query)."""
    names = ("items", "in_part", "refused", "unsettled")
    rows = ServiceTotal.objects.filter(provider="")
    found = rows.aggregate(**{name: Sum(name) for name in names})
    return Results(*(int(found[name] or 0) for name in names))


def spending(days: int, today: dt.date) -> Spending:
    """The last `days` UTC days, today among them, and who paid in so many times 24 hours, as the
    list of payers has it (2 queries)."""
    since = dt.datetime.combine(today - dt.timedelta(days=days - 1), dt.time(), dt.UTC)
    paid = Settlement.objects.filter(status__in=ACCEPTED, at__gte=since)
    by_day = (
        paid.annotate(day=TruncDate("at", tzinfo=dt.UTC))
        .values("day")
        .annotate(paid=Sum("settled"), items=Count("pk"), users=Count("user", distinct=True))
        .order_by("day")
    )
    lately = statistics.paid_since(timezone.now() - dt.timedelta(days=days))
    payers = lately.filter(settled__gt=0).aggregate(found=Count("user", distinct=True))
    return Spending(
        tuple(Day(row["day"], int(row["paid"]), row["items"], row["users"]) for row in by_day),
        payers["found"],
    )


def whole_days(found: Spending, days: int, today: dt.date) -> list[Day]:
    """Every day of the window; one without payments is a zero, which is known."""
    held = {day.date: day for day in found.days}
    dates = [today - dt.timedelta(days=back) for back in range(days - 1, -1, -1)]
    return [held.get(date) or Day(date, 0, 0, 0) for date in dates]


def charts(found: Spending, window: str, today: dt.date) -> tuple[Chart, ...]:
    days, csv = DAYS[window], f"/network/days.csv?window={window}"
    whole = whole_days(found, days, today)
    most = max(whole, key=lambda day: day.paid)
    busy = max(whole, key=lambda day: day.items)
    items = sum(day.items for day in whole)
    return (
        Chart(
            id="spent",
            title=_("%(amount)s 0G paid in %(days)s days, most on %(day)s")
            % {"amount": formats.amount(found.paid), "days": days, "day": _said(most.date)}
            if found.paid
            else _("Nothing was paid in %(days)s days") % {"days": days},
            unit=_("0G per day"),
            series=series(_("Paid")),
            points=tuple(_point(day, (_amount(day.paid),)) for day in whole),
            note=_("0G paid by settlements per UTC day"),
            csv=csv,
        ),
        Chart(
            id="settlements",
            title=_("%(n)s settlements in %(days)s days, most on %(day)s")
            % {"n": f"{items:,}", "days": days, "day": _said(busy.date)}
            if items
            else _("No settlements in %(days)s days") % {"days": days},
            unit=_("per day"),
            series=series(_("Settlements"), _("Users")),
            points=tuple(
                _point(
                    day,
                    (_count(day.items), _count(day.users)),
                )
                for day in whole
            ),
            note=_("Accepted settlements and distinct users per UTC day"),
            csv=csv,
        ),
    )


def _point(day: Day, values: tuple[Value, ...]) -> Point:
    at = dt.datetime.combine(day.date, dt.time(), dt.UTC)
    path = Asked(status="paid", day=day.date).path(SETTLEMENTS) if day.items else ""
    return Point(at, values, path, _("Settlements"))


def _count(number: int) -> Value:
    return Value(str(number), f"{number:,}")


def _amount(neuron: int) -> Value:
    whole, rest = divmod(neuron, ONE)
    return Value(f"{whole}.{rest:018d}", f"{formats.amount(neuron)} 0G")


def _said(date: dt.date) -> str:
    return date_format(date, "MONTH_DAY_FORMAT")


# --- accounts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AccountRow:
    address: str
    path: str
    total: int
    available: int

    @property
    def locked(self) -> int:
        return self.total - self.available


@dataclass(frozen=True)
class AccountsPage:
    """`/network/accounts`: main accounts; `sort`: total or locked, the largest first."""

    rows: tuple[AccountRow, ...]
    pager: Pager
    sorts: tuple[Link, ...]
    totals: statistics.Totals


def accounts_page(head: Freshness, sort: str, number: int) -> AccountsPage:
    """Accounts with anything in them (2 queries when made anew)."""
    version = selectors.listings_version()
    known = at_block.get(head.indexed_hash, "network", lambda: totals(version, all_time=True))
    found = at_block.get(
        head.indexed_hash, ("accounts", sort, number), lambda: _accounts(sort, number)
    )
    turned = links.with_query(ACCOUNTS, sort=sort if sort != "total" else "")
    return AccountsPage(
        rows=found.items,
        pager=pager(
            found,
            _("accounts"),
            lambda number: links.with_query(turned, page=number),
            most=MOST_PAGES,
        ),
        sorts=(
            Link(_("By total"), ACCOUNTS, sort == "total"),
            Link(_("By what is locked at providers"), f"{ACCOUNTS}?sort=locked", sort == "locked"),
        ),
        totals=known,
    )


def _accounts(sort: str, number: int) -> Page[AccountRow]:
    rows = Ledger.current.filter(exists=True).annotate(locked=F("total") - F("available"))
    return selectors.paginate(
        rows.order_by(f"-{sort}", "user"),
        min(number, MOST_PAGES),
        selectors.PAGE_SIZE,
        lambda row: AccountRow(row.user, links.account_path(row.user), row.total, row.available),
    )
