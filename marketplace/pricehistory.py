"""What a listing cost and when, from its changes on chain. Pure; changes and clock are passed in.

A step holds until the next one: prices move by transactions only (contracts.md 7).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext as _

from ledger.records import ChangeEntry
from ledger.stored import fields
from marketplace import formats, tariffs
from probes import charts

#: The changes that say something about prices; `type` decides their unit, the additional
#: information what cached input costs, and long requests.
KINDS = ("registered", "price", "type", "additional_info", "removed")
_FIELDS = ("input_price", "output_price", "price_per_token")


@dataclass(frozen=True)
class Step:
    """From `at` on these were the prices, in the units people compare by; none while removed.
    `moved` says by how much each differs from the step before, "" where it does not. `begins`: it
    was listed with them.
    """

    at: dt.datetime
    block: int
    tx_hash: str | None
    pending: bool
    prices: tuple[formats.Price, ...]
    moved: tuple[str, ...]
    begins: bool = False


def steps(changes: Iterable[ChangeEntry], service_type: str) -> tuple[Step, ...]:
    """The steps of one listing, oldest first, from its changes, oldest first. `service_type` is
    its type now; a change of type brings the earlier one along.
    """
    entries = list(changes)
    found: list[Step] = []
    known: dict[str, int] = {}
    newest: tuple[int, str | None, int | None] | None = None
    kind = _first("service_type", entries, service_type)
    info = _first("additional_info", entries, "")
    for entry in entries:
        before, after = fields(entry.before), fields(entry.after)
        prices: tuple[formats.Price, ...] = ()
        begins, log = entry.change == "registered", (entry.block, entry.tx_hash, entry.log_index)
        if entry.change == "removed":
            known = {}
        else:
            kind = str(after.get("service_type") or kind)
            info = str(after.get("additional_info", info))
            known |= _prices(before) if not known else {}
            known |= _prices(after)
            prices = _in_units(kind, known, info)
            if newest == log:  # half of what one log changed never held
                begins, newest = found.pop().begins, None
            # Without any, the change is older than the first price that is known here.
            if not prices or (found and prices == found[-1].prices):
                continue
        last = found[-1].prices if found else ()
        place = entry.at, entry.block, entry.tx_hash, entry.pending
        found.append(Step(*place, prices, _moved(last, prices), begins))
        newest = log
    return tuple(found)


@dataclass(frozen=True)
class Delta:
    """How one price moved in a window, in words."""

    label: str
    text: str


def deltas(found: Sequence[Step], now: dt.datetime, days: int = 30) -> tuple[Delta, ...]:
    """How each present price differs from the one `days` ago, or from the first one since then
    that is known: of a listing that changes all the time not all is read."""
    if not found or not found[-1].prices:
        return ()
    since = now - dt.timedelta(days=days)
    earlier = [step for step in found if step.at <= since and step.prices]
    first = earlier[-1] if earlier else next(step for step in found if step.prices)
    begin = days if earlier else None if first.begins else first.at
    said = []
    pairs = _pairs(first.prices, found[-1].prices)
    for old, new in pairs:
        if old is None or old.unit != new.unit:
            continue
        if old.neuron == new.neuron:
            said.append(Delta(new.label, _unchanged(begin)))
            continue
        change = percent(old.neuron, new.neuron)
        said.append(Delta(new.label, _since(change, begin)))
    # What had a price of its own and has none costs what its neighbour does.
    present = {new.label for _, new in pairs}
    if any(old is not None and old.unit == new.unit for old, new in pairs):
        gone = (old.label for old in first.prices if old.label not in present)
        said += [Delta(label, _("no longer of its own")) for label in gone]
    return tuple(said)


def _pairs(
    before: Sequence[formats.Price], after: Sequence[formats.Price]
) -> list[tuple[formats.Price | None, formats.Price]]:
    """Each price with the earlier one of the same name."""
    known = {price.label: price for price in before}
    return [(known.get(price.label), price) for price in after]


#: Days back, a moment, or None: the one at which it was listed.
Begin = int | dt.datetime | None


def _unchanged(begin: Begin) -> str:
    if begin is None:
        return _("unchanged since it was listed")
    if isinstance(begin, dt.datetime):
        return _("unchanged since %(day)s") % {"day": formats.date(begin.date())}
    return _("unchanged in %(days)s d") % {"days": begin}


def _since(change: str, begin: Begin) -> str:
    if begin is None:
        return _("%(change)s since it was listed") % {"change": change}
    if isinstance(begin, dt.datetime):
        return _("%(change)s since %(day)s") % {
            "change": change,
            "day": formats.date(begin.date()),
        }
    return _("%(change)s in %(days)s d") % {"change": change, "days": begin}


#: Windows of the chart, days; "" is everything.
WINDOWS: Mapping[str, int | None] = {"30d": 30, "90d": 90, "365d": 365, "": None}


def chart(found: Sequence[Step], now: dt.datetime, window: str, csv: str) -> charts.Chart | None:
    """The steps of a window as a step line up to `now`; None where there never was a price. Prices
    of another unit (the type changed) and times off the list are gaps.
    """
    priced = [step for step in found if step.prices]
    if not priced:
        return None
    units = priced[-1].prices
    days = WINDOWS[window]
    since = now - dt.timedelta(days=days) if days else found[0].at
    before = [step for step in found if step.at < since][-1:]
    inside = [step for step in found if step.at >= since]
    points = [charts.Point(since, _values(step, units)) for step in before]
    points += [
        charts.Point(
            step.at,
            _values(step, units, step.moved),
            f"/tx/{step.tx_hash}" if step.tx_hash else "",
            _("block %(number)s") % {"number": f"{step.block:,}"},
        )
        for step in inside
    ]
    last = (before + inside)[-1]
    if now > points[-1].at:
        points.append(charts.Point(now, _values(last, units)))
    said = ", ".join(f"{formats.within(one.label)} {one.text}" for one in deltas(found, now))
    unit = units[0].unit
    title = _("Price: %(changes)s") % {"changes": said} if said else _("Price: not listed now")
    if not said and found[-1].prices:  # in another unit than what it would be compared with
        title = _("Price: now per %(unit)s") % {"unit": unit}
    return charts.Chart(
        id="prices-over-time",
        title=title,
        unit=_("0G per %(unit)s") % {"unit": unit},
        series=charts.series(*(price.label for price in units)),
        points=tuple(points),
        note=_("0G per %(unit)s, UTC. A price holds until the next transaction changes it.")
        % {"unit": unit},
        csv=csv,
        step=True,
    )


def _values(
    step: Step, units: Sequence[formats.Price], moved: Sequence[str] = ()
) -> tuple[charts.Value, ...]:
    if not step.prices:
        return (charts.Value("", _("not listed")),) * len(units)
    if step.prices[0].unit != units[0].unit or step.prices[0].label != units[0].label:
        return (charts.Value("", _("another unit")),) * len(units)
    changes = moved or tuple("" for _ in step.prices)
    values = {
        price.label: charts.Value(
            formats.exact(price.neuron).replace(",", ""),
            f"{formats.amount(price.neuron)} 0G" + (f" ({change})" if change else ""),
        )
        for price, change in zip(step.prices, changes, strict=True)
    }
    none = charts.Value("", _("no price of its own"))
    return tuple(values.get(price.label, none) for price in units)


def percent(before: int, after: int) -> str:
    """`+4.2 %`, `−12 %`: cut to a tenth; a price that was nothing has no percentage."""
    if before <= 0:
        return _("was 0")
    tenths = abs(after - before) * 1000 // before
    sign = formats.MINUS if after < before else "+"
    if tenths == 0:
        return f"{sign}<0.1 %"
    whole, rest = divmod(tenths, 10)
    return f"{sign}{whole:,}{f'.{rest}' if rest else ''} %"


def _first(field: str, entries: Sequence[ChangeEntry], now: str) -> str:
    """What a field was before the first change that says it, or the removal."""
    told = (before for entry in entries if field in (before := fields(entry.before)))
    return str(next(told, {}).get(field) or now)


def _prices(said: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: int(text)
        for name in _FIELDS
        if (text := str(said.get(name, ""))).isascii() and text.isdigit() and len(text) < 80
    }


def _in_units(kind: str, known: Mapping[str, int], info: str) -> tuple[formats.Price, ...]:
    """What lists show, then what cached input costs, and the longest requests; each named once."""
    if "price_per_token" in known:
        return (formats.training_price(known["price_per_token"]),)
    if not known:
        return ()
    offer = tariffs.offer(kind, known.get("input_price", 0), known.get("output_price", 0), info)
    found = [*offer.prices, *([offer.cached] if offer.cached else [])]
    if len(offer.tiers) > 1:
        last = offer.tiers[-1]
        found.append(replace(last.input, label=_("Input of the longest requests")))
        if last.output is not None:
            found.append(replace(last.output, label=_("Output of the longest requests")))
    return tuple(found)


def _moved(last: Sequence[formats.Price], prices: Sequence[formats.Price]) -> tuple[str, ...]:
    return tuple(
        percent(old.neuron, new.neuron)
        if old is not None and old.unit == new.unit and old.neuron != new.neuron
        else ""
        for old, new in _pairs(last, prices)
    )
