"""Versions of this site as CHANGELOG.md tells them: the number at the foot of each page, and
`/docs/changelog.atom`."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.views.decorators.http import require_safe

from accounts import feeds as atoms
from accounts.feeds import xml_text
from marketplace import docs_html
from marketplace import docs_library as library

PAGE = f"/docs/{library.CHANGELOG}"
_HEADING = re.compile(r"(\d+\.\d+\.\d+), (\d{4}-\d\d-\d\d)")


@dataclass(frozen=True)
class Release:
    """One version; `html` comes from our own file, its links lead to this site's pages."""

    version: str
    day: dt.date
    anchor: str
    html: str


@cache
def releases() -> tuple[Release, ...]:
    """Every dated section of the changelog, the newest first as it stands there."""
    with translation.override("en"):
        parts = re.split(r"(?=<h2 )", docs_html.html(library.CHANGELOG))[1:]
    found = []
    sections = [one for one in docs_html.headings(library.CHANGELOG) if one.level == 2]
    for heading, part in zip(sections, parts, strict=True):
        if named := _HEADING.fullmatch(heading.text):
            html = part.partition("</h2>")[2].strip().replace('"/', f'"{settings.SITE_URL}/')
            day = dt.date.fromisoformat(named[2])
            found.append(Release(named[1], day, heading.anchor, html))
    return tuple(found)


def version() -> str:
    """What runs here: the newest version that the changelog names."""
    return next((one.version for one in releases()), "")


@require_safe
def feed(request: HttpRequest) -> HttpResponse:
    """`/docs/changelog.atom`: an entry for each version."""
    site = settings.SITE_URL
    made = atoms.Feed("0G Market: versions", f"{site}{PAGE}", f"{site}{PAGE}.atom")
    for one in releases():
        at = dt.datetime.combine(one.day, dt.time(), dt.UTC)
        made.add_item(
            title=f"0G Market {one.version}",
            link=f"{site}{PAGE}#{one.anchor}",
            description=xml_text(one.html),
            unique_id=f"tag:0g-market,2026:version/{one.version}",
            pubdate=at,
            updateddate=at,
        )
    response = HttpResponse(made.written(), content_type=atoms.MEDIA)
    response["Cache-Control"] = "public, max-age=300"
    return response
