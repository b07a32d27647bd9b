"""Periods of an operator's books: whole UTC days, both ends included, as a URL says them. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Q
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.days import day_of, end_of, start_of

#: Days back from today, today included; 0: from the first settlement on.
PRESETS: Mapping[str, int] = {"today": 1, "7d": 7, "30d": 30, "90d": 90, "all": 0}
LABELS = {
    "today": gettext_noop("Today"),
    "7d": gettext_noop("7 days"),
    "30d": gettext_noop("30 days"),
    "90d": gettext_noop("90 days"),
    "all": gettext_noop("All time"),
}
DEFAULT = "30d"
#: Whole calendar months that are offered besides the present one.
MONTHS = 2


@dataclass(frozen=True)
class Period:
    """`since` to `until`, both included; None is open. `name`: a key of `PRESETS`, or "" for days
    that somebody chose. A preset has no end: a chain's clock may run ahead of ours."""

    name: str = DEFAULT
    since: dt.date | None = None
    until: dt.date | None = None

    @classmethod
    def parse(cls, given: Mapping[str, str], today: dt.date) -> Period:
        """Never an error: what makes no sense was not asked for; days in the wrong order turn."""
        since, until = (day_of(given.get(name, "")) for name in ("since", "until"))
        if since or until:
            if since and until and since > until:
                since, until = until, since
            return cls("", since, until)
        name = given.get("period", "")
        return cls.preset(name if name in PRESETS else DEFAULT, today)

    @classmethod
    def preset(cls, name: str, today: dt.date) -> Period:
        days = PRESETS[name]
        return cls(name, today - dt.timedelta(days=days - 1) if days else None, None)

    @property
    def start(self) -> dt.datetime | None:
        return start_of(self.since) if self.since else None

    @property
    def end(self) -> dt.datetime | None:
        """The first moment after it."""
        return end_of(self.until) if self.until else None

    def where(self) -> Q:
        """The condition on rows with an `at`."""
        found = Q()
        if self.start:
            found &= Q(at__gte=self.start)
        if self.end:
            found &= Q(at__lt=self.end)
        return found

    def before(self) -> Q | None:
        """Rows before the period; None where nothing can be before it."""
        return Q(at__lt=self.start) if self.start else None

    def query(self, **more: object) -> str:
        """As a query string, with `more` added; empty values are left out."""
        mine: dict[str, object] = (
            {"period": self.name} if self.name else {"since": self.since, "until": self.until}
        )
        fields = {**mine, **more}
        return urlencode({name: str(value) for name, value in fields.items() if value})

    @property
    def said(self) -> str:
        """`30 Oct to 3 Nov 2026, UTC`: the days in words."""
        if self.whole:
            return _("all time")
        first = _said(self.since) if self.since else _("the first settlement")
        last = _said(self.until) if self.until else _("now")
        return (
            first if first == last else _("%(first)s to %(last)s") % {"first": first, "last": last}
        )

    @property
    def whole(self) -> bool:
        """Nothing is before it, and nothing after."""
        return self.since is None and self.until is None

    @property
    def file_part(self) -> str:
        """For the name of a file."""
        if self.name:
            return self.name
        return "_".join(str(day) for day in (self.since, self.until) if day)


def months(today: dt.date) -> tuple[Period, ...]:
    """The present calendar month and the `MONTHS` before it, as books are kept; the newest first.
    Their days stand in the address, so that it means the same for ever."""
    found, first = [], today.replace(day=1)
    for _month in range(MONTHS + 1):
        last = (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
        found.append(Period("", first, last))
        first = (first - dt.timedelta(days=1)).replace(day=1)
    return tuple(found)


def _said(day: dt.date) -> str:
    return date_format(day)
