"""The documentation under `/docs`: an index with search, and a page for each Markdown file of the
repository that is meant to be read. Each has a twin at its address with `.md`: the file,
with links that lead somewhere from there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from marketplace import docs_html, docs_search, limits
from marketplace import docs_library as library
from marketplace.docs_html import Heading
from marketplace.docs_library import AUDIENCES, DECISIONS, SECTIONS, Document, Section

#: A page with fewer headings needs no list of them.
CONTENTS_FROM = 3
KINDS = {".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Shelf:
    """A section with its pages."""

    section: Section
    documents: tuple[Document, ...]
    open: bool = True


@dataclass(frozen=True)
class Start:
    """The first page for one audience."""

    path: str
    icon: str
    title: str
    text: str


@dataclass(frozen=True)
class DocsIndex:
    """All pages, or what a question found. `every`: each result holds every word of it."""

    q: str
    starts: tuple[Start, ...]
    shelves: tuple[Shelf, ...]
    results: tuple[docs_search.Result, ...] = ()
    every: bool = True
    missing: str = ""


@dataclass(frozen=True)
class DocsPage:
    """One page between its neighbours; `html` comes from our own files, raw HTML in them is off."""

    slug: str
    title: str
    path: str
    section: Section
    html: str
    headings: tuple[Heading, ...]
    shelves: tuple[Shelf, ...]
    before: Document | None
    after: Document | None


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """`/docs`: the pages by audience and section; with `?q=` the passages that answer it."""
    q = request.GET.get("q", "").replace("\x00", "").strip()[: docs_search.LENGTH]
    if q:
        limits.spend(limits.SEARCH, request)
    results, every = docs_search.find(q)
    return render(
        request, "docs/index.html", {"page": DocsIndex(q, _starts(), _shelves(), results, every)}
    )


@require_safe
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """`/docs/<slug>`; an address that does not exist leads to those that may have been meant."""
    documents = library.documents()
    if slug not in documents:
        limits.spend(limits.SEARCH, request)
        found = docs_search.suggestions(slug)
        missing = DocsIndex("", _starts(), _shelves(), found, missing=slug[:80])
        return render(request, "docs/index.html", {"page": missing}, status=404)
    document, slugs = documents[slug], list(documents)
    place = slugs.index(slug)
    section = next(one for one in SECTIONS if one.slug == document.section)
    headings = docs_html.headings(slug)
    shown = DocsPage(
        slug,
        document.title,
        document.path,
        section,
        docs_html.html(slug),
        headings if len(headings) >= CONTENTS_FROM else (),
        _shelves(document.section),
        documents[slugs[place - 1]] if place else None,
        documents[slugs[place + 1]] if place + 1 < len(slugs) else None,
    )
    return render(request, "docs/page.html", {"page": shown})


@require_safe
def markdown(request: HttpRequest, slug: str) -> HttpResponse:
    """`/docs/<slug>.md`: the page as it was written, its links as they hold here."""
    if slug not in library.documents():
        raise Http404("There is no such documentation page.")
    response = HttpResponse(docs_html.twin(slug), content_type="text/markdown; charset=utf-8")
    response["Cache-Control"] = "public, max-age=300"
    response["Link"] = f'</docs/{slug}>; rel="canonical"'
    return response


@require_safe
def image(request: HttpRequest, name: str) -> HttpResponse:
    """`/docs/images/<name>`: a picture of a page."""
    file = library.folder() / "images" / name
    if not re.fullmatch(r"[a-z0-9-]+\.(?:png|svg)", name) or not file.is_file():
        raise Http404(_("There is no such picture."))
    response = HttpResponse(file.read_bytes(), content_type=KINDS[file.suffix])
    response["Cache-Control"] = "public, max-age=3600"
    return response


def _starts() -> tuple[Start, ...]:
    return tuple(Start(f"/docs/{slug}", *words) for slug, *words in AUDIENCES)


def _shelves(current: str = "") -> tuple[Shelf, ...]:
    """Every section; the many decisions are listed beside a page only where one of them is read."""
    documents = library.documents().values()
    return tuple(
        Shelf(
            section,
            tuple(one for one in documents if one.section == section.slug),
            not current or section.slug != DECISIONS or current == DECISIONS,
        )
        for section in SECTIONS
    )
