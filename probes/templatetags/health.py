"""Measured health in lists and pages, as tags: a list of 25 services draws 25 bars."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from django import template
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_
from django.utils.translation import ngettext

from net.words import kept_by_language
from probes.bars import HEIGHT, WIDTH, Bar, bar
from probes.fold import CELL, NO_DATA, percent
from probes.history import WINDOWS
from probes.selectors import Spread, Uptime

register = template.Library()
_COUNTS = {
    "up": N_("%(count)s up"),
    "degraded": N_("%(count)s degraded"),
    "down": N_("%(count)s down"),
    NO_DATA: N_("%(count)s no data"),
}


@register.filter
def window_label(name: str) -> str:
    """`24 hours` for `24h`: a window as its links say it."""
    return WINDOWS[name].label if name in WINDOWS else name


@kept_by_language
def _no_data() -> SafeString:
    """What stands where nobody looked."""
    return SafeString(f'<span class="sub">{escape(_("no data"))}</span>')


def _measured(shown: str, title: str) -> SafeString:
    """A number that we made, with what it was made of as its title."""
    return SafeString(f'<span class="nowrap" title="{escape(title)}">{shown}</span>')


def bar_text(bar: Bar) -> str:
    """The whole bar in words."""
    if not bar.cells:
        return _("no data")
    counts = Counter(bar.cells)
    return _counted(bar.span, tuple(counts[state] for state in _COUNTS))


@kept_by_language
def _counted(span: dt.timedelta, counts: tuple[int, ...]) -> str:
    said = [_(text) % {"count": n} for text, n in zip(_COUNTS.values(), counts, strict=True) if n]
    return _("%(cells)s cells of %(span)s, oldest first: %(counts)s") % {
        "cells": sum(counts),
        "span": _span(span),
        "counts": ", ".join(said),
    }


def _span(span: dt.timedelta) -> str:
    minutes = int(span.total_seconds()) // 60
    if minutes % 1440 == 0:
        days = minutes // 1440
        return ngettext("%(count)s day", "%(count)s days", days) % {"count": days}
    if minutes % 60 == 0:
        hours = minutes // 60
        return ngettext("%(count)s hour", "%(count)s hours", hours) % {"count": hours}
    return ngettext("%(count)s minute", "%(count)s minutes", minutes) % {"count": minutes}


@register.simple_tag
def uptime_bar(bar: Bar, label: str = "") -> SafeString:
    """The bar as a drawing whose text alternative counts its cells; no script, no style."""
    paths = "".join(f'<path class="{s.state}" d="{s.path}"/>' for s in bar.shapes)
    said = escape(f"{label or _('Uptime')}: {bar_text(bar)}")
    return SafeString(
        f'<svg class="uptime" viewBox="0 0 {bar.width} {HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{said}">{paths}</svg>'
    )


@register.simple_tag
def uptime_sample(state: str) -> SafeString:
    """One cell of a bar, for its legend."""
    (shape,) = bar([state], CELL).shapes
    return SafeString(
        f'<svg class="uptime sample" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" '
        f'preserveAspectRatio="none"><path class="{state}" d="{shape.path}"/></svg>'
    )


@register.simple_tag
@kept_by_language
def uptime(found: Uptime | None) -> SafeString:
    """`99.31 %, 96 probes`: the share, cut, and the number of probes; or `no data`."""
    if found is None:
        return _no_data()
    title = ngettext(
        "of %(count)s measured period of 15 minutes",
        "of %(count)s measured periods of 15 minutes",
        found.cells,
    ) % {"count": f"{found.cells:,}"}
    by = ngettext("%(count)s probe", "%(count)s probes", found.probes)
    by %= {"count": f"{found.probes:,}"}
    return _measured(f'{found.text} <span class="sub">{escape(by)}</span>', title)


@kept_by_language
def milliseconds(found: Spread | None) -> SafeString:
    """The median of a spread of milliseconds, with what 19 of 20 keep in its title."""
    if found is None:
        return _no_data()
    title = ngettext(
        "median; 19 of 20 within %(edge)s; %(count)s sample",
        "median; 19 of 20 within %(edge)s; %(count)s samples",
        found.n,
    )
    return _measured(
        seconds(found.p50), title % {"edge": seconds(found.edge), "count": f"{found.n:,}"}
    )


@kept_by_language
def speed(found: Spread | None) -> SafeString:
    """The median of a spread of tokens per 10 s, per second."""
    if found is None:
        return _no_data()
    title = ngettext(
        "median; 19 of 20 answers faster than %(edge)s; %(count)s sample",
        "median; 19 of 20 answers faster than %(edge)s; %(count)s samples",
        found.n,
    ) % {"edge": tenths(found.edge), "count": f"{found.n:,}"}
    return _measured(f'{tenths(found.p50)} <span class="sub">{escape(_("tok/s"))}</span>', title)


@register.simple_tag
def example(is_example: object) -> SafeString:
    """The mark of numbers that nobody measured, empty for measured ones."""
    if not is_example:
        return SafeString("")
    title, text = escape(_("Made by seed_demo, measured nowhere")), escape(_("example data"))
    return SafeString(f'<span class="badge warn" title="{title}">{text}</span>')


@register.filter
def at(items: Sequence[Any], place: int) -> Any:
    """The item of a sequence at a place that a loop counts."""
    return items[place]


@register.filter
def seconds(ms: int) -> str:
    """`840 ms`, from a second on `1.2 s`, cut (ux.md 2)."""
    return f"{ms} ms" if ms < 1000 else f"{ms // 1000:,}.{ms % 1000 // 100} s"


@register.filter
def share(value: int) -> str:
    """`99.31 %` of 9931, cut."""
    return f"{percent(value)} %"


@register.filter
def tenths(value: int) -> str:
    """`42.1` of 421."""
    return f"{value // 10:,}.{value % 10}"
