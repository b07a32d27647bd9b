"""Formulas of a model's answer, from LaTeX to MathML, which browsers draw themselves. Pure.

A model is a stranger, and so is what a converter makes of its words: commands and environments are
closed lists, looked at before the converter sees anything; what it returns is read as a tree and
written anew from TAGS alone, without colours, links, styles, sizes or anything that draws outside
its place. What is not understood is no formula: it stays the LaTeX it was.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from xml.etree.ElementTree import Element

from latex2mathml import commands
from latex2mathml.converter import MOVABLE_LIMIT_TEXTS, Converter
from latex2mathml.symbols_parser import SYMBOLS

#: A formula longer than this is none.
MAX_CHARS = 2_000
#: The most of one answer, and of all that one page shows, by `cost`: what is beyond stays LaTeX.
MAX_ANSWER, MAX_PAGE = 20_000, 40_000
_MAX_DEPTH = 24

_BOOL = {"true", "false"}
#: Every element and every value of an attribute that a formula may have.
TAGS: dict[str, dict[str, set[str]]] = {
    "math": {"display": {"block"}},
    "mrow": {}, "msqrt": {}, "mroot": {}, "msub": {}, "msup": {}, "msubsup": {}, "mphantom": {},
    "mn": {}, "mtext": {}, "mtr": {}, "mtd": {},
    "mi": {"mathvariant": {"normal"}},
    "mo": {
        "stretchy": _BOOL, "fence": _BOOL, "separator": _BOOL, "largeop": _BOOL,
        "movablelimits": _BOOL, "form": {"prefix", "postfix"},
        "lspace": {"0em", "0.05em"}, "rspace": {"0.05em", "0.167em"},
        "minsize": {"1.2em", "1.623em", "2.047em", "2.470em"},
        "maxsize": {"1.2em", "1.623em", "2.047em", "2.470em"},
    },
    "mspace": {"width": {"0.167em", "0.222em", "0.278em", "0.333em", "1em", "2em"}},
    "mfrac": {"linethickness": {"0"}},
    "munder": {"accentunder": {"true"}}, "mover": {"accent": {"true"}}, "munderover": {},
    "mstyle": {"displaystyle": _BOOL, "scriptlevel": {"0", "1", "2"}},
    "mtable": {"displaystyle": _BOOL},
}  # fmt: skip
#: Browsers leave out what older MathML said with attributes: boxes, sides and rules of cells.
CLASSES = {"mrow": {"boxed"}, "mtd": {"left", "right", "ruled"}}

#: Other names for what the converter knows. Numbers of equations are left out: nothing refers to
#: them here.
_ALIASES = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\\(begin|end) ?\{(?:align|aligned|flalign\*?|eqnarray\*?)\}", r"\\\1{align*}"),
        (r"\\(begin|end) ?\{(?:gather(?:ed|\*)?|multline\*?)\}", r"\\\1{displaylines}"),
        (r"\\(begin|end) ?\{dcases\}", r"\\\1{cases}"),
        (r"\\(begin|end) ?\{equation\*?\}", ""),
        (r"\\[hm]space\*? ?\{[^{}]*\}", r"\\quad "),
        (r"\\(?:label|(?:text)?color) ?\{[^{}]*\}", ""),
        (r"\\(?:displaylimits|nolimits|allowbreak|nonumber|notag)(?![a-zA-Z])", " "),
        (r"\\tag(?![a-zA-Z])", r"\\qquad\\tag"),
        (r"\\mathds(?![a-zA-Z])", r"\\mathbb"),
        (r"\\mathrm ?\{([a-zA-Z])\}", r"\\mathrm{ \1}"),  # without the blank it is slanted
        (r"\\[lr]?vert(?![a-zA-Z])", "|"),
        (r"\\[lr]?Vert(?![a-zA-Z])", r"\\|"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\implies(?![a-zA-Z])", r"\\Longrightarrow"),
        (r"\\impliedby(?![a-zA-Z])", r"\\Longleftarrow"),
        (r"\\iff(?![a-zA-Z])", r"\\Longleftrightarrow"),
        (r"\\not ?=", r"\\neq "),
        (r"\\not ?\\in(?![a-zA-Z])", r"\\notin "),
        (r"(\\operatorname\*? ?\{[a-zA-Z]+)(?:\\[,:; !]|~)([a-zA-Z]+\})", r"\1 \2"),
        (r"\\arg ?\\(min|max)(?![a-zA-Z])", r"\\arg\1"),
        (r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}"),
    )
)
_ENVIRONMENTS = {
    *("matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix", "array"),
    *("cases", "align*", "split", "displaylines"),
}
_NAMES = {
    *commands.FUNCTIONS, *commands.LIMIT, *MOVABLE_LIMIT_TEXTS, *commands.DIACRITICS,
    *commands.EXTENSIBLE_ARROWS, *commands.BIG, *commands.BIG_OPEN_CLOSE, *commands.LOCAL_FONTS,
    *SYMBOLS,
    *map("\\{}".format, (
        *("frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom", "tbinom", "sqrt", "overset"),
        *("underset", "stackrel", "substack", "boxed", "phantom", "left", "middle", "right"),
        *("begin", "end", "limits", "tag", "operatorname", "displaystyle", "textstyle", "dots"),
        *("scriptstyle", "mod", "bmod", "pmod", "quad", "qquad", "ldots", "cdots", "hline"),
        *("text", "textbf", "textit", "textrm", "textsf", "texttt", "textup", "textnormal"),
    )),
    *(f"\\{sign}" for sign in "\\,;:>! {}|_%&#$"),
}  # fmt: skip
_TOKEN = re.compile(r"\\(begin|end) ?\{([a-zA-Z]+\*?)\}|\\[a-zA-Z]+|\\.|[{}&%$#]|\\")
_NEVER = {"\\begin", "\\end", "\\", "%", "$", "#"}
_CLOSING = {"{": "}", "\\left": "\\right", "\\begin": "\\end"}
#: What the converter would take for something else: names, columns and text of another shape.
_MISTAKEN = re.compile(
    r"\\operatorname(?!\*? ?\{[a-zA-Z ]+\})"
    r"|\\begin ?\{array\}(?! ?\{[lcr| ]+\})"
    r"|\\text[a-z]* ?\{[^{}]*\{"
)
#: Nesting without braces: `\hat\hat…`, `^^…`.
_RUN = re.compile(r"(?:(?:\\[a-zA-Z]+|[\^_]) ?){30}")

_CODE_POINT = re.compile(r"&#x([0-9A-Fa-f]{2,6});")
_ESCAPED = re.compile(r"\\([_%&#$ ])")
_NAME = re.compile(r"[^\W\d_]{2}")
_ROWS = {"math", "mrow", "msqrt", "mtd", "mstyle", "mphantom"}
_CHILDREN = {
    "mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3,
    "munderover": 3,
}  # fmt: skip
_BESIDE_OR_BELOW = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
_LARGE = set("∑∏∐⋂⋃⋀⋁⨀⨁⨂⨄⨆") | {name[1:] for name in commands.LIMIT}
#: Signs that stand for something, where the converter takes them for operators with room around.
_THINGS = set("∞∅∀∃∄∠∡∢∂∇∆⊤")
_ACCENTS = set("´˘ˇ˙¨`^˚~→¯‾_\u0302\u20db\u20dc")
#: Signs of text do not grow; these do.
_GROWING = {"―": "‾", "^": "\u0302"}
_ALPHABETS = {
    "bold": "bf", "bold-italic": "bfit", "double-struck": "bb", "script": "cal", "fraktur": "frak",
    "sans-serif": "sf", "sans-serif-italic": "sfit", "monospace": "tt",
}  # fmt: skip
#: Greek letters, with the place of their slanted form; the bold ones are as far before and behind.
_GREEK = {
    chr(int(unicodedata.decomposition(chr(slanted)).removeprefix("<font> "), 16)): slanted
    for slanted in range(0x1D6E2, 0x1D71C)
}
_GREEK_STEPS = {"bf": -0x3A, "bfit": 0x3A}


class _Unreadable(Exception):
    """Nothing that can be drawn truthfully."""


def cost(latex: str) -> int:
    """What converting it takes of MAX_ANSWER: about its characters, and something to begin with."""
    return len(latex) + 20


@dataclass
class Room:
    """What the formulas of a page may still take: many short answers cost what a long one does."""

    left: int = MAX_PAGE

    def takes(self, latex: str) -> bool:
        self.left -= cost(latex)
        return self.left >= 0


def mathml(latex: str, *, display: bool) -> str | None:
    """`latex` without its dollars as a `<math>` element of TAGS; None where it is none."""
    try:
        converter = Converter(display="block" if display else "inline")
        tree = converter.convert_to_element(_readable(latex))
        for element in tree.iter():
            _mend(element)
        return _drawn(tree)
    except Exception:
        # The converter ends at what it does not expect with whatever Python says there: IndexError,
        # StopIteration, RecursionError, KeyError, and errors of its own.
        return None


def _readable(latex: str) -> str:
    """The text as the converter takes it, when every command is known and what opens is closed."""
    text = " ".join(latex.split())
    if not text or len(text) > MAX_CHARS or not text.isprintable():
        raise _Unreadable
    if "\\" in text:
        for pattern, other in _ALIASES:
            text = pattern.sub(other, text)
    if _RUN.search(text) or _MISTAKEN.search(text):
        raise _Unreadable
    opened: list[str] = []
    loose = False
    for match in _TOKEN.finditer(text):
        token, edge, environment = match[0], match[1], match[2]
        if edge:
            if environment not in _ENVIRONMENTS:
                raise _Unreadable
            token = f"\\{edge}"
        elif token in _NEVER or (token[0] == "\\" and token not in _NAMES):
            raise _Unreadable
        if token in _CLOSING:
            opened.append(_CLOSING[token] + (environment or ""))
            if len(opened) > _MAX_DEPTH:
                raise _Unreadable
        elif token in ("}", "\\right", "\\end"):
            if not opened or opened.pop() != token + (environment or ""):
                raise _Unreadable
        elif token in ("&", "\\\\"):
            loose = loose or not opened
    if opened:
        raise _Unreadable
    # Lines without an environment, as TeX does not take them but models write them.
    return f"\\begin{{align*}}{text}\\end{{align*}}" if loose else text


def _mend(element: Element) -> None:
    """Make of the converter's element what browsers draw as LaTeX does: they know no attributes for
    boxes, sides and alphabets, and take signs by what their tag says.
    """
    # It names characters by references of its own.
    text = _CODE_POINT.sub(lambda match: chr(int(match[1], 16)), element.text or "")
    tag = element.tag
    if tag == "menclose":
        element.tag = "mrow"
        element.set("class", "boxed")
    elif tag == "mpadded":
        element.tag = "mrow"
    elif tag == "mtable":
        _mark_cells(element)
    elif tag == "mtext":
        text = _ESCAPED.sub(r"\1", text)
        if "\\" in text or text == "⧸":  # that is what it makes of a \not it does not know
            raise _Unreadable
    elif text == "&" or (text.startswith("\\") and len(text) > 1):
        if text not in SYMBOLS:
            raise _Unreadable
        text = chr(int(SYMBOLS[text], 16))
    elif tag == "mo" and text in _THINGS:
        element.tag = "mi"
        element.set("mathvariant", "normal")
    elif tag == "mi" and len(text) == 1 and _operates(text):
        element.tag = "mo"
        element.set("stretchy", "false")
        text = "∼" if text == "~" else text
    elif tag in ("mi", "mn") and element.get("mathvariant") in _ALPHABETS:
        alphabet = _ALPHABETS[element.attrib["mathvariant"]]
        text = "".join(_styled(letter, alphabet) for letter in text)
    element.text = text


def _operates(sign: str) -> bool:
    return sign in "~:•" or unicodedata.category(sign) in ("Sm", "Ps", "Pe")


def _styled(letter: str, alphabet: str) -> str:
    """The letter of another alphabet (𝐱, ℝ, 𝛉)."""
    if letter in _GREEK:
        return chr(_GREEK[letter] + _GREEK_STEPS[alphabet]) if alphabet in _GREEK_STEPS else letter
    found = SYMBOLS.get(f"\\math{alphabet}{{{letter}}}")
    return chr(int(found, 16)) if found else letter


def _mark_cells(table: Element) -> None:
    """Their sides, and the rule before them."""
    lines = table.get("columnlines", "").split()
    for row in table:
        for number, cell in enumerate(row):
            ruled = 0 < number <= len(lines) and lines[number - 1] == "solid"
            side = cell.get("columnalign", "").removeprefix("center")
            cell.set("class", f"{side} ruled".strip() if ruled else side)


def _drawn(element: Element, depth: int = 0) -> str:
    """The element and what is in it, as HTML text of TAGS."""
    tag, text = element.tag, element.text or ""
    if depth > 2 * _MAX_DEPTH or _CHILDREN.get(tag, len(element)) != len(element):
        raise _Unreadable
    if tag in _BESIDE_OR_BELOW and _movable(element[0]):
        tag = _BESIDE_OR_BELOW[tag]
    elif tag in ("mover", "munder"):
        _make_accent(tag, element)
    elif tag == "mo" and "lspace" not in element.attrib and _NAME.match(text):
        tag = "mi"
    if tag not in TAGS:
        raise _Unreadable
    inner = "".join(_row(element, depth) if tag in _ROWS else _each(element, depth))
    kept = "".join(
        f' {name}="{value}"'
        for name, value in element.attrib.items()
        if value in TAGS[tag].get(name, ())
        or (name == "class" and set(value.split()) <= CLASSES.get(tag, set()) and value)
    )
    return f"<{tag}{kept}>{escape(text, quote=False)}{inner}</{tag}>"


def _each(element: Element, depth: int) -> Iterator[str]:
    for child in element:
        yield _drawn(child, depth + 1)


def _row(element: Element, depth: int) -> Iterator[str]:
    """The children beside each other; a name such as *sin* stands off what it is beside."""
    before: Element | None = None
    for child in element:
        if before is not None and (
            (_named(before) and (child.text or "") not in ("(", "["))
            or (_named(child) and before.tag != "mo")
        ):
            yield '<mspace width="0.167em"></mspace>'
        yield _drawn(child, depth + 1)
        before = child


def _named(element: Element) -> bool:
    if element.tag in _BESIDE_OR_BELOW and len(element):
        element = element[0]
        if _movable(element):
            return False
    return element.tag in ("mi", "mo") and bool(_NAME.match(element.text or ""))


def _movable(element: Element) -> bool:
    """Whether what stands at its corners belongs below and above it, in a formula of its own line;
    if so, it is marked for that.
    """
    text = element.text or ""
    if element.tag != "mo" or not (text in _LARGE or element.get("movablelimits") == "true"):
        return False
    element.set("movablelimits", "true")
    if _NAME.match(text):
        element.attrib.update(lspace="0em", rspace="0.167em")
    return True


def _make_accent(tag: str, element: Element) -> None:
    sign = element[1]
    # A hat of one letter's width the converter calls an accent, a wide one it does not.
    if sign.text in _GROWING and "accent" not in element.attrib:
        sign.text = _GROWING[sign.text] if tag == "mover" else "_"
        sign.set("stretchy", "true")
    if sign.tag == "mo" and sign.text in _ACCENTS:
        element.set("accent" if tag == "mover" else "accentunder", "true")
