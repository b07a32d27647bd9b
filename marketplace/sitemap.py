"""`/sitemap.xml`: every public page by its address under SITE_URL, `PER_FILE` of them a file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

from django.conf import settings
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts import links as account_links
from ledger import listed, selectors
from ledger.models import Kind, Service
from marketplace import docs_library, links
from marketplace.crawlers import PAGES, text
from marketplace.formats import of_unix
from marketplace.memo import at_listing

#: The protocol allows 50,000.
PER_FILE = 5_000
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_SCHEMA = "http://www.sitemaps.org/schemas/sitemap/0.9"

#: A path, and when it last changed where that is known.
Entry = tuple[str, dt.datetime | None]


@dataclass(frozen=True)
class Section:
    """A part of the map: how many pages it has (0 or 1 query), and those from `start` to `end`."""

    count: Callable[[], int]
    entries: Callable[[int, int], Iterable[Entry]]


def _site() -> list[Entry]:
    own = [path for path, _ in PAGES if links.exists(path)]
    return [(path, None) for path in (*own, *(f"/docs/{slug}" for slug in docs_library.titles()))]


def _services(start: int, end: int) -> Iterable[Entry]:
    known = selectors.contracts()
    rows = listed.rows().order_by("kind", "provider", "serving")
    columns = ("kind", "provider", "serving", "updated_at_unix")
    for kind, provider, serving, updated in rows.values_list(*columns)[start:end]:
        contract = known.get(serving)
        other = account_links.other_name(contract) if contract else ""
        yield account_links.service_of(kind, provider, service_name=other), of_unix(updated)


def _providers(start: int, end: int) -> Iterable[Entry]:
    rows = listed.rows().order_by("provider").values_list("provider", flat=True).distinct()
    return ((links.provider_path(provider), None) for provider in rows[start:end])


def _models(start: int, end: int) -> Iterable[Entry]:
    names = _named().order_by("model").values_list("model", flat=True).distinct()[start:end]
    # A name that no path can hold has no page.
    return ((path, None) for path in map(links.model_path, names) if path)


def _named() -> QuerySet[Service]:
    return listed.rows().filter(kind=Kind.INFERENCE).exclude(model="")


SECTIONS = {
    "site": Section(lambda: len(_site()), lambda start, end: _site()[start:end]),
    "services": Section(lambda: listed.rows().count(), _services),
    "providers": Section(lambda: listed.rows().values("provider").distinct().count(), _providers),
    "models": Section(lambda: _named().values("model").distinct().count(), _models),
}


def files() -> dict[str, int]:
    """How many files each section fills (4 queries, none while no listing changes)."""
    counts: dict[str, int] = at_listing.get(
        selectors.listings_version(),
        "sitemap",
        lambda: {name: section.count() for name, section in SECTIONS.items()},
    )
    return {name: -(-count // PER_FILE) for name, count in counts.items()}


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The list of files."""
    maps = "".join(
        f"<sitemap><loc>{settings.SITE_URL}/sitemap-{name}-{number}.xml</loc></sitemap>\n"
        for name, count in files().items()
        for number in range(1, count + 1)
    )
    return text(
        f'{_HEAD}<sitemapindex xmlns="{_SCHEMA}">\n{maps}</sitemapindex>\n', "application/xml"
    )


@require_safe
def file(request: HttpRequest, section: str, number: int) -> HttpResponse:
    """One file of addresses (3 queries); 404 beyond the last."""
    if not 1 <= number <= files().get(section, 0):
        raise Http404("The site map has no such file.")
    start = (number - 1) * PER_FILE
    urls = "".join(
        f"<url><loc>{escape(settings.SITE_URL + path)}</loc>"
        + (f"<lastmod>{at:%Y-%m-%dT%H:%M:%SZ}</lastmod>" if at else "")
        + "</url>\n"
        for path, at in SECTIONS[section].entries(start, start + PER_FILE)
    )
    return text(f'{_HEAD}<urlset xmlns="{_SCHEMA}">\n{urls}</urlset>\n', "application/xml")
