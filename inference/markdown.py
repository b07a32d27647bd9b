"""Markdown of a model's answer as safe HTML. A model is a stranger: no raw HTML, no images, no
script or style, links only to http, https and mailto, and never followed by search engines.

Two independent walls: markdown-it-py with HTML off, then an allow-list (nh3) over its output.
Formulas become MathML, which the browser draws; with each goes its source, so that a copy has it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

import nh3
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from inference import formulas, highlight

#: Longer answers are shown as plain text: rendering time must stay bounded.
MAX_CHARS = 200_000
_LINK_SCHEMES = {"http", "https", "mailto"}
_TAGS = {
    "p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a",
    "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "div", "span",
}  # fmt: skip
#: Addresses and titles of links may be so many times as long as the text, and so much longer.
_LINKS_TIMES, _LINKS_MORE = 4, 10_000
_SCROLLS = {"tabindex": {"0"}}
_CLEANER = nh3.Cleaner(
    tags=_TAGS | formulas.TAGS.keys(),
    attributes={"a": {"href", "title"}, "ol": {"start"}},
    tag_attribute_values={
        **formulas.TAGS,
        "div": _SCROLLS,
        "pre": _SCROLLS,
        "span": {**_SCROLLS, "aria-hidden": {"true"}},
    },
    allowed_classes={
        **formulas.CLASSES,
        "span": {*highlight.CLASSES, "math"},
        "div": {"codeblock"},
        "code": {"math"},
        "th": {"right"},
        "td": {"right"},
    },
    url_schemes=_LINK_SCHEMES,
    link_rel="nofollow noopener noreferrer",
    strip_comments=True,
)
_FORMULAS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
_DISPLAYED = dict(_FORMULAS[:2])
#: What `env` knows beside link definitions: what formulas have cost so far, what those of the page
#: may still, how much was read, how much of it became addresses, and whether the text may go on.
_SPENT, _ROOM = "formulas", "formulas of the page"
_READ, _LINKED = "characters", "characters of links"
_GOES_ON = "goes on"
#: What stands right before `://`, and what may follow: a sentence goes on behind an address.
_SCHEME = re.compile(r"(?<![A-Za-z0-9+.-])https?\Z", re.I)
_ADDRESS = re.compile(r"://[^\s<>\"'`|\\^{}\[\]*，。、；：！？（）「」『』【】《》]{1,2000}")
_BEHIND = ".,;:!?_~…"
_WORDS = re.compile(r" [^\W\d_]{3,}(?: |$)|^[^\W\d_]{3,} ")
#: The kind of block that is a formula so far; what stands right before it may yet go on in it.
HALF_FORMULA = "half_formula"


def render(
    text: str, env: dict[str, Any] | None = None, *, room: formulas.Room | None = None
) -> SafeString:
    """Safe HTML of Markdown (CommonMark, tables, strikethrough, formulas). `env` carries link
    definitions, and how much of formulas there was, from one part of an answer to the next; `room`
    is for the formulas of all answers of a page.
    """
    if len(text) > MAX_CHARS:
        return format_html('<pre tabindex="0">{}</pre>', text)
    known = {} if env is None else env
    known[_ROOM] = room
    known[_READ] = known.get(_READ, 0) + len(text)
    return mark_safe(_CLEANER.clean(_engine().render(text, known)))


def top_level(text: str) -> list[tuple[str, int, int]]:
    """The outermost blocks of a text that may go on: kind, first line, line behind the last; link
    definitions are none.
    """
    tokens: list[Token] = []
    engine = _engine()
    engine.block.parse(text, engine, {_GOES_ON: True}, tokens)
    return [(x.type, x.map[0], x.map[1]) for x in tokens if x.level == 0 and x.map]


@cache
def _engine() -> MarkdownIt:
    """The one engine: what it reads stands in `env`, never in it. Making one takes longer than most
    texts.
    """
    # Depth bounds the work on nested quotes and lists.
    engine = MarkdownIt("commonmark", {"html": False, "maxNesting": 20})
    engine.enable(["table", "strikethrough"]).disable("html_inline").disable("html_block")
    engine.inline.ruler.before("escape", "math", _math)
    engine.inline.ruler.push("address", _address)
    engine.block.ruler.before(
        "fence",
        "math_block",
        _math_block,
        {"alt": ["paragraph", "reference", "blockquote", "list"]},
    )
    engine.validateLink = lambda url: url.partition(":")[0].strip().lower() in _LINK_SCHEMES  # type: ignore[method-assign]
    for name, rule in _RULES.items():
        engine.add_render_rule(name, rule)
    # It sorts its rules at the first text, and is not to be seen by another thread half way.
    engine.render("*a*")
    return engine


def _math(state: StateInline, silent: bool) -> bool:
    """`$$…$$`, `\\[…\\]`, `\\(…\\)` and `$…$`; a single dollar only where it is no price (no blank
    inside its ends, no digit behind, no letter before) and holds no words.
    """
    for opening, closing in _FORMULAS:
        if not state.src.startswith(opening, state.pos):
            continue
        start = state.pos + len(opening)
        most = min(state.posMax, start + formulas.MAX_CHARS)
        end = state.src.find(closing, start, most)
        while opening == "$" and end > start and state.src[end - 1] == "\\":
            end = state.src.find(closing, end + 1, most)
        if end <= start:
            continue
        source = state.src[start:end]
        if opening == "$" and (
            source != source.strip()
            or "\n" in source
            or ("\\" not in source and _WORDS.search(source))
            or state.src[end + 1 : end + 2].isdigit()
            or state.src[max(0, state.pos - 1) : state.pos].isalnum()
        ):
            continue
        if not silent:
            token = state.push("math", "math", 0)
            token.markup, token.content = opening, source
        state.pos = end + len(closing)
        return True
    return False


def _address(state: StateInline, silent: bool) -> bool:
    """A bare http address leads there, as it reads: without the mark or bracket behind it."""
    if silent or state.linkLevel or not state.src.startswith("://", state.pos):
        return False
    scheme = _SCHEME.search(state.pending[-10:])
    found = _ADDRESS.match(state.src, state.pos, state.posMax)
    if scheme is None or found is None:
        return False
    rest = found[0].rstrip(_BEHIND)
    while rest.endswith(")") and rest.count(")") > rest.count("("):
        rest = rest[:-1].rstrip(_BEHIND)
    if len(rest) <= len("://"):
        return False
    shown = scheme[0] + rest
    state.pending = state.pending[: -len(scheme[0])]
    state.push("link_open", "a", 1).attrs = {"href": state.md.normalizeLink(shown)}
    state.push("text", "", 0).content = shown
    state.push("link_close", "a", -1)
    state.pos += len(rest)
    return True


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """`$$` or `\\[` at the start of a line, up to its closing at the end of one: what is between is
    no list and no heading. No blank line: TeX takes none, and a lone `$$` would eat the answer.
    """
    first = state.bMarks[start] + state.tShift[start]
    opening = state.src[first : first + 2]
    if opening not in _DISPLAYED or state.is_code_block(start):
        return False
    closing = _DISPLAYED[opening]
    lines: list[str] = []
    length = 0
    for number in range(start, end):
        if number > start and (state.isEmpty(number) or state.sCount[number] < state.blkIndent):
            return False
        at = state.bMarks[number] + state.tShift[number] + (2 if number == start else 0)
        line = state.src[at : state.eMarks[number]].rstrip()
        lines.append(line)
        length += len(line)
        if closing in line:
            break
        # Looking no further than the next opening bounds the work on a text of nothing else.
        if opening in line or length > formulas.MAX_CHARS:
            return False
    else:
        # It may close yet, and must not be taken apart before.
        if not state.env.get(_GOES_ON):
            return False
        if not silent:
            state.line = end
            state.push(HALF_FORMULA, "", 0).map = [start, end]
        return True
    latex, _, behind = "\n".join(lines).partition(closing)
    if behind or not latex.strip():
        return False
    if not silent:
        state.line = number + 1
        token = state.push("math_block", "math", 0)
        token.markup, token.content = opening, latex
        token.map = [start, state.line]
    return True


def _formula(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    """A formula with its source, which is what is copied: of the drawing nobody could paste
    anything. One with a line of its own scrolls, so the keyboard must reach it.
    """
    opening, latex = tokens[index].markup, tokens[index].content
    source = f"{opening}{latex}{dict(_FORMULAS)[opening]}"
    env[_SPENT] = env.get(_SPENT, 0) + formulas.cost(latex)
    room = env[_ROOM]
    if env[_SPENT] > formulas.MAX_ANSWER or (room is not None and not room.takes(latex)):
        return f'<code class="math">{escape(source)}</code>'
    displayed = opening in _DISPLAYED
    drawn = formulas.mathml(latex, display=displayed)
    if drawn is None:
        return f'<code class="math">{escape(source)}</code>'
    scrolls = ' tabindex="0"' if displayed else ""
    kept = f'<span aria-hidden="true">{escape(source)}</span>'
    return f'<span class="math"{scrolls}>{kept}{drawn}</span>'


def _formula_block(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    return f"<p>{_formula(renderer, tokens, index, options, env)}</p>\n"


def _link_open(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    """An address that is defined once can be named in three characters, thousands of times: beyond
    what a text of its length says in good faith, links are words.
    """
    token = tokens[index]
    env[_LINKED] = env.get(_LINKED, 0) + sum(len(str(value)) for value in token.attrs.values())
    if env[_LINKED] > _LINKS_MORE + _LINKS_TIMES * env[_READ]:
        return "<a>"
    return str(renderer.renderToken(tokens, index, options, env))


def _image(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    """Pictures would load from where the model says; only their description is shown."""
    return str(renderer.renderInlineAsText(tokens[index].children, options, env))


def _heading(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    """An answer's headings stand below the page's own h1 and h2."""
    token = tokens[index]
    level = min(int(token.tag[1]) + 2, 6)
    return f"<h{level}>" if token.nesting > 0 else f"</h{level}>\n"


def _fence(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    """Code scrolls sideways, so the keyboard must reach it."""
    token = tokens[index]
    code = highlight.highlight(token.content, token.info.partition(" ")[0])
    return f'<div class="codeblock"><pre tabindex="0"><code>{code}</code></pre></div>\n'


def _cell(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    """Numbers stand right where the model says so."""
    token = tokens[index]
    right = str(token.attrGet("style")).endswith("right")
    return f'<{token.tag} class="right">' if right else f"<{token.tag}>"


def _table_open(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    return '<div tabindex="0"><table>\n'


def _table_close(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    return "</table></div>\n"


_RULES = {
    "math": _formula,
    "math_block": _formula_block,
    "link_open": _link_open,
    "image": _image,
    "heading_open": _heading,
    "heading_close": _heading,
    "fence": _fence,
    "code_block": _fence,
    "table_open": _table_open,
    "table_close": _table_close,
    "th_open": _cell,
    "td_open": _cell,
}
