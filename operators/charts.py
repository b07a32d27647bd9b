"""Earnings as charts; their tables are their data."""

from __future__ import annotations

import datetime as dt

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import money
from operators.earnings import Earnings, Sums
from operators.market import Place
from operators.period import Period
from probes.charts import Chart, Point, Value, series

#: Days that are drawn: the last ones of a longer period.
MOST_DAYS = 400


def by_day(found: Earnings, period: Period, today: dt.date) -> Chart:
    """What was earned on each day of a period, and what was not collected."""
    days = {dt.date.fromisoformat(part.id): part.sums for part in found.by_day}
    first, last = _ends(days, period, today)
    shown = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    note = (
        _(
            "0G per UTC day, the last 400 days. A day without settlements is 0: brokers settle in "
            "batches."
        )
        if len(shown) > MOST_DAYS
        else _("0G per UTC day. A day without settlements is 0: brokers settle in batches.")
    )
    return Chart(
        id="by-day-chart",
        title=_finding(days),
        unit="0G",
        series=series(_("Earned"), _("Asked for, not paid")),
        points=tuple(_point(day, days.get(day, Sums())) for day in shown[-MOST_DAYS:]),
        note=note,
        csv=f"/operator/earnings.csv?{period.query(by='day')}",
    )


def _ends(days: dict[dt.date, Sums], period: Period, today: dt.date) -> tuple[dt.date, dt.date]:
    # A day that has not come is no day without settlements.
    last = max([min(period.until or today, today), *days])
    first = period.since or min(days, default=last)
    # Nobody's books begin with year 1, whatever the address bar says.
    earliest = max(last.toordinal() - MOST_DAYS, 1)
    return max(first, dt.date.fromordinal(earliest), min([*days, last])), last


def _finding(days: dict[dt.date, Sums]) -> str:
    if not any(sums.earned for sums in days.values()):
        return _("Nothing was earned in this period")
    best = max(days, key=lambda day: (days[day].earned, day))
    amount = money.short(days[best].earned)
    return _("Most was earned on %(day)s: %(amount)s 0G") % {
        "day": date_format(best, "MONTH_DAY_FORMAT"),
        "amount": amount,
    }


def _point(day: dt.date, sums: Sums) -> Point:
    return Point(
        at=dt.datetime.combine(day, dt.time(), dt.UTC),
        values=(_amount(sums.earned), _amount(sums.missed)),
        href=f"/operator/settlements?since={day}&until={day}" if sums.items else "",
        href_label=_items(sums.items) if sums.items else "",
    )


def _items(count: int) -> str:
    return ngettext("%(items)s item", "%(items)s items", count) % {"items": f"{count:,}"}


def _amount(neuron: int) -> Value:
    return Value(money.exact(neuron), f"{money.told(neuron)} 0G")


def demand(found: Place, number: int) -> Chart:
    """Settled per week: mine, and all who offer the same model."""
    now, before = found.last.everyone, found.before  # the day of today is not over
    title = (
        _("Demand rose in the last week") if now > before
        else _("Demand fell in the last week") if now < before
        else _("Demand stayed the same in the last week")
    )  # fmt: skip
    if not any(week.everyone for week in found.weeks):
        title = _("Nobody settled anything in these weeks")
    return Chart(
        id=f"demand-{number}",
        title=title,
        unit="0G",
        series=series(_("You"), _("All who offer it")),
        points=tuple(
            Point(
                dt.datetime.combine(week.start, dt.time(), dt.UTC),
                (_amount(week.mine), _amount(week.everyone)),
            )
            for week in found.weeks
        ),
        note=_("0G settled in seven days from each date on, UTC"),
    )
