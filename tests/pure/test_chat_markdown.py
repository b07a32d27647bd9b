"""A model's Markdown never becomes script, style, picture or a strange link."""

from __future__ import annotations

import re
import time
from html import escape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from inference import blocks, formulas, highlight, markdown
from inference.markdown import render

ALLOWED = {
    "p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a",
    "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "div", "span",
}  # fmt: skip


CLASSES = {"codeblock", "math", "right", *highlight.CLASSES}


class Inspector(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def inspect(text: str) -> list[tuple[str, dict[str, str | None]]]:
    tags = Inspector(render(text)).tags
    for tag, attributes in tags:
        if tag in formulas.TAGS:
            for name, value in attributes.items():
                if name == "class":
                    assert set((value or "").split()) <= formulas.CLASSES[tag]
                else:
                    assert value in formulas.TAGS[tag][name], (tag, name, value)
            continue
        assert tag in ALLOWED, (tag, text)
        assert set(attributes) <= {
            *("href", "title", "start", "rel", "tabindex", "class", "aria-hidden")
        }, (tag, attributes)
        assert set((attributes.get("class") or "codeblock").split()) <= CLASSES
        if "href" in attributes:
            assert re.match(r"(https?|mailto):", attributes["href"] or "", re.I)
            assert "nofollow" in (attributes["rel"] or "")
    return tags


def test_ordinary_answers() -> None:
    html = render(
        "# Title\n\nA **bold** [link](https://0g.ai).\n\n- one\n- two\n\n| a |\n|---|\n| 1 |"
    )
    assert "<h3>Title</h3>" in html
    assert "<strong>bold</strong>" in html
    assert 'href="https://0g.ai"' in html and 'rel="nofollow noopener noreferrer"' in html
    assert "<li>one</li>" in html
    assert "<td>1</td>" in html
    assert "&lt;b&gt;" in render("```\n<b>\n```")
    assert "<b>" not in render("```html\n<b>\n```")
    table = render("| a | b |\n|:--|--:|\n| 1 | 2 |")
    assert "<td>1</td>" in table and '<td class="right">2</td>' in table


def test_a_bare_address_leads_where_it_reads() -> None:
    for text, led in {
        "see https://a.example/x_y?b=1&c=2, and": "https://a.example/x_y?b=1&amp;c=2",
        "(https://a.example/wiki/B_(c)). D": "https://a.example/wiki/B_(c)",
        "**https://a.example/d**": "https://a.example/d",
        "_http://a.example_!": "http://a.example",
        "请看https://a.example/x，然后": "https://a.example/x",
        "[https://b.example](https://a.example)": "https://a.example",
        "`https://a.example` https:// xhttps://a javascript://a ://a": "",
    }.items():
        assert re.findall(r'href="([^"]*)', render(text)) == [led] * bool(led), text


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<style>*{display:none}</style>",
        "<a href='javascript:alert(1)'>x</a>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](//evil.example)",
        "[x](/account)",
        "[x](vbscript:x)",
        "![x](https://evil.example/beacon.png)",
        "![x](data:image/svg+xml;base64,PHN2Zz4=)",
        "<https://ok.example> <javascript:alert(1)>",
        "[a]: javascript:alert(1)\n\n[a]",
        '[x](https://ok.example "\\"onmouseover=alert(1)")',
        '```"><script>\ncode\n```',
        "`<script>`",
        "<!-- --><iframe src=x>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "$<script>alert(1)</script>$",
        "\\(<img src=x onerror=alert(1)>\\) $$\n<style>\n$$",
        "$\\text{<style><img src=x onerror=alert(1)>}$",
        "$\\text{</math></span><script>alert(1)</script>}$",
        "$\\href{javascript:alert(1)}{x}$ $\\style{position:fixed}{x}$ $\\class{button}{x}$",
        "$\\unicode{x3c}script\\unicode{x3e}$ $\\text{&\\#x3c;b>}$",
        '```python\nx = "</code></pre><script>alert(1)</script>"\n```',
        "```html\n<script>alert(1)</script>\n```",
        '```py" onclick=alert(1) class="composer\nx\n```',
        "```diff\n+<img src=x onerror=alert(1)>\n```",
    ],
)
def test_attacks_stay_text(text: str) -> None:
    for tag, attributes in inspect(text):
        assert tag != "img"
        assert not any(name.startswith("on") for name in attributes)


