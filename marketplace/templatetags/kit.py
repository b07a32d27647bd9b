"""Filters and tags of the kit: thin doors to `marketplace.formats`, so that templates never
compute."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

from django import template
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from accounts.addresses import short
from marketplace import formats, links, verdicts
from net.words import kept_by_language

register = template.Library()

register.filter("exact", formats.exact)
register.filter("amount", formats.amount)
register.filter("signed", formats.signed)
register.filter("count", formats.count)
register.filter("duration", formats.duration)
register.filter("countdown", formats.countdown)
register.filter("short_address", short)
register.filter("short_hash", formats.short_hash)
register.filter("clip", formats.clip)
register.filter("from_unix", formats.of_unix)
register.filter("model_path", links.model_path)


@register.filter
def plain(text: object) -> str:
    """A stranger's text made safe to read; still escaped by the template like any other."""
    return formats.plain(str(text))


@register.filter
def when(moment: dt.datetime) -> str:
    return formats.relative(moment, timezone.now())


@register.filter
def seconds_until(target_unix: int) -> int:
    return target_unix - int(timezone.now().timestamp())


@register.filter
def number(value: int) -> str:
    """All digits with separators: `1,234,567`."""
    return f"{value:,}"


register.filter("block", number)
register.filter("readable", formats.readable)


@register.filter
def price_per_million(neuron_per_token: int) -> str:
    """`0.42`: a token price as 0G per 1 M tokens (the unit stands in the column's head)."""
    return formats.amount(neuron_per_token * formats.MILLION)


@register.filter
def verdict_word(verdict: str) -> str:
    """A verdict in words, for the middle of a sentence: `verified, with warnings`."""
    text = verdicts.word(verdict).text
    # Other languages begin words as they are, wherever they stand.
    return text[:1].lower() + text[1:] if get_language() == "en" else text


@register.simple_tag
@lru_cache(maxsize=256)
def icon(name: str) -> SafeString:
    """A decorative icon of the sprite; the words beside it carry the meaning."""
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>',
        static("icons/sprite.svg"),
        name,
    )


@register.simple_tag
@kept_by_language
def palette() -> SafeString:
    """What every page has for the keyboard; the same for everybody."""
    return render_to_string("ui/palette.html")
