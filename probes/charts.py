"""Charts as data: a finding, a unit, and rows that are shown as a table and drawn from it.

Pure. `templates/ui/chart.html` shows a chart, `static/js/chart.js` draws what its table says:
there is no second copy of the numbers.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

#: Lines differ by dashes as well as by colour; SVG's stroke-dasharray by place in the chart.
DASHES = ("", "7 4", "2 3", "10 3 2 3")


@dataclass(frozen=True)
class Series:
    """A line: its name, which of the six part colours, and its dashes ("" for a whole line)."""

    label: str
    part: int
    dash: str


@dataclass(frozen=True)
class Value:
    """`number`: in the chart's unit, decimal digits; "" draws a gap. `text`: for the table."""

    number: str = ""
    text: str = field(default_factory=lambda: _("no data"))


@dataclass(frozen=True)
class Point:
    """One row; `values` are in the order of the chart's series. `href`: where it comes from.

    `number` is its place where the chart's `axis` is not time.
    """

    at: dt.datetime
    values: tuple[Value, ...]
    href: str = ""
    href_label: str = ""
    number: int | None = None

    @property
    def unix(self) -> int:
        return int(self.at.timestamp()) if self.number is None else self.number


@dataclass(frozen=True)
class Chart:
    """`title` states the finding in words. `step`: a value holds until the next one (prices).
    `axis`: what runs to the right, "" for time.

    `example`: not measured anywhere; said beside the title. `csv`: path of the same rows, or "".
    """

    id: str
    title: str
    unit: str
    series: tuple[Series, ...]
    points: tuple[Point, ...]
    note: str = ""
    csv: str = ""
    step: bool = False
    example: bool = False
    axis: str = ""

    @property
    def empty(self) -> bool:
        """Nothing to draw."""
        return not any(value.number for point in self.points for value in point.values)

    @property
    def linked(self) -> bool:
        """Some rows say where they come from."""
        return any(point.href for point in self.points)


def series(*labels: str) -> tuple[Series, ...]:
    """Lines with colours and dashes by their place."""
    return tuple(
        Series(label, n % 6 + 1, DASHES[n % len(DASHES)]) for n, label in enumerate(labels)
    )


def measured(number: int | None, text: str = "", tenths: bool = False) -> Value:
    """A whole number, or one in tenths; None is a gap."""
    if number is None:
        return Value()
    digits = f"{number // 10}.{number % 10}" if tenths else str(number)
    return Value(digits, text or digits)
