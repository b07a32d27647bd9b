"""The documentation pages under `/docs`: the Markdown files of `docs/` and the changelog, rendered
at the first read. Each has a twin at its address with `.md`: the file itself, for programs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from markdown_it import MarkdownIt

#: Reading order; files not named here follow alphabetically.
ORDER = (
    "getting-started",
    "how-money-moves",
    "what-is-verified",
    "chat",
    "pictures-and-speech",
    "fine-tuning",
    "api",
    "run-a-provider",
    "operators",
    "moderation",
)
CHANGELOG = "changelog"


@dataclass(frozen=True)
class DocsPage:
    """One page with the list of all; `html` comes from our own files, raw HTML in them is off."""

    slug: str
    title: str
    html: str
    pages: tuple[tuple[str, str], ...]


def folder() -> Path:
    return Path(settings.BASE_DIR) / "docs"


@cache
def sources() -> dict[str, str]:
    """`slug -> Markdown` of every page, in reading order; the changelog comes last."""
    files = {path.stem: path for path in folder().glob("*.md")}
    known = [slug for slug in ORDER if slug in files]
    order = [*known, *sorted(files.keys() - set(known))]
    changelog = Path(settings.BASE_DIR) / "CHANGELOG.md"
    return {slug: files[slug].read_text() for slug in order} | {CHANGELOG: changelog.read_text()}


@cache
def titles() -> dict[str, str]:
    """`slug -> title` of every page, in reading order."""
    firsts = ((slug, text.partition("\n")[0]) for slug, text in sources().items())
    return {slug: first.removeprefix("# ").strip() for slug, first in firsts}


@cache
def html(slug: str) -> str:
    """The rendered page without its title line; headings get ids, so that links can point at
    them."""
    source = sources()[slug].partition("\n")[2]
    # Links between files on disk become links between pages.
    source = re.sub(r"\]\((?:docs/)?([a-z-]+)\.md(#[a-z-]+)?\)", r"](/docs/\1\2)", source)
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = renderer.parse(source)
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[position + 1].content))
    return str(renderer.renderer.render(tokens, renderer.options, {}))


def anchor(heading: str) -> str:
    """The name by which a link jumps to a heading."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def markdown(request: HttpRequest, slug: str) -> HttpResponse:
    """`/docs/<slug>.md`: the page as it was written."""
    if slug not in sources():
        raise Http404("There is no such documentation page.")
    response = HttpResponse(sources()[slug], content_type="text/markdown; charset=utf-8")
    response["Cache-Control"] = "public, max-age=300"
    response["Link"] = f'</docs/{slug}>; rel="canonical"'
    return response


def docs(request: HttpRequest, slug: str = "") -> HttpResponse:
    """`/docs` shows the first page, `/docs/<slug>` each one."""
    pages = titles()
    slug = slug or next(iter(pages))
    if slug not in pages:
        raise Http404("There is no such documentation page.")
    page = DocsPage(slug, pages[slug], html(slug), tuple(pages.items()))
    return render(request, "docs/page.html", {"page": page})
