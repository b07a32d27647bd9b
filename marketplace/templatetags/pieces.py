"""The pieces that every row of every list is made of, as tags: address, amount, price, time, hash,
badge, change.

A page of 25 rows holds two hundred of them, so they are written here and not as templates (an
include costs ten times as much).
What is not ours to write is escaped, always; numbers of our own need no escaping.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from functools import lru_cache
from html import escape
from typing import Protocol

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from accounts.addresses import short
from marketplace import formats, verdicts
from marketplace.templatetags.kit import icon
from net.words import kept_by_language
from probes import exchange

register = template.Library()


@register.simple_tag
@lru_cache(maxsize=8192)
def identicon(address: str, large: object = False) -> SafeString:
    """The decorative picture of an address (`formats.identicon`)."""
    picture = formats.identicon(address)
    cells = "".join(
        f"M{run.start()} {y}h{len(run[0])}v1h-{len(run[0])}z"
        for y, row in enumerate(picture.rows)
        for run in re.finditer("#+", row)
    )
    return SafeString(
        f'<svg class="identicon{" large" if large else ""}" data-hue="{picture.hue}" '
        f'viewBox="-.5 -.5 6 6" aria-hidden="true"><path d="{cells}"/></svg>'
    )


@register.simple_tag
def copy(value: object, what: str) -> SafeString:
    """A button that copies `value`; `what` is its spoken name."""
    said = escape(_("Copy %(what)s") % {"what": what})
    return SafeString(
        f'<button class="copy" type="button" data-copy="{escape(str(value))}" '
        f'title="{said}">{icon("copy")}'
        f'<span class="visually-hidden">{said}</span></button>'
    )


@register.simple_tag
@kept_by_language
def address(
    address: str,
    href: str = "",
    full: object = False,
    plain_row: object = False,
    picture: object = False,
) -> SafeString:
    """An address (EIP-55): short with the whole one as its title, or `full`; a link where `href`
    says so; without a copy button as a `plain_row`."""
    spelled = escape(address)
    shown = f'<span class="full">{spelled}</span>' if full else escape(short(address))
    if href:
        body = f'<a href="{escape(href)}" title="{spelled}">{shown}</a>'
    else:
        body = shown if full else f'<span title="{spelled}">{shown}</span>'
    before = identicon(address) if picture else ""
    after = "" if plain_row else copy(address, _("address"))
    return SafeString(f'<span class="address">{before}{body}{after}</span>')


@register.simple_tag
def hash(hash: str, explorer: str | None = None, here: object = False) -> SafeString:
    """A transaction's hash, as a link where the network has an explorer; `here`: else to our own
    page about it."""
    whole, short = escape(hash), escape(formats.short_hash(hash))
    if explorer:
        opens = f'<span class="visually-hidden"> {_("(opens explorer)")}</span>'
        body = (
            f'<a href="{escape(explorer)}/tx/{whole}" rel="noopener noreferrer" target="_blank" '
            f'title="{whole}">{short}{opens}</a>'
        )
    elif here:
        body = f'<a href="/tx/{whole}" title="{whole}">{short}</a>'
    else:
        body = f'<span title="{whole}">{short}</span>'
    return SafeString(f'<span class="address">{body}{copy(hash, _("transaction hash"))}</span>')


@register.simple_tag
def amount(neuron: int, testid: str = "", signed: object = False, state: str = "") -> SafeString:
    """An amount in 0G; the exact one is in `data-neuron` and the title."""
    extra = "".join(
        f' {name}="{escape(value)}"'
        for name, value in (("data-testid", testid), ("data-state", state))
        if value
    )
    text = formats.signed(neuron) if signed else formats.amount(neuron)
    return SafeString(
        f'<span class="amount" data-neuron="{neuron:d}" title="{formats.exact(neuron)} 0G"{extra}>'
        f'{escape(text)} <span class="unit">0G</span></span>'
    )


class Bar(Protocol):
    """A sum and its share of the largest one, in ten-thousandths; `address` or else `label`."""

    @property
    def label(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def amount(self) -> int: ...
    @property
    def share(self) -> int: ...
    @property
    def settlements(self) -> int: ...


@register.simple_tag
def bar_row(row: Bar, of: str) -> SafeString:
    """A row of the table with the id `of`, whose bars are its chart."""
    if row.address:
        name: str = address(row.address, plain_row=True)
    else:
        label = escape(formats.clip(formats.plain(row.label), 60))
        name = f'<bdi class="title">{label}</bdi>'
    return SafeString(
        f'<tr role="row" data-testid="spent-row" data-of="{escape(of)}" '
        f'data-amount="{row.amount:d}"><th role="rowheader" scope="row">{name}</th>'
        '<td role="cell" class="stacked wide"><svg viewBox="0 0 10000 100" '
        'preserveAspectRatio="none" aria-hidden="true"><rect data-part="1" x="0" y="0" '
        f'width="{row.share:d}" height="100"></rect></svg></td>'
        f'<td role="cell" class="number" data-label="{_("Spent")}">{amount(row.amount)}</td>'
        f'<td role="cell" class="number" data-label="{_("Settlements")}">{row.settlements:d}</td>'
        "</tr>"
    )


@register.simple_tag
@kept_by_language
def price(price: formats.Price, short: object = False) -> SafeString:
    """A price in the unit people compare by; `short` writes the unit as tables do."""
    unit = price.short_unit if short else price.unit
    return SafeString(
        f'<span class="amount" data-neuron="{price.neuron:d}" title="{escape(price.exact)}">'
        f'{escape(formats.amount(price.neuron))} <span class="unit">0G / {escape(unit)}</span>'
        "</span>"
    )


@register.simple_tag
def dollars(neuron: int | None, below: object = False) -> SafeString:
    """About how much an amount is in US dollars, to stand behind or `below` it; nothing where there
    is no source, or who reads does not want it (`probes.exchange`)."""
    rate = exchange.shown()
    said = rate.of(neuron or 0) if rate is not None else ""
    if rate is None or not said:
        return SafeString("")
    source = escape(f"1 0G = {rate.text}, {rate.source}, {formats.absolute(rate.at)}")
    return SafeString(
        f"{'<br>' if below else ' '}"
        f'<span class="sub" data-testid="dollars" title="{source}">{escape(said)}</span>'
    )


@register.simple_tag
def time(moment: dt.datetime) -> SafeString:
    """Relative in the text, absolute in the title; after a week, a day (`templatetags.moments`)."""
    stamp, now = formats.absolute(moment), timezone.now()
    said = formats.relative(moment, now)
    grain = ' data-at="day"' if formats.far(moment, now) else ""
    return SafeString(f'<time datetime="{stamp}" title="{stamp}"{grain}>{said}</time>')


@register.simple_tag
def badge(label: object, tone: str | None = "", title: object = "") -> SafeString:
    """A word in a frame; `tone`: ok, warn, bad, accent or none."""
    more = f' title="{escape(str(title))}"' if title else ""
    return SafeString(f'<span class="badge {escape(tone or "")}"{more}>{escape(str(label))}</span>')


@register.simple_tag
@kept_by_language
def verdict(verdict: str, testid: str = "") -> SafeString:
    """A verdict as icon, word and (by the style sheet) colour; never colour alone."""
    said = verdicts.word(verdict)
    extra = f' data-testid="{escape(testid)}"' if testid else ""
    return SafeString(
        f'<span class="verdict" data-verdict="{escape(verdict)}"{extra}>'
        f"{icon(said.icon)}{escape(said.text)}</span>"
    )


def star(id: str, title: str, watched: object = False) -> SafeString:
    """The button that watches a listing or stops it; belongs to the page's form `watch`."""
    name = "unwatch" if watched else "watch"
    word, sentence = _watch()
    said = escape(sentence % {"title": title})
    return SafeString(
        f'<button class="star" type="submit" form="watch" name="{name}" value="{escape(id)}" '
        f'aria-pressed="{"true" if watched else "false"}" title="{word}">{icon("star")}'
        f'<span class="visually-hidden">{said}</span></button>'
    )


