"""Markdown of a model's answer as safe HTML. A model is a stranger: no raw HTML, no images, no
script or style, links only to http, https and mailto, and never followed by search engines.

Two independent walls: markdown-it-py with HTML off, then an allow-list (nh3) over its output.
Formulas are shown as their source: nothing of a model is ever run to draw one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import nh3
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from inference import highlight

#: Longer answers are shown as plain text: rendering time must stay bounded.
MAX_CHARS = 200_000
_LINK_SCHEMES = {"http", "https", "mailto"}
_TAGS = {
    "p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a",
    "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "div", "span",
}  # fmt: skip
_ATTRIBUTES: dict[str, set[str]] = {
    "a": {"href", "title"},
    "ol": {"start"},
    "div": {"tabindex"},
    "pre": {"tabindex"},
}
_CLASSES = {"span": highlight.CLASSES, "div": {"codeblock"}, "code": {"math"}}
#: A formula longer than this is none.
_MAX_FORMULA = 2_000
_FORMULAS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))


def render(text: str, env: dict[str, Any] | None = None) -> SafeString:
    """Safe HTML of Markdown (CommonMark, tables, strikethrough). `env` carries link definitions
    from one part of an answer to the next.
    """
    if len(text) > MAX_CHARS:
        return format_html('<pre tabindex="0">{}</pre>', text)
    html = _engine().render(text, {} if env is None else env)
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        url_schemes=_LINK_SCHEMES,
        link_rel="nofollow noopener noreferrer",
        strip_comments=True,
    )
    return mark_safe(clean)


def top_level(text: str) -> list[tuple[str, int, int]]:
    """The outermost blocks: kind, first line, line behind the last; link definitions are none."""
    tokens: list[Token] = []
    engine = _engine()
    engine.block.parse(text, engine, {}, tokens)
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
    engine.validateLink = lambda url: url.partition(":")[0].strip().lower() in _LINK_SCHEMES  # type: ignore[method-assign]
    for name, rule in _RULES.items():
        engine.add_render_rule(name, rule)
    # It sorts its rules at the first text, and is not to be seen by another thread half way.
    engine.render("*a*")
    return engine


def _math(state: StateInline, silent: bool) -> bool:
    """`$$…$$`, `\\[…\\]`, `\\(…\\)` and `$…$`; a single dollar only where it is no price (no blank
    inside its ends, no digit behind).
    """
    for opening, closing in _FORMULAS:
        if not state.src.startswith(opening, state.pos):
            continue
        start = state.pos + len(opening)
        end = state.src.find(closing, start, min(state.posMax, start + _MAX_FORMULA))
        if end <= start:
            continue
        source = state.src[start:end]
        after = state.src[end + 1 : end + 2]
        if opening == "$" and (source != source.strip() or after.isdigit() or "\n" in source):
            continue
        if not silent:
            token = state.push("math", "code", 0)
            token.content = state.src[state.pos : end + len(closing)]
        state.pos = end + len(closing)
        return True
    return False


def _formula(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    return f'<code class="math">{nh3.clean_text(tokens[index].content)}</code>'


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
    "image": _image,
    "heading_open": _heading,
    "heading_close": _heading,
    "fence": _fence,
    "code_block": _fence,
    "table_open": _table_open,
    "table_close": _table_close,
}
