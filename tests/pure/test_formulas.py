"""Formulas: LaTeX of strangers becomes MathML of a closed list, or stays what it was."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import formulas
from inference.markdown import render
from tests.pure.test_chat_markdown import inspect


@pytest.mark.parametrize(
    ("latex", "drawn"),
    [
        (r"\frac12", "<mfrac><mn>1</mn><mn>2</mn></mfrac>"),
        (r"x_i^2", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        (r"\sum_{i}^n", '<munderover><mo movablelimits="true">∑</mo><mrow><mi>i</mi></mrow>'),
        (r"\lim_{x\to 0}", '<mo movablelimits="true" lspace="0em" rspace="0.167em">lim</mo>'),
        (r"2\sin x", '<mi>sin</mi><mspace width="0.167em"></mspace><mi>x</mi>'),
        (r"\sin(x)", '<mi>sin</mi><mo stretchy="false">(</mo>'),
        (r"\operatorname{rank} A", "<mi>rank</mi>"),
        (r"\mathbf{AB}\mathbb{R}", "<mi>𝐀</mi><mi>𝐁</mi></mrow><mi>ℝ</mi>"),
        (r"\boldsymbol{\theta\vartheta}\mathbf\Gamma", "<mi>𝜽</mi><mi>𝝑</mi></mrow><mi>𝚪</mi>"),
        (r"\mathbf{1}\mathbb{1}", "<mn>𝟏</mn></mrow><mrow><mn>𝟙</mn>"),
        (r"\overline{AB}\widehat{AB}", '</mrow><mo stretchy="true">‾</mo></mover>'),
        (r"\mathrm{d}x", '<mi mathvariant="normal">d</mi>'),
        (r"a\pm\infty", '<mo stretchy="false">±</mo><mi mathvariant="normal">∞</mi>'),
        (r"\bar x", '<mover accent="true"><mi>x</mi><mo stretchy="true">¯</mo></mover>'),
        (r"\boxed{42}", '<mrow class="boxed"><mrow><mn>42</mn></mrow></mrow>'),
        (r"\left[x\right]", '<mo stretchy="true" fence="true" form="postfix">]</mo>'),
        (r"\big\{x\Big\rangle", '<mo minsize="1.2em" maxsize="1.2em">{</mo>'),
        (r"\color{red}x", "<mrow><mi>x</mi></mrow>"),
        (r"x\hspace{9999em}y", '<mspace width="1em"></mspace>'),
        (r"\text{if }x", "<mtext>if\xa0</mtext><mi>x</mi>"),
        (r"x\not\in A", "<mo>∉</mo>"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "<mtr><mtd><mn>1</mn></mtd>"),
        (r"\begin{array}{c|c}1&2\end{array}", '<mtd class="ruled"><mn>2</mn></mtd>'),
        (r"\begin{aligned}a&=b\\&=c\end{aligned}", '<mtd class="right"><mi>a</mi></mtd>'),
        (r"a &= b \\ c &= d", '<mtd class="left"><mi></mi><mo>=</mo><mi>d</mi></mtd>'),
        (r"\begin{cases}x&y\end{cases}", '<mtd class="left"><mi>y</mi></mtd>'),
    ],
)
def test_latex_becomes_what_browsers_draw(latex: str, drawn: str) -> None:
    assert drawn in render(f"${latex}$").replace("&nbsp;", "\xa0")


@pytest.mark.parametrize(
    "latex",
    [
        *(r"\cancel{x}", r"\ce{H2O}", r"\unknown", r"\frac{1}", r"\frac{1}{2", "}", "{x&}"),
        *(r"\href{https://evil.example}{x}", r"\style{color:red}{x}", r"\class{button}{x}"),
        *(r"\raise{9em}{x}", r"\llap{x}", r"\rule{9em}{9em}", r"\smash{x}", r"\kern-9em x"),
        *(r"\Huge x", r"\left(x", r"\not<", r"\text{a {b} c}", r"\text\alpha"),
        *(r"\operatorname{a-b}", r"\begin{array}{@{}l}x\end{array}"),
        *(r"\def\a{\a\a}\a", r"\newcommand{\a}{\a\a}\a", r"\unicode{x41}", r"\verb|x|"),
        *(r"50% of x", r"#1", "a$b", "\u202ex", "^" * 500, r"\hat" * 400, "{" * 500 + "}" * 500),
        *("_{a" * 200 + "}" * 200, r"\begin{evil}x\end{evil}", r"\begin{matrix}x", "a^b^c", "a\\"),
        *(r"\left(" * 100 + r"\right)" * 100, "x" * (formulas.MAX_CHARS + 1), "", " "),
    ],
)  # fmt: skip
def test_what_cannot_be_read_stays_its_source(latex: str) -> None:
    assert formulas.mathml(latex, display=True) is None
    assert "<math" not in render(f"$${latex}$$")


LATEX = st.sampled_from(
    [
        "x", "12", "+", "=", "<", "&", "{", "}", "^", "_", "'", "(", "]", "|", " ", "\\\\", "\\,",
        "~", "\\{", "\\%", "%", "#", "é", "\\frac", "\\sqrt", "\\sqrt[3]", "\\sum", "\\lim",
        "\\sin", "\\hat", "\\overline", "\\left(", "\\right)", "\\left.", "\\middle|",
        "\\text{a b}", "\\text{<b>", "\\mathbf{A}", "\\mathrm", "\\boldsymbol",
        "\\operatorname{a}", "\\boxed", "\\overbrace", "\\not", "\\begin{matrix}", "\\end{matrix}",
        "\\begin{aligned}", "\\end{aligned}", "\\begin{array}{c|c}", "\\end{array}",
        "\\begin{cases}", "\\end{cases}", "\\substack", "\\hline", "\\limits", "\\tag{1}",
        "\\displaystyle", "\\bmod", "\\xrightarrow", "\\big", "\\color{red}", "\\href{x}",
        "\\style{x}", "\\binom", "\\phantom", "\\quad", "\\kern", "9em", "\\def", "\\alpha",
        "\\infty", "\\underset",
    ]
)  # fmt: skip


@given(st.lists(LATEX, max_size=24).map("".join), st.booleans())
def test_no_formula_gets_through_the_walls(latex: str, display: bool) -> None:
    """What is drawn is well formed, of known tags and attributes alone, and stays so in HTML."""
    drawn = formulas.mathml(latex, display=display)
    if drawn is not None:
        root = ElementTree.fromstring(drawn)
        for element in root.iter():
            for name, value in element.items():
                known = formulas.TAGS[element.tag].get(name, set())
                assert value in known or set(value.split()) <= formulas.CLASSES[element.tag]
        assert not display or root.get("display") == "block"
    inspect(f"$${latex}$$" if display else f"\\({latex}\\)")


def calls(latex: str) -> int:
    """How many functions are called to convert it: work, whatever else the machine does."""
    count = 0

    def called(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        formulas.mathml(latex, display=True)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "piece",
    [
        *("a", "a+", "x^2", "x'", "'", "(", "{a}", "1.", "11", r"\frac12", r"\sqrt a", r"\sqrt[a]"),
        *(r"a&b\\", r"\hat a", r"\not=", r"\text{a b}", r"\operatorname{a }", r"\sum_a^b", r"\{"),
        *(r"\left(a\right)", r"\mathbf{a}", r"\begin{matrix}a&b\end{matrix}", r"\hspace{1em}"),
        *(r"\text{", r"\operatorname{a", "^{a", r"\sqrt[", r"\hat{", r"\begin{matrix}", r"\left("),
        r"\displaystyle a",
    ],
)  # fmt: skip
def test_work_grows_with_the_length_of_a_formula(piece: str) -> None:
    whole = formulas.MAX_CHARS // len(piece)
    half, all_of_it = calls(piece * (whole // 2)), calls(piece * whole)
    assert all_of_it < 3 * half + 1_000
    assert all_of_it < 250 * formulas.MAX_CHARS


def test_an_answer_has_so_many_formulas_and_no_more() -> None:
    """However it is cut into blocks: what is spent goes along."""
    most = formulas.MAX_ANSWER // formulas.cost("a")
    paragraph = "$a$ " * 100 + "\n\n"
    assert render(paragraph * 30).count("<math") == most
    env: dict[str, object] = {}
    assert sum(render(paragraph, env).count("<math") for _ in range(30)) == most
