"""The Performance tab of a service: what our probes measured, as findings, charts and tables."""

from __future__ import annotations

from dataclasses import dataclass

from inference.timings import Timings
from ledger.records import Listing
from marketplace import links
from marketplace.pages import ServiceHead
from marketplace.parts import Link, service_path
from probes.charts import Chart, Point, Series, Value, measured, series
from probes.history import WINDOWS, Cell, History
from probes.selectors import HealthView, Spread
from probes.templatetags.health import seconds, tenths

CHAT = "chatbot"
#: A cell with fewer samples has a median only; a title says "19 of 20" from so many on.
FEW, MANY = 5, 20
_QUESTIONS = ("small question", "small questions")
_QUARTERS = ("period of 15 minutes", "periods of 15 minutes")
Spreads = tuple[tuple[Cell, Spread | None], ...]

_STATES = {
    "up": ("Up", "ok"),
    "degraded": ("Degraded", "warn"),
    "down": ("Down", "bad"),
    "none": ("No data", ""),
}


@dataclass(frozen=True)
class Seen:
    """One thing that probes look at: what they found, and how good that is (ok, warn, bad, "")."""

    label: str
    text: str
    tone: str = ""


@dataclass(frozen=True)
class PerformanceTab:
    """`nothing` is set, in words, where there is not a single measurement to show; `unasked`
    where nobody measures how fast it writes."""

    service: ServiceHead
    history: History
    state: str
    tone: str
    title: str
    seen: tuple[Seen, ...]
    windows: tuple[Link, ...]
    charts: tuple[Chart, ...]
    csv: str
    nothing: str
    unasked: str
    shared: Timings
    sharing: bool | None
    here: str
    interval: str


def performance(
    service: ServiceHead, history: History, shared: Timings, *, sharing: bool | None, interval: int
) -> PerformanceTab:
    """The page of one window; `interval`: seconds between probes of a service that is up,
    `sharing`: whether the visitor shares times, None when nobody is signed in."""
    listing = service.listing
    csv = csv_path(listing, history.window.name)
    state, tone = _STATES[history.now.state]
    return PerformanceTab(
        service=service,
        history=history,
        state=state,
        tone=tone,
        title=_uptime_title(history),
        seen=tuple(_seen(history.now)),
        windows=tuple(
            Link(window.label, window_path(listing, window.name), window == history.window)
            for window in WINDOWS.values()
        ),
        charts=_charts(listing, history, csv),
        csv=csv,
        nothing=_nothing(history),
        unasked=_unasked(listing, history),
        shared=shared,
        sharing=sharing,
        here=window_path(listing, history.window.name),
        interval=f"{interval // 60} min" if interval >= 60 else f"{interval} s",
    )


def window_path(listing: Listing, window: str) -> str:
    path = service_path(listing, "performance")
    return f"{path}{'&' if '?' in path else '?'}window={window}"


def csv_path(listing: Listing, window: str) -> str:
    other = "" if listing.recommended else listing.service_name
    path = f"/api/v1/services/{listing.kind}/{listing.provider}/health.csv"
    return links.with_query(path, service_name=other, window=window)


def _nothing(history: History) -> str:
    if history.now.opted_out:
        return "Its provider asked us not to measure it."
    if history.now.checked_at is None:
        return "It has not been probed yet. A new service is within a minute or so."
    return ""


def _unasked(listing: Listing, history: History) -> str:
    if listing.service_type != CHAT or history.first_token or history.now.first_token:
        return ""
    return (
        "Time to first token and speed are not measured here: that takes a small question, which "
        "is asked where it costs nothing or where the operator of this site pays for it."
    )


def _uptime_title(history: History) -> str:
    window = history.window.label
    if history.uptime is None:
        return f"Not measured in the last {window}"
    return f"Up {history.uptime.text} of the measured time in the last {window}"


