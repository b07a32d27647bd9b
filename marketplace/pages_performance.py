"""The Performance tab of a service: what our probes measured, as findings, charts and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from accounts import links as account_links
from accounts.pages_transaction import Link
from inference.timings import Timings
from ledger.records import Listing
from marketplace import links
from marketplace.pages import ServiceHead
from probes.charts import Chart, Point, Series, Value, measured, series
from probes.history import WINDOWS, Cell, History
from probes.selectors import HealthView, Spread
from probes.templatetags.health import seconds, tenths

CHAT = "chatbot"
#: A cell with fewer samples has a median only; a title says "19 of 20" from so many on.
FEW, MANY = 5, 20
Spreads = tuple[tuple[Cell, Spread | None], ...]

_STATES = {
    "up": (gettext_noop("Up"), "ok"),
    "degraded": (gettext_noop("Degraded"), "warn"),
    "down": (gettext_noop("Down"), "bad"),
    "none": (gettext_noop("No data"), ""),
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
        state=_(state),
        tone=tone,
        title=_uptime_title(history),
        seen=tuple(_seen(history.now, listing.url)),
        windows=tuple(
            Link(_(window.label), window_path(listing, window.name), window == history.window)
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
    return links.with_query(account_links.service(listing, "performance"), window=window)


def csv_path(listing: Listing, window: str) -> str:
    other = account_links.other_name(listing)
    path = f"/api/v1/services/{listing.kind}/{listing.provider}/health.csv"
    return links.with_query(path, service_name=other, window=window)


def _nothing(history: History) -> str:
    if history.now.opted_out:
        return _("Its provider, or the operator of this site, asked not to measure it.")
    if history.now.checked_at is None:
        return _("It has not been probed yet. A new service is within a minute or so.")
    return ""


def _unasked(listing: Listing, history: History) -> str:
    if listing.service_type != CHAT or history.first_token or history.now.first_token:
        return ""
    return _(
        "Time to first token and speed are not measured here: that takes a small question, which "
        "is asked where it costs nothing or where the operator of this site pays for it."
    )


def _uptime_title(history: History) -> str:
    window = _(history.window.label)
    if history.uptime is None:
        return _("Not measured in the last %(window)s") % {"window": window}
    text = _("Up %(share)s of the measured time in the last %(window)s")
    return text % {"share": history.uptime.text, "window": window}


def _seen(now: HealthView, url: str) -> list[Seen]:
    """What the newest probes found, in words."""
    rows = []
    if now.note and now.state != "up":
        rows.append(Seen(_("Last probe"), now.note, "bad" if now.state == "down" else "warn"))
    if now.tls_days is not None:
        tone = "ok" if now.tls_days > 14 else "warn" if now.tls_days > 0 else "bad"
        days = ngettext("%(n)s day left", "%(n)s days left", now.tls_days)
        left = days % {"n": f"{now.tls_days:,}"} if now.tls_days >= 0 else _("has ended")
        rows.append(Seen(_("Certificate"), left, tone))
    elif now.checked_at is not None and not url.lower().startswith("https:"):
        rows.append(Seen(_("Certificate"), _("none: it is not asked over TLS"), "warn"))
    for label, value, yes, no in (
        (
            _("Model list"),
            now.model_listed,
            _("names this model"),
            _("does not name this model"),
        ),
        (
            _("From browsers"),
            now.cors,
            _("may be used (CORS)"),
            _("cannot be used: CORS refuses"),
        ),
        (
            _("Final piece"),
            now.usage_last,
            _("says what was used"),
            _("does not say what was used"),
        ),
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
        title=_within(
            history.first_token,
            _("No time to first token measured"),
            _("Half of its answers begin within %(half)s"),
            _("Half of its answers begin within %(half)s, 19 of 20 within %(edge)s"),
            _("Half of its answers begin within %(half)s, the slowest within %(edge)s"),
        ),
        unit=_("milliseconds"),
        note=_basis(
            history.first_token,
            lambda n: ngettext(
                "Time to first token, ms, from %(n)s small question; UTC",
                "Time to first token, ms, from %(n)s small questions; UTC",
                n,
            ),
        ),
        series=_lines(firsts, _("19 of 20 within")),
        points=_points(firsts),
        csv=csv,
        example=example,
    )
    tokens = Chart(
        id="tokens",
        title=_("It writes %(n)s tokens a second") % {"n": tenths(history.tokens.p50)}
        if history.tokens
        else _("No writing speed measured"),
        unit=_("tokens per second"),
        note=_basis(
            history.tokens,
            lambda n: ngettext(
                "Tokens a second after the first, from %(n)s answer; UTC",
                "Tokens a second after the first, from %(n)s answers; UTC",
                n,
            ),
        ),
        series=_lines(speeds, _("19 of 20 faster than")),
        points=_points(speeds, tenths_each=True),
        csv=csv,
        example=example,
    )
    answer = Chart(
        id="answer",
        title=_of_queue(history.answer) if listing.is_fine_tuning else _of_list(history.answer),
        unit=_("milliseconds"),
        note=_basis(
            history.answer,
            _quarters_of_queue if listing.is_fine_tuning else _quarters_of_list,
        ),
        series=_lines(answers, _("19 of 20 within")),
        points=_points(answers),
        csv=csv,
        example=example,
    )
    spoken = listing.service_type == CHAT and not _unasked(listing, history)
    return (first, tokens, answer) if spoken else (answer,)


def _of_list(found: Spread | None) -> str:
    return _within(
        found,
        _("No model list time measured"),
        _("Half of the time its model list comes within %(half)s"),
        _("Half of the time its model list comes within %(half)s, 19 of 20 within %(edge)s"),
        _("Half of the time its model list comes within %(half)s, the slowest within %(edge)s"),
    )


def _of_queue(found: Spread | None) -> str:
    return _within(
        found,
        _("No queue length time measured"),
        _("Half of the time its queue length comes within %(half)s"),
        _("Half of the time its queue length comes within %(half)s, 19 of 20 within %(edge)s"),
        _("Half of the time its queue length comes within %(half)s, the slowest within %(edge)s"),
    )


def _within(found: Spread | None, missing: str, half: str, most: str, slowest: str) -> str:
    """The sentence that so many samples allow."""
    if found is None:
        return missing
    text = half if found.n < FEW else most if found.n >= MANY else slowest
    return text % {"half": seconds(found.p50), "edge": seconds(found.edge)}


def _quarters_of_list(n: int) -> str:
    return ngettext(
        "Time of the model list, ms, from %(n)s period of 15 minutes; UTC",
        "Time of the model list, ms, from %(n)s periods of 15 minutes; UTC",
        n,
    )


def _quarters_of_queue(n: int) -> str:
    return ngettext(
        "Time of the queue length, ms, from %(n)s period of 15 minutes; UTC",
        "Time of the queue length, ms, from %(n)s periods of 15 minutes; UTC",
        n,
    )


def _basis(found: Spread | None, words: Callable[[int], str]) -> str:
    number = found.n if found else 0
    return words(number) % {"n": f"{number:,}"}


def _edge_tells(found: Spread | None) -> bool:
    return found is not None and found.n >= FEW


def _lines(cells: Spreads, edge: str) -> tuple[Series, ...]:
    """The median, and the outer percentile where any cell has samples enough for one."""
    half = _("median")
    return series(half, edge) if any(_edge_tells(found) for _cell, found in cells) else series(half)


def _points(cells: Spreads, *, tenths_each: bool = False) -> tuple[Point, ...]:
    both = len(_lines(cells, "")) == 2

    def value(number: int | None) -> Value:
        text = "" if number is None or tenths_each else seconds(number)
        return measured(number, text, tenths=tenths_each)

    def values(found: Spread | None) -> tuple[Value, ...]:
        outer = (value(found.edge if found and _edge_tells(found) else None),) if both else ()
        return (value(found.p50 if found else None), *outer)

    return tuple(Point(cell.start, values(found)) for cell, found in cells)
