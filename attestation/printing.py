"""A report on the terminal, and the exit code it means (interfaces.md 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attestation.engine.verdicts import FAIL, Question, Report
from net.marks import N_

if TYPE_CHECKING:
    from attestation.comparison import Comparison

QUESTIONS: dict[Question, str] = {
    "hardware": N_("Is it genuine, current Intel TDX?"),
    "key": N_("Does that machine hold the key the chain pays?"),
    "software": N_("Is the software known and fixed?"),
    "gpu": N_("Are the GPUs genuine and measured?"),
    "fresh": N_("Was it made for us, now?"),
}
_EXIT = {"pass": 0, "warn": 0, "fail": 1}
_WIDTH = 120


def exit_code(overall: str) -> int:
    """0 pass or warn, 1 fail, 2 whatever was not fully judged or not under vendor anchors."""
    return _EXIT.get(overall, 2)


def render(report: Report, *, as_json: bool, published: Comparison | None = None) -> str:
    """One JSON document, or lines for people; with how it compares with what was published."""
    if as_json:
        said = {} if published is None else {"published": published.summary()}
        return json.dumps(report.summary() | said)
    lines = [f"{report.overall} ({report.kind})", ""]
    lines += answers(report.questions())
    order = list(dict.fromkeys(row.group for row in report.checks))
    group = ""
    for row in sorted(report.checks, key=lambda row: order.index(row.group)):
        if row.group != group:
            group = row.group
            lines += ["", group]
        lines.append(check(row.verdict, row.id, row.got, row.detail, row.expected))
    if published is not None:
        lines += [printable(line) for line in published.lines()]
    return "\n".join(lines)


def answers(questions: Mapping[Any, str]) -> list[str]:
    """A line for each question that was answered."""
    return [f"{text:44} {questions[name]}" for name, text in QUESTIONS.items() if name in questions]


def check(verdict: str, id: str, got: object, detail: str, expected: object) -> str:
    """One row, as far as a line goes, and below one that fails what would be right."""
    note = "; ".join(printable(text) for text in (got, detail) if text not in (None, ""))
    line = f"  {verdict:13} {id:24} {note}"[:_WIDTH]
    if verdict != FAIL or expected in (None, ""):
        return line
    return f"{line}\n" + f"{'':41}expected {printable(expected)}"[:_WIDTH]


def printable(value: object) -> str:
    """A stranger's text without control characters: it must not steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