@given(
    st.text(alphabet=st.sampled_from("<>\"'`[]()!*_#|&;:/\\ \n\tajvscript=onhttp0-."), max_size=120)
)
def test_no_text_gets_through_the_walls(text: str) -> None:
    inspect(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 25_000,
        "*a" * 25_000,
        "> " * 10_000,
        "- " * 10_000,
        "`" * 25_000,
        "|" * 25_000,
        "<" * 25_000,
        "![" * 12_500,
        "$" * 25_000,
        "$a" * 25_000,
        "\\(" * 25_000,
        "$$\n" * 25_000,
        "\\[\nx\n" * 10_000,
        "\\[\n" + "x\n" * 400 + "\\] y\n" * 10_000,
        "$a$ " * 25_000,
        "https://a " * 10_000,
        "https://a" + ")" * 95_000,
        *(
            f"```{name}\n{text}\n```\n" * 3
            for name in ("c", "java", "ts", "diff", "python")
            for text in ("/" * 7_000, "\n" * 7_000, ("a<b," * 70 + "\n") * 25)
        ),
    ],
)
def test_rendering_time_is_bounded(text: str) -> None:
    """At up to half of what an answer may be: what grows with the square of it takes many times as
    long."""
    started = time.process_time()
    render(text)
    assert time.process_time() - started < 2


def test_an_address_that_is_said_once_is_not_repeated_without_end() -> None:
    """Of thirty thousand characters a provider would make forty million, with longer ones
    thousands of millions; also in pieces, while the answer is written.
    """
    defined, named = "[a]: https://" + "b" * 15_000 + "\n\n", "[a] " * 5_000
    html = render(defined + named)
    assert len(html) < 400_000 and 0 < html.count("href") < 20 and html.count("<a") == 5_000
    env: dict[str, object] = {}
    assert sum(len(render(text, env)) for text in (defined, *["[a]\n\n"] * 2_000)) < 200_000
    honest = render("[a]: https://ok.example/" + "b" * 40 + "\n\n" + "See [a], says Ida. " * 99)
    assert honest.count("href") == 99


