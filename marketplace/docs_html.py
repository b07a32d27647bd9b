"""A page of the documentation as HTML: headings that can be linked to, coloured code with a copy
button, drawings inside the page. The input is our own files; raw HTML in them is off."""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from django.utils.html import escape
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from inference.highlight import highlight
from marketplace import docs_library as library
from marketplace.templatetags.pieces import copy

IMAGES = "docs/images/"
#: Code, in which nothing is a link, or a link of Markdown with its text and its target.
_LINK = re.compile(r"^ *```.*?^ *```|`[^`\n]*`|!?\[([^\]]*)\]\(([^)\s]+)\)", re.M | re.S)


@dataclass(frozen=True)
class Heading:
    """`level` 2 to 4; `text` without marks."""

    level: int
    anchor: str
    text: str


@dataclass(frozen=True)
class Passage:
    """What stands under one heading (None: before the first one, often empty), as plain text."""

    heading: Heading | None
    text: str


def anchor(heading: str) -> str:
    """The name by which a link jumps to a heading."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def html(slug: str) -> str:
    """The rendered page without its title."""
    return _html(slug, get_language() or "en")


def headings(slug: str) -> tuple[Heading, ...]:
    """The page's headings below its title, in order; anchors are unique."""
    return tuple(one.heading for one in passages(slug) if one.heading)


@cache
def passages(slug: str) -> tuple[Passage, ...]:
    """The page cut at its headings."""
    found: list[Passage] = []
    heading: Heading | None = None
    words: list[str] = []
    known: set[str] = set()
    tokens = _parse(slug)
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            found.append(Passage(heading, " ".join(words)))
            text = _plain(tokens[position + 1])
            heading = Heading(int(token.tag[1]), _unique(anchor(text), known), text)
            words = []
        elif token.type == "fence" or token.type == "code_block":
            words.append(" ".join(token.content.split()))
        elif token.type == "inline" and tokens[position - 1].type != "heading_open":
            words.append(_plain(token))
    found.append(Passage(heading, " ".join(words)))
    return tuple(found)


def _unique(name: str, known: set[str]) -> str:
    number, wanted = 1, name
    while name in known:
        number += 1
        name = f"{wanted}-{number}"
    known.add(name)
    return name


def _plain(token: Token) -> str:
    parts = []
    for child in token.children or []:
        parts.append(" " if child.type == "softbreak" else child.content)
    return "".join(parts)


def _parse(slug: str) -> list[Token]:
    source = library.documents()[slug].source.partition("\n")[2]
    return _reader().parse(source)


@lru_cache(maxsize=512)
def _html(slug: str, language: str) -> str:
    """Kept by language, because labels of the frame stand inside."""
    tokens = _parse(slug)
    names = iter(headings(slug))
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = next(names)
            token.attrSet("id", heading.anchor)
            _link_itself(tokens[position + 1], heading.anchor)
        elif token.type == "inline":
            _resolve(token.children or [], library.documents()[slug].path)
    reader = _reader()
    return str(reader.renderer.render(tokens, reader.options, {}))


@cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    for name, rule in _RULES.items():
        reader.add_render_rule(name, rule)
    return reader


def _link_itself(inline: Token, name: str) -> None:
    children = inline.children or []
    if not any(child.type == "link_open" for child in children):
        opened = Token("link_open", "a", 1, attrs={"href": f"#{name}"})
        inline.children = [opened, *children, Token("link_close", "a", -1)]


def _resolve(children: Sequence[Token], path: str) -> None:
    """Links between files become links between pages; one to a file that is no page stays text."""
    for position, child in enumerate(children):
        if child.type != "link_open":
            continue
        address = page_of(str(child.attrGet("href")), path)
        if address is not None:
            child.attrSet("href", address)
            continue
        depth = next(
            place
            for place in range(position, len(children))
            if children[place].type == "link_close"
        )
        for token in (child, children[depth]):
            token.type, token.tag, token.content, token.nesting = "text", "", "", 0


def page_of(link: str, path: str) -> str | None:
    """Where a link of the file at `path` leads on the site; None for a file that is no page."""
    if re.match(r"[a-z]+:|[/#]", link):
        return link
    file, hash_, name = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
    if target == "docs":
        return "/docs"
    slug = library.by_path().get(target)
    return None if slug is None else f"/docs/{slug}{hash_}{name}"


@lru_cache(maxsize=512)
def twin(slug: str) -> str:
    """The Markdown of a page as `/docs/<slug>.md` serves it: as it was written, but for links that
    lead elsewhere from there. They lead to twins; one to a file that is no page is its text."""
    document = library.documents()[slug]

    def led(match: re.Match[str]) -> str:
        text, link = match[1], match[2]
        if link is None or re.match(r"[a-z]+:|[/#]", link):
            return match[0]
        file, hash_, name = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(document.path), file))
        page = library.by_path().get(target)
        address = f"/docs/{page}.md" if page else f"/{target}"
        if not page and target != "docs" and not target.startswith(IMAGES):
            return text
        if posixpath.normpath(f"/docs/{file}") == address:
            return match[0]
        return match[0].removesuffix(f"{link})") + f"{address}{hash_}{name})"

    return _LINK.sub(led, document.source)


def _code(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    """Code scrolls sideways, so the keyboard must reach it."""
    token = tokens[index]
    language = token.info.split(" ")[0]
    label = escape(_("Code"))
    return (
        f'<div class="code"><pre tabindex="0" role="group" aria-label="{label}"><code>'
        f"{highlight(token.content.rstrip(chr(10)), language)}</code></pre>"
        f"{copy(token.content, _('code'))}</div>\n"
    )


def _table(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    if tokens[index].nesting > 0:
        label = escape(_("Table"))
        return f'<div class="wide" tabindex="0" role="group" aria-label="{label}"><table>\n'
    return "</table></div>\n"


def _image(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    """A drawing stands in the page itself, so that it takes the page's colours and letters; a
    photograph of a page has a twin for dark pages."""
    token = tokens[index]
    name = Path(str(token.attrGet("src"))).name
    text = escape(token.content)
    file = library.folder() / "images" / name
    if file.suffix == ".svg":
        shown = drawing(file)
        return f'<span class="drawing" tabindex="0" role="group" aria-label="{text}">{shown}</span>'
    dark = file.with_name(f"{file.stem}-dark.png")
    shots = [(file, "light"), (dark, "dark")] if dark.exists() else [(file, "")]
    pictures = "".join(_photograph(one, text, scheme) for one, scheme in shots)
    return f'<span class="shot">{pictures}</span>'


def drawing(file: Path) -> str:
    """The drawing without the colours that it has where nothing else gives it some."""
    return re.sub(r"<style>.*?</style>\s*", "", file.read_text(), flags=re.S).strip()


def _photograph(file: Path, text: str, scheme: str) -> str:
    width, height = size(file.read_bytes())
    return (
        f'<img class="{scheme}" src="/{IMAGES}{file.name}" alt="{text}" '
        f'width="{width}" height="{height}" loading="lazy">'
    )


def size(png: bytes) -> tuple[int, int]:
    """Width and height that a PNG states, in pixels."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


_RULES = {
    "fence": _code,
    "code_block": _code,
    "image": _image,
    "table_open": _table,
    "table_close": _table,
}
