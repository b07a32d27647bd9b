"""The look is made of tokens: four style sheets for every page and one for its area, in layers, no
value of its own outside `tokens.css`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.vendor_assets import ICONS

ROOT = Path(__file__).resolve().parent.parent.parent
CSS = ROOT / "static/css"
COMMON = ("tokens.css", "base.css", "kit.css", "pages.css")
AREAS = tuple(f"areas/{path.name}" for path in sorted((CSS / "areas").iterdir()))
#: For paper alone: browsers fetch it behind everything that the first paint needs, so it is not in
#: the weight of a page; it has a weight of its own.
PRINT = "print.css"
SHEETS = (*COMMON, *AREAS, PRINT)
#: Loaded beside an area's sheet: charts and code are in several; the playground's pages share one.
BESIDE = {"areas/charts.css", "areas/code.css", "areas/playground.css"}
COMMENT = re.compile(r"/\*.*?\*/", re.S)

COLOUR = re.compile(
    r"#[0-9a-fA-F]{3,8}\b|\b(?:rgb|rgba|hsl|hsla|hwb|lab|lch|oklab|oklch|color|light-dark|color-mix)\("
    r"|(?<![\w-])(?:white|black|red|green|blue|gr[ae]y|orange|purple|violet|yellow|pink|silver)(?![\w-])"
)
SIZE = re.compile(r"(?<![\w.-])\d*\.?\d+(px|rem|pt|vh|vw|dvh|svh|ch|ms)\b")


def rules(name: str) -> str:
    return COMMENT.sub("", (CSS / name).read_text())


def declarations(name: str) -> str:
    """A sheet without the conditions of its media queries: custom properties do not work there."""
    return re.sub(r"@(?:media|container|supports)[^{]*\{", "{", rules(name))


def test_what_a_page_loads_and_its_weight() -> None:
    assert {path.name for path in CSS.iterdir() if path.is_file()} == {*COMMON, PRINT}
    assert (CSS / PRINT).stat().st_size < 5_000
    base = (ROOT / "templates/base.html").read_text()
    assert [line for line in base.splitlines() if PRINT in line and 'media="print"' in line]
    common = sum((CSS / name).stat().st_size for name in COMMON)
    used: set[str] = set()
    for path in (ROOT / "templates").rglob("*.html"):
        names = set(re.findall(r"css/(areas/[\w-]+\.css)", path.read_text()))
        used |= names
        assert len(names - BESIDE) <= 1, path
        assert common + sum((CSS / name).stat().st_size for name in names) < 40_000, path
    # A page with charts may have its other sheet from the template that it extends.
    drawn = [name for name in AREAS if name not in BESIDE]
    charts = (CSS / "areas/charts.css").stat().st_size
    assert common + charts + max((CSS / name).stat().st_size for name in drawn) < 40_000
    assert used == set(AREAS)
    fonts = list((ROOT / "static/fonts").glob("*.woff2"))
    assert sum(path.stat().st_size for path in fonts) < 90 * 1024


@pytest.mark.parametrize("name", SHEETS[1:])
def test_every_rule_is_in_its_layer(name: str) -> None:
    text = rules(name).strip()
    assert text.startswith(f"@layer {'areas' if name in AREAS else name.removesuffix('.css')} {{")
    depth = 0
    for position, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0 and character == "}":
            assert position == len(text) - 1, (
                f"rules outside the layer: {text[position + 1 :][:60]}"
            )


@pytest.mark.parametrize("name", SHEETS)
def test_layouts_go_by_the_readers_letters(name: str) -> None:
    """Who reads at twice the size gets the layout of a window of half the width."""
    assert [one for one in re.findall(r"@media[^{]*", rules(name)) if "px" in one] == []


@pytest.mark.parametrize("name", SHEETS[1:])
def test_colours_and_sizes_are_tokens(name: str) -> None:
    text = declarations(name)
    assert COLOUR.findall(text) == []
    # 75ch, 60ch: line lengths are a property of text, not of the scale.
    assert [match[0] for match in SIZE.finditer(text) if not match[0].endswith("ch")] == []


def test_every_token_used_exists_and_every_token_is_used() -> None:
    defined = set(re.findall(r"(?m)^\s*(--[\w-]+):", rules("tokens.css")))
    text = "".join(rules(name) for name in SHEETS)
    used = set(re.findall(r"var\((--[\w-]+)", text))
    # --tone and --soft are slots that a state fills (`.ok`, `.warn`, `.bad`, `.accent`).
    slots = set(re.findall(r"[\s{;](--[\w-]+):", text)) - defined
    assert slots <= {"--tone", "--soft"}
    assert used - defined - slots == set()
    assert defined - used == set()


def test_no_style_and_no_script_stands_in_a_template() -> None:
    for path in (ROOT / "templates").rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"\sstyle\s*=|<style|\son[a-z]+\s*=|\bhx-on|javascript:", text), path
        for tag in re.findall(r"<script[^>]*>", text):
            assert "src=" in tag, f"{path}: {tag}"
        assert "|safe" not in text or path.match("docs/page.html") or path.match("inference/*"), (
            path
        )


def test_icons_named_in_templates_are_in_the_sprite() -> None:
    sprite = set(
        re.findall(r'<symbol id="([\w-]+)"', (ROOT / "static/icons/sprite.svg").read_text())
    )
    assert sprite == set(ICONS)
    sources = [*(ROOT / "templates").rglob("*.html"), *(ROOT / "static/js").glob("*.js")]
    text = "\n".join(path.read_text() for path in sources)
    named = set(re.findall(r'\{% icon "([\w-]+)" %\}|icon_name="([\w-]+)"', text))
    flat = {name for pair in named for name in pair if name}
    assert flat - sprite == set()
    assert flat


def test_every_choice_has_its_arrow() -> None:
    """`.select` takes the browser's own away, so each stands in a `.picker` with ours."""
    for path in (ROOT / "templates").rglob("*.html"):
        before, *choices = re.split(r'<select class="select"', path.read_text())
        for choice in choices:
            assert re.search(r'class="picker[^"]*"(?!.*</select>)', before, re.S), path
            after = choice.partition("</select>")[2]
            assert re.match(r'[^<]*\{% icon "chevron-down" %\}', after), path
            before = choice
