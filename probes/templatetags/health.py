"""Measured health in lists and pages, as tags: a list of 25 services draws 25 bars."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from django import template
from django.utils.safestring import SafeString, mark_safe

from probes.bars import HEIGHT, WIDTH, Bar, bar
from probes.fold import CELL
from probes.history import WINDOWS
from probes.selectors import Spread, Uptime

register = template.Library()

_EXAMPLE = (
    '<span class="badge warn" title="Made by seed_demo, measured nowhere">example data</span>'
)


@register.filter
def window_label(name: str) -> str:
    """`24 hours` for `24h`: a window as its links say it."""
    return WINDOWS[name].label if name in WINDOWS else name


#: What stands where nobody looked.
_NO_DATA = mark_safe('<span class="sub">no data</span>')


def _measured(shown: str, title: str) -> SafeString:
    """A number that we made, with what it was made of as its title."""
    return mark_safe(f'<span class="nowrap" title="{title}">{shown}</span>')


def _samples(n: int) -> str:
    return f"{n:,} sample{'' if n == 1 else 's'}"


@register.simple_tag
def uptime_bar(bar: Bar, label: str = "Uptime") -> SafeString:
    """The bar as a drawing whose text alternative counts its cells; no script, no style."""
    paths = "".join(f'<path class="{s.state}" d="{s.path}"></path>' for s in bar.shapes)
    return mark_safe(
        f'<svg class="uptime" viewBox="0 0 {bar.width} {HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(label)}: {escape(bar.text)}">{paths}</svg>'
    )


@register.simple_tag
def uptime_sample(state: str) -> SafeString:
    """One cell of a bar, for its legend."""
    (shape,) = bar([state], CELL).shapes
    return mark_safe(
        f'<svg class="uptime sample" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" '
        f'preserveAspectRatio="none"><path class="{state}" d="{shape.path}"></path></svg>'
    )


@register.simple_tag
def uptime(found: Uptime | None) -> SafeString:
    """`99.31 % of 96`: the share, cut, and the number of probes; or `no data`."""
    if found is None:
        return _NO_DATA
    periods = "period" if found.cells == 1 else "periods"
    return _measured(
        f'{found.text} <span class="sub">of {found.probes:,}</span>',
        f"of {found.cells:,} measured {periods} of 15 minutes",
    )


@register.simple_tag
def milliseconds(found: Spread | None) -> SafeString:
    """The median of a spread of milliseconds with p95 and sample size in its title."""
    if found is None:
        return _NO_DATA
    return _measured(seconds(found.p50), f"p50; p95 {seconds(found.edge)}; {_samples(found.n)}")


@register.simple_tag
def speed(found: Spread | None) -> SafeString:
    """The median of a spread of tokens per 10 s, per second."""
    if found is None:
        return _NO_DATA
    return _measured(
        f'{tenths(found.p50)} <span class="sub">tok/s</span>',
        f"p50; 19 of 20 answers faster than {tenths(found.edge)}; {_samples(found.n)}",
    )


@register.simple_tag
def example(is_example: object) -> SafeString:
    """The mark of numbers that nobody measured, empty for measured ones."""
    return mark_safe(_EXAMPLE if is_example else "")


@register.filter
def at(items: Sequence[Any], place: int) -> Any:
    """The item of a sequence at a place that a loop counts."""
    return items[place]


@register.filter
def seconds(ms: int) -> str:
    """`840 ms`, from 10 s on `12.3 s`, cut."""
    return f"{ms:,} ms" if ms < 10_000 else f"{ms // 1000}.{ms % 1000 // 100} s"


@register.filter
def share(value: int) -> str:
    """`99.31 %` of 9931, cut."""
    return f"{value // 100}.{value % 100:02d} %"


@register.filter
def tenths(value: int) -> str:
    """`42.1` of 421."""
    return f"{value // 10:,}.{value % 10}"
