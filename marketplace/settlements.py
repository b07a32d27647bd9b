"""Settlement items under filters that a URL holds: of one listing, and of the whole network.

These are the rows behind every number about money on the site: each such number links here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db.models import Count, Max, Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.addresses import short
from accounts.days import day_of, end_of, start_of
from accounts.http import page_number
from ledger import selectors
from ledger.cursors import Place
from ledger.models import ACCEPTED, IN_PART, ServiceTotal, Settlement
from ledger.records import Page, SettlementEntry
from ledger.statistics import first_paid
from marketplace import formats, links

#: As the indexes of `Settlement` spell it, so that they are used.
_PAID = Q(status__in=ACCEPTED)
#: Groups of statuses (contracts.md 6.4, 6.5), as the record counts them.
GROUPS: Mapping[str, tuple[str, Q]] = {
    "full": (gettext_noop("Paid in full"), _PAID & ~Q(status__in=IN_PART)),
    "part": (gettext_noop("Paid in part"), _PAID & Q(status__in=IN_PART)),
    "refused": (gettext_noop("Refused or abandoned"), ~_PAID),
    "paid": (gettext_noop("Paid in full or in part"), _PAID),
}
WINDOWS = {"24h": dt.timedelta(hours=24), **{f"{n}d": dt.timedelta(days=n) for n in (7, 30, 90)}}
WINDOW_LABELS = {
    "24h": gettext_noop("24 hours"),
    "7d": gettext_noop("7 days"),
    "30d": gettext_noop("30 days"),
    "90d": gettext_noop("90 days"),
}
#: A list is read by people: nobody turns more pages than that, and no database has to.
MOST_PAGES = 400


@dataclass(frozen=True)
class Asked:
    """`status`: a key of `GROUPS` or ""; `user`: EIP-55 or ""; `day`: a UTC date or None; `window`:
    a key of `WINDOWS` or ""; `by`: "" for the items, `payer` or `day` for sums over them."""

    status: str = ""
    user: str = ""
    day: dt.date | None = None
    window: str = ""
    by: str = ""
    page: int = 1
    provider: str = ""
    serving: str = ""
    now: dt.datetime = field(default_factory=timezone.now, compare=False)

    @classmethod
    def parse(cls, given: Mapping[str, str], provider: str = "", serving: str = "") -> Asked:
        """Never an error: what makes no sense was not asked for."""
        status, window, by = (given.get(name, "") for name in ("status", "window", "by"))
        # All results together have no order that an index knows, except of one provider or user.
        user = selectors.address_of(given.get("user", "")) or ""
        default = "" if provider or user else "paid"
        return cls(
            status=status if status in GROUPS else default,
            user=user,
            day=day_of(given.get("day", "")),
            window=window if window in WINDOWS else "",
            by=by if by in ("payer", "day") else "",
            page=min(page_number(given.get("page", "")), MOST_PAGES),
            provider=provider,
            serving=serving,
        )

    def path(self, at: str, **changed: str | int) -> str:
        """`at` (which may have a query) with these filters, some of them changed."""
        values: dict[str, str | int] = {
            "status": self.status,
            "user": self.user,
            "day": self.day.isoformat() if self.day else "",
            "window": self.window,
            "by": self.by,
            **changed,
        }
        return links.with_query(at, **values)

    @property
    def said(self) -> str:
        """The filters in words; empty without any."""
        parts = (
            formats.within(_(GROUPS[self.status][0])) if self.status else "",
            _("of %(who)s") % {"who": short(self.user)} if self.user else "",
            _("on %(day)s (UTC)") % {"day": formats.date(self.day)} if self.day else "",
            _("in the last %(window)s") % {"window": _(WINDOW_LABELS[self.window])}
            if self.window
            else "",
        )
        return ", ".join(part for part in parts if part)

    @property
    def rows(self) -> QuerySet[Settlement]:
        rows = Settlement.objects.all()
        given = {"provider": self.provider, "serving": self.serving, "user": self.user}
        rows = rows.filter(**{name: value for name, value in given.items() if value})
        if self.status:
            rows = rows.filter(GROUPS[self.status][1])
        if self.day is not None:
            rows = rows.filter(at__gte=start_of(self.day), at__lt=end_of(self.day))
        if self.window:
            since = self.now - WINDOWS[self.window]
            rows = rows.filter(at__gte=since)
            if self.status in ("full", "part", "paid"):
                rows = rows.filter(block__gte=first_paid(since))
        return rows


def items(
    asked: Asked, page_size: int = selectors.PAGE_SIZE, after: Place | None = None
) -> Page[SettlementEntry]:
    """The items, newest first (3 queries); those of a provider or a user also `after` a place."""
    known = selectors.contracts()
    count = None if asked.user or asked.day or asked.window else _counted(asked)

    def entry(row: Settlement) -> SettlementEntry:
        return SettlementEntry.of(row, known)

    if asked.provider or asked.user:
        return selectors.history(asked.rows, asked.page, page_size, after, entry, count)
    rows = asked.rows.order_by("-at", "-block", "-sequence", "-pk")
    return selectors.paginate(rows, asked.page, page_size, entry, count)


def _counted(asked: Asked) -> int:
    """How many items of a result there are, by kept sums (1 query)."""
    where = Q(provider=asked.provider)
    if asked.serving:
        where &= Q(serving=asked.serving)
    names = ("items", "in_part", "refused")
    found = ServiceTotal.objects.filter(where).aggregate(**{name: Sum(name) for name in names})
    every, part, refused = (int(found[name] or 0) for name in names)
    return {
        "": every,
        "full": every - part - refused,
        "part": part,
        "refused": refused,
        "paid": every - refused,
    }[asked.status]


@dataclass(frozen=True)
class Group:
    """Accepted items of one payer or one UTC day; `payers` distinct ones of a day."""

    user: str
    day: dt.date | None
    items: int
    settled: int
    payers: int
    last: dt.datetime


def payers(asked: Asked) -> Page[Group]:
    """Who paid, the most first (2 queries)."""
    rows = asked.rows.filter(status__in=ACCEPTED).values("user")
    groups = rows.annotate(n=Count("pk"), paid=Sum("settled"), last=Max("at")).filter(paid__gt=0)
    return selectors.paginate(
        groups.order_by("-paid", "user"),
        asked.page,
        selectors.PAGE_SIZE,
        lambda row: Group(row["user"], None, row["n"], int(row["paid"]), 1, row["last"]),
    )


def days(asked: Asked) -> Page[Group]:
    """What was paid on which UTC day, the newest first (2 queries)."""
    rows = asked.rows.filter(status__in=ACCEPTED)
    groups = (
        rows.annotate(day=TruncDate("at", tzinfo=dt.UTC))
        .values("day")
        .annotate(
            n=Count("pk"), paid=Sum("settled"), last=Max("at"), who=Count("user", distinct=True)
        )
    )
    return selectors.paginate(
        groups.order_by("-day"),
        asked.page,
        selectors.PAGE_SIZE,
        lambda row: Group("", row["day"], row["n"], int(row["paid"]), row["who"], row["last"]),
    )
