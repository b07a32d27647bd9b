"""Pages of the checks an operator has made: the setup from outside, and the private self-test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.pages_parts import Option
from accounts.pages_transaction import Link
from attestation import pages as reports
from attestation.printing import QUESTIONS as TITLES
from operators import setup_results, words
from operators.models_listing import SelfTest, SetupRun
from operators.tabs import tabs

#: How a check's state is shown: what the style sheet calls it, and in a word.
_SHOWN = {
    "ok": ("yes", gettext_noop("good")),
    "warn": ("no", gettext_noop("look at this")),
    "bad": ("changed", gettext_noop("wrong")),
    "not_checked": ("unknown", gettext_noop("not checked")),
}


@dataclass(frozen=True)
class CheckLine:
    """One check of a run; `state` is the stored one, "" while it is still to come."""

    id: str
    title: str
    state: str
    shown: str
    word: str
    found: str
    fix: str


@dataclass(frozen=True)
class SetupView:
    """A run as it stands: every check of the list, those to come without a state."""

    run: SetupRun
    lines: tuple[CheckLine, ...]
    path: str

    @property
    def done(self) -> int:
        return sum(bool(line.state) for line in self.lines)

    @property
    def count(self) -> int:
        return len(self.lines)

    @property
    def tally(self) -> str:
        """`2 wrong, 1 to look at, 8 good`: what matters first."""
        first = (("bad", "wrong"), ("warn", gettext_noop("to look at")), ("ok", "good"))
        more = ("not_checked", gettext_noop("not checked"))
        counted = [
            (sum(line.state == state for line in self.lines), word)
            for state, word in (*first, more)
        ]
        return ", ".join(f"{number} {_(word)}" for number, word in counted if number)


def setup_view(run: SetupRun) -> SetupView:
    known: Mapping[str, Mapping[str, str]] = {one["id"]: one for one in run.checks}
    lines = []
    for id, title in setup_results.TITLES.items():
        one = known.get(id, {})
        state = one.get("state", "")
        shown, word = _SHOWN.get(
            state, ("unknown", gettext_noop("to come") if run.open else gettext_noop("not reached"))
        )
        lines.append(
            CheckLine(
                id,
                _(title),
                state,
                shown,
                _(word),
                words.translated(one.get("found", "")),
                _(one.get("fix", "")),
            )
        )
    return SetupView(run, tuple(lines), f"/operator/setup/{run.pk}")


@dataclass(frozen=True)
class SetupPage:
    choices: tuple[Option, ...]
    view: SetupView | None
    earlier: tuple[SetupRun, ...]
    problem: str = ""
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/operator/setup"))


@dataclass(frozen=True)
class Question:
    title: str
    answer: str


@dataclass(frozen=True)
class TestedEndpoint:
    """What the engine said about one endpoint; `rows` by group, as public reports show them."""

    endpoint: str
    overall: str
    error: str
    questions: tuple[Question, ...]
    groups: tuple[tuple[str, tuple[reports.CheckRow, ...]], ...]


@dataclass(frozen=True)
class SelfTestView:
    run: SelfTest
    endpoints: tuple[TestedEndpoint, ...]
    path: str


_ENDPOINTS = {"broker": gettext_noop("Broker"), "model": gettext_noop("Model’s own enclave")}


def self_test_view(run: SelfTest) -> SelfTestView:
    found = tuple(_endpoint(report) for report in run.reports)
    return SelfTestView(run, found, f"/operator/selftest/{run.pk}")


def _endpoint(report: Mapping[str, Any]) -> TestedEndpoint:
    groups: dict[str, list[reports.CheckRow]] = {}
    for row in report["rows"]:
        groups.setdefault(row["group"], []).append(reports.check_row(row, kept=False))
    return TestedEndpoint(
        endpoint=_(_ENDPOINTS.get(report["endpoint"], report["endpoint"])),
        overall=report["overall"] or "not_checked",
        error=report["error"],
        questions=tuple(
            # In the order of public reports; a column of JSON keeps none.
            Question(_(title), report["questions"][name])
            for name, title in TITLES.items()
            if name in report["questions"]
        ),
        groups=tuple((_(title), tuple(rows)) for title, rows in groups.items()),
    )


@dataclass(frozen=True)
class SelfTestPage:
    choices: tuple[Option, ...]
    view: SelfTestView | None
    earlier: tuple[SelfTest, ...]
    typed: Mapping[str, str]
    problem: str = ""
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/operator/selftest"))