def test_the_allow_list_holds_where_the_first_wall_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renderer that lets everything pass: what is left is still harmless."""
    permissive = MarkdownIt("commonmark", {"html": True})
    permissive.validateLink = lambda url: True  # type: ignore[method-assign]
    monkeypatch.setattr(markdown, "_engine", lambda: permissive)
    html = render(
        "[a](javascript:alert(1)) [b](data:text/html,x) ![c](http://evil.example/p.png)\n\n"
        "<script>alert(1)</script><style>p{}</style><p onclick=alert(1) style=x:y id=z>d</p>"
        "<iframe src=//evil.example></iframe><form action=/account/sign-out><input></form>"
        "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>"
        "<math><annotation-xml encoding=text/html><script>alert(1)</script></annotation-xml></math>"
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1&gt;'>"
        "</table></mtext><maction actiontype=statusline xlink:href=javascript:alert(1)>x</maction>"
        "<mi style=position:fixed id=z href=javascript:alert(1) mathvariant=normal>x</mi>"
        "<mspace width=9999em></mspace><mtd class='left button'></mtd></math>"
    )
    for tag, attributes in Inspector(html).tags:
        assert tag in ALLOWED or tag in formulas.TAGS
        if tag in formulas.TAGS:
            assert set(attributes.items()) <= {("mathvariant", "normal"), ("class", "left")}
        else:
            assert attributes.keys() <= {"href", "title", "rel"}
        assert not (attributes.get("href") or "").startswith(("javascript", "data"))
    assert "alert(1)</script" not in html


def test_code_is_marked() -> None:
    html = render("```python\ndef f(x): return '<b>' # y\n```")
    assert '<span class="hk">def</span>' in html and '<span class="hc"># y</span>' in html
    assert "&lt;b&gt;" in html.replace("&#39;", "'")
    assert render("```brainf\n+[-]\n```").count("<span") == 0


@pytest.mark.parametrize(
    "source", ["$$a^2$$", "\\(a_1*b\\)", "$x_1*y*$", "\\[ \\frac{1}{2} \\]", "$\\$5$", "$x<y$"]
)
def test_a_formula_is_drawn_and_its_source_is_what_is_copied(source: str) -> None:
    html = render(f"so {source}.")
    assert f'<span aria-hidden="true">{escape(source)}</span><math' in html
    displayed = source[:2] in ("$$", "\\[")
    assert ('<span class="math" tabindex="0">' in html) == displayed
    assert ('<math display="block">' in html) == displayed


def test_what_is_no_formula_stays_text() -> None:
    for price in (
        *("It costs $5 or $10.", "from $ 5 to 6 $", "\\$x$", "US$5$", "$5 and A$"),
        *("`$x$`", "```\n$$\nx\n$$\n```", "$$\n\n$$", "$$\nx\n\ny\n$$", "$x\ny$"),
    ):
        assert "math" not in render(price), price


LINES = st.sampled_from(
    [
        "", "", "word", "# head", "- item", "  more", "    code", "1. one", "> quote", "***", "---",
        "===", "```", "```py", "~~~", "| a | b |", "|---|--:|", "| 1 | 2 |", "**b** `c` $x$", "\tt",
        "[l](http://x.y)", "http://x.y/z.", "* * *", "+ plus", "<b>", "\\(x\\)", "2) two",
        "   three",
        "$$", "$$ x", "x $$", "$$x$$", "$$x$$ y", "\\[", "\\]", "> $$", "  $$", "- $$", "\\[ x",
    ]
)  # fmt: skip


@given(st.lists(LINES, max_size=30), st.data())
def test_blocks_shown_while_streaming_are_what_the_whole_shows(
    lines: list[str], data: st.DataObject
) -> None:
    """However the text is cut, closed blocks and the tail together are the finished answer."""
    text = "\n".join(lines)
    closer = blocks.Closer(blocks.Pace(clock=lambda: 0.0))
    html, upto, at = "", 0, 0
    while at < len(text):
        step = data.draw(st.integers(1, 12))
        closer.add(text[at : at + step])
        at += step
        if block := closer.take():
            assert upto < block.upto <= min(at, len(text))
            html, upto = html + block.html, block.upto
    assert html + render(text[upto:]) == render(text)


def test_blocks_close_as_soon_as_nothing_can_change_them() -> None:
    assert blocks.closed("A paragraph\n") == 0
    assert blocks.closed("A paragraph\n#") == 0, "it may become #hashtag"
    assert blocks.closed("A paragraph\n# Head\n") == len("A paragraph\n")
    assert blocks.closed("A paragraph\n\n") == len("A paragraph\n\n")
    assert blocks.closed("- a\n\n") == 0, "the list may go on"
    assert blocks.closed("- a\n\nb\n") == len("- a\n\n")
    assert blocks.closed("```\ncode\n\n") == 0
    assert blocks.closed("```\ncode\n```\n\n") == len("```\ncode\n```\n\n")
    assert blocks.closed("$$\nx\n- b\n") == 0, "no list: the formula goes on"
    assert blocks.closed("So\n$$\nx\n") == 0, "it may be no formula, but more of the paragraph"
    assert blocks.closed("So\n$$\nx\n- b\n$$\n") == len("So\n")
    assert blocks.closed("$$\nx\n$$\n\n") == len("$$\nx\n$$\n\n")
    assert blocks.closed("$$ and\n\nb\n") == len("$$ and\n\n"), "no formula holds a blank line"


def test_rendering_while_streaming_keeps_to_its_share_of_time() -> None:
    now = [0.0]
    pace = blocks.Pace(clock=lambda: now[0])
    pace.took(-1.0)  # a render of one second
    closer = blocks.Closer(pace)
    closer.add("One\n\nTwo\n\n")
    assert closer.take() is None
    now[0] = 4.0
    block = closer.take()
    assert block and block.upto == len("One\n\nTwo\n\n")
    closer.add("x" * blocks.MAX_TAIL_CHARS + "\n\n")
    assert closer.take() is None, "too much at once is shown when it is whole"