def _seen(now: HealthView) -> list[Seen]:
    """What the newest probes found, in words."""
    rows = []
    if now.note and now.state != "up":
        rows.append(Seen("Last probe", now.note, "bad" if now.state == "down" else "warn"))
    if now.tls_days is not None:
        tone = "ok" if now.tls_days > 14 else "warn" if now.tls_days > 0 else "bad"
        days = f"{now.tls_days:,} day{'' if now.tls_days == 1 else 's'} left"
        rows.append(Seen("Certificate", days, tone))
    elif now.checked_at is not None and now.state != "down":
        rows.append(Seen("Certificate", "none: it is not asked over TLS", "warn"))
    for label, value, yes, no in (
        ("Model list", now.model_listed, "names this model", "does not name this model"),
        ("From browsers", now.cors, "may be used (CORS)", "cannot be used: CORS refuses"),
        ("Final piece", now.usage_last, "says what was used", "does not say what was used"),
    ):
        if value is not None:
            rows.append(Seen(label, yes if value else no, "ok" if value else "warn"))
    return rows


def _charts(listing: Listing, history: History, csv: str) -> tuple[Chart, ...]:
    cells, example = history.cells, history.example
    firsts = tuple((cell, cell.first_token) for cell in cells)
    answers = tuple((cell, cell.answer) for cell in cells)
    speeds = tuple((cell, cell.tokens) for cell in cells)
    first = Chart(
        id="first-token",
        title=_within("Half of its answers begin", history.first_token, "time to first token"),
        unit="milliseconds",
        note=_basis("Time to first token, ms, from", history.first_token, *_QUESTIONS),
        series=_lines(firsts, "p95"),
        points=_points(firsts),
        csv=csv,
        example=example,
    )
    tokens = Chart(
        id="tokens",
        title=f"It writes {tenths(history.tokens.p50)} tokens a second"
        if history.tokens
        else "No writing speed measured",
        unit="tokens per second",
        note=_basis("Tokens a second after the first, from", history.tokens, "answer", "answers"),
        series=_lines(speeds, "p5"),
        points=_points(speeds, tenths_each=True),
        csv=csv,
        example=example,
    )
    asked = "queue length" if listing.is_fine_tuning else "model list"
    answer = Chart(
        id="answer",
        title=_within(f"Half of the time its {asked} comes", history.answer, f"{asked} time"),
        unit="milliseconds",
        note=_basis(f"Time of the {asked}, ms, from", history.answer, *_QUARTERS),
        series=_lines(answers, "p95"),
        points=_points(answers),
        csv=csv,
        example=example,
    )
    spoken = listing.service_type == CHAT and not _unasked(listing, history)
    return (first, tokens, answer) if spoken else (answer,)


def _within(what: str, found: Spread | None, missing: str) -> str:
    if found is None:
        return f"No {missing} measured"
    told = f"{what} within {seconds(found.p50)}"
    if found.n < FEW:
        return told
    rest = "19 of 20" if found.n >= MANY else "the slowest"
    return f"{told}, {rest} within {seconds(found.edge)}"


def _basis(what: str, found: Spread | None, one: str, many: str) -> str:
    number = found.n if found else 0
    return f"{what} {number:,} {one if number == 1 else many}; UTC"


def _edge_tells(found: Spread | None) -> bool:
    return found is not None and found.n >= FEW


def _lines(cells: Spreads, edge: str) -> tuple[Series, ...]:
    """The median, and the outer percentile where any cell has samples enough for one."""
    return series("p50", edge) if any(_edge_tells(found) for _, found in cells) else series("p50")


def _points(cells: Spreads, *, tenths_each: bool = False) -> tuple[Point, ...]:
    both = len(_lines(cells, "")) == 2

    def value(number: int | None) -> Value:
        text = "" if number is None or tenths_each else seconds(number)
        return measured(number, text, tenths=tenths_each)

    def values(found: Spread | None) -> tuple[Value, ...]:
        outer = (value(found.edge if found and _edge_tells(found) else None),) if both else ()
        return (value(found.p50 if found else None), *outer)

    return tuple(Point(cell.start, values(found)) for cell, found in cells)
