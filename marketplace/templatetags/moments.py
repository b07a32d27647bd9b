"""Moments as pages show them: every `<time>` of the site is made here or by `pieces.time`.

The server writes UTC. Where the reader chose the local zone, `static/js/time.js` writes the same
moment again; `data-at` says how exactly (`GRAINS`). Days that are days of the data (a statement's
month, a bucket of a day) stay days of UTC and are no moments.
"""

from __future__ import annotations

import datetime as dt

from django import template
from django.utils.formats import date_format
from django.utils.safestring import SafeString, mark_safe

from marketplace import formats

register = template.Library()

#: `bare`: its zone stands elsewhere (the head of a table); the others say it themselves.
GRAINS = {
    "day": ("DATE_FORMAT", ""),
    "minute": ("DATETIME_FORMAT", " UTC"),
    "bare": ("DATETIME_FORMAT", ""),
    "clock": ("H:i:s", ""),
}
#: The word for the zone where it stands alone.
UTC = mark_safe('<span data-zone="">UTC</span>')  # our own markup


@register.filter
def moment(at: dt.datetime | None, grain: str = "minute") -> SafeString:
    """A moment in UTC; `grain` as in GRAINS, or `iso` (ISO 8601 to the second). Empty for None."""
    if at is None:
        return mark_safe("")
    stamp = formats.absolute(at)
    if grain == "iso":
        said = stamp
    else:
        shape, zone = GRAINS[grain]
        said = date_format(at.astimezone(dt.UTC), shape) + zone
    return mark_safe(f'<time datetime="{stamp}" title="{stamp}" data-at="{grain}">{said}</time>')


@register.simple_tag
def utc() -> SafeString:
    """`UTC`, or what the reader's script makes of it."""
    return UTC