def pick(id: str, title: str) -> SafeString:
    """The check box that takes a listing into the page's form `compare`."""
    word, sentence = _compare()
    said = escape(sentence % {"title": title})
    return SafeString(
        f'<label class="pick" title="{word}"><input type="checkbox" form="compare" '
        f'name="s" value="{escape(id)}"><span class="visually-hidden">{said}</span></label>'
    )


@kept_by_language
def _watch() -> tuple[str, str]:
    return _("Watch"), _("Watch %(title)s")


@kept_by_language
def _compare() -> tuple[str, str]:
    return _("Compare"), _("Compare %(title)s")


class Choice(Protocol):
    """An option of a select: `accounts.pages_parts.Option`, or whatever an area has instead."""

    @property
    def value(self) -> object: ...
    @property
    def label(self) -> object: ...
    @property
    def selected(self) -> object: ...


@register.simple_tag
def options(choices: Iterable[Choice]) -> SafeString:
    """The options of a select: the catalogue has eighty."""
    return SafeString(
        "\n".join(
            f'<option value="{escape(str(one.value))}"{" selected" if one.selected else ""}>'
            f"{escape(str(one.label))}</option>"
            for one in choices
        )
    )


class Way(Protocol):
    """A link of the site's own navigation (`context.NavLink`)."""

    @property
    def label(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def icon(self) -> str: ...
    @property
    def current(self) -> bool: ...


@register.simple_tag
def ways(links: Iterable[Way], icons: object = False) -> SafeString:
    """Links of the site's own navigation, which every page has five lists of."""
    return SafeString(
        "".join(
            f'<a href="{escape(one.path)}"{_HERE if one.current else ""}>'
            f"{icon(one.icon) if icons else ''}{escape(one.label)}</a>"
            for one in links
        )
    )


_HERE = ' aria-current="page"'


@register.simple_tag
def diff(before: str | None, after: str | None) -> SafeString:
    """Before and after of a change; None where there was or is nothing."""
    parts = []
    for text, tag, said in ((before, "del", _("before")), (after, "ins", _("after"))):
        if text is not None:
            spoken = f'<span class="visually-hidden">{said}: </span>'
            parts.append(f"<{tag}>{spoken}<bdi>{escape(text)}</bdi></{tag}>")
    return SafeString(f'<span class="diff">{icon("arrow-right").join(parts)}</span>')
