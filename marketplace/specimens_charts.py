"""What the style guide shows of charts: a bar of cells, steps, lines with a gap, and an axis that
is not time. All values are examples."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from probes.bars import bar, bar_of
from probes.charts import Chart, Point, Value, measured, series
from probes.fold import DAY, HOUR
from probes.history import WINDOWS, Cell, History
from probes.selectors import HealthView, Uptime

_WEEK = WINDOWS["7d"]
_GOOD = Uptime(9931, 651, 640)
#: A bad night, and a day on which nobody looked.
_STATES = ("up",) * 30 + ("down",) * 4 + ("degraded",) * 3 + ("none",) * 12 + ("up",) * 35


@dataclass(frozen=True)
class ChartSpecimens:
    """`healths`: rows of a list; `history`: the bar at full width, with its table."""

    healths: tuple[HealthView, ...]
    history: History
    charts: tuple[Chart, ...]


def specimens(now: dt.datetime) -> ChartSpecimens:
    health = HealthView(
        state="up", uptime={"7d": _GOOD}, bar=bar_of("u" * 20 + "gd--uuuu", 6 * HOUR)
    )
    return ChartSpecimens(
        healths=(health, HealthView(bar=bar_of("-" * 28, 6 * HOUR))),
        history=_history(health, now),
        charts=(_steps(now), _lines(now), _loss(now)),
    )


def _history(health: HealthView, now: dt.datetime) -> History:
    shares = {"up": 10_000, "degraded": 10_000, "down": 0}
    cells = tuple(
        Cell(
            start=now - (len(_STATES) - place) * _WEEK.span,
            state=state,
            uptime=shares.get(state),
            probes=0 if state == "none" else 24,
            answer=None,
            first_token=None,
            tokens=None,
            example=True,
        )
        for place, state in enumerate(_STATES)
    )
    return History(
        window=_WEEK,
        now=health,
        cells=cells,
        bar=bar(_STATES, _WEEK.span),
        uptime=_GOOD,
        answer=None,
        first_token=None,
        tokens=None,
        example=True,
    )


def _steps(now: dt.datetime) -> Chart:
    def at(days: int, given: str, answered: str) -> Point:
        values = tuple(Value(text, f"{text} 0G") for text in (given, answered))
        return Point(now - days * DAY, values, "#charts", f"block {4_512_331 - days * 8_000:,}")

    return Chart(
        id="example-steps",
        title="Price: input −16 % in 30 d, output unchanged in 30 d",
        unit="0G per 1M tokens",
        series=series("Input", "Output"),
        points=(at(60, "0.5", "1.2"), at(21, "0.42", "1.2"), at(0, "0.42", "1.2")),
        step=True,
        example=True,
    )


def _lines(now: dt.datetime) -> Chart:
    medians = (410, 430, 425, 460, None, None, 520, 495, 470, 450, 440, 435)
    edges = (900, 950, 930, 1210, None, None, 1480, 1300, 1120, 1010, 980, 960)
    points = (
        Point(
            now - (len(medians) - place) * 2 * HOUR,
            tuple(
                measured(ms, "" if ms is None else f"{ms:,} ms")
                for ms in (medians[place], edges[place])
            ),
        )
        for place in range(len(medians))
    )
    return Chart(
        id="example-lines",
        title="First token after 450 ms, 19 of 20 within 1.5 s",
        unit="ms",
        series=series("p50", "p95"),
        points=tuple(points),
        note="ms, UTC; a gap is time in which nobody looked",
        example=True,
    )


def _loss(now: dt.datetime) -> Chart:
    losses = ("2.31", "1.74", "1.42", "1.25", "1.17", "1.12")
    points = (
        Point(now, (Value(loss, loss),), number=10 * (place + 1))
        for place, loss in enumerate(losses)
    )
    return Chart(
        id="example-axis",
        title="Training loss fell to 1.12 in 60 steps",
        unit="loss",
        series=series("Loss"),
        points=tuple(points),
        note="loss by step",
        axis="Step",
        example=True,
    )
