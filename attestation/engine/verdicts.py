"""Rows, five verdicts and five questions (attestation.md 11)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

from attestation.engine.limits import MAX_ROW_TEXT

Verdict = Literal["pass", "warn", "fail", "not_provided", "not_checked"]
Answer = Literal["pass", "warn", "fail", "partial", "not_provided"]
Question = Literal["hardware", "key", "software", "gpu", "fresh"]

PASS: Final = "pass"
WARN: Final = "warn"
FAIL: Final = "fail"
NOT_PROVIDED: Final = "not_provided"  # the provider did not hand over the evidence
NOT_CHECKED: Final = "not_checked"  # we lack the collateral, the reference or the chain

#: The trust anchor's own row: under development anchors it is red, and the overall says `dev-`.
ANCHOR_ROW = "tdx.root"
MEASUREMENTS = frozenset({"tdx.mr_td", "tdx.rtmr0", "tdx.rtmr1", "tdx.rtmr2"})
#: True of every machine of this generation: a note, which no question counts.
NOTES = frozenset({"gpu.cpu_gpu"})
QUESTIONS: tuple[Question, ...] = ("hardware", "key", "software", "gpu", "fresh")
#: When the evidence was made, and whether its key is alive.
FRESHNESS = frozenset({"bind.nonce", "bind.challenge"})
_GPU_ROW = re.compile(r"gpu\d*\.|nras\.")


def marked(word: str, development: bool) -> str:
    """An answer or overall verdict as it is shown: `dev-` before what only development anchors
    vouch for."""
    return f"dev-{word}" if development and word not in (FAIL, NOT_PROVIDED) else word


@dataclass
class Check:
    """One row: what was expected, what was there, and which bytes say so.

    Only `required` rows decide the overall verdict.
    """

    id: str
    group: str
    title: str
    verdict: Verdict
    expected: Any = None
    got: Any = None
    detail: str = ""
    source: str = ""
    required: bool = True


@dataclass
class Report:
    """The rows of one verification in order, and facts for the page that no row judges.

    `kind` is the report's shape. `development`: an anchor that is not a vendor's was accepted.
    """

    kind: str
    development: bool = False
    checks: list[Check] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        id: str,
        group: str,
        title: str,
        verdict: Verdict,
        *,
        expected: Any = None,
        got: Any = None,
        detail: str = "",
        source: str = "",
        required: bool = True,
    ) -> Check:
        """Append a row. Long texts are cut: by now they have been compared whole."""
        row = Check(
            id, group, title, verdict, _cut(expected), _cut(got), _cut(detail), source, required
        )
        self.checks.append(row)
        return row

    def compare(
        self,
        id: str,
        group: str,
        title: str,
        expected: Any,
        got: Any,
        *,
        detail: str = "",
        source: str = "",
        required: bool = True,
    ) -> Check:
        """A row that passes on equality; a missing side is never a pass."""
        verdict: Verdict = PASS if expected == got else FAIL
        if got is None:
            verdict = NOT_PROVIDED
        elif expected is None:
            verdict = NOT_CHECKED
        return self.add(
            id,
            group,
            title,
            verdict,
            expected=expected,
            got=got,
            detail=detail,
            source=source,
            required=required,
        )

    def find(self, id: str) -> Check | None:
        """The first row of this id."""
        return next((row for row in self.checks if row.id == id), None)

    def passed(self, id: str) -> bool:
        row = self.find(id)
        return row is not None and row.verdict == PASS

    @property
    def overall(self) -> str:
        """pass, warn, fail, partial or not_checked; under development anchors dev-pass, dev-warn
        and so on, so that nothing can take it for green. A fail stays a fail. not_provided where
        the quote came without the certificates of its key: anybody can write such a one.
        """
        return marked(self._overall(), self.development)

    def _overall(self) -> str:
        required = {row.verdict for row in self.checks if row.required}
        if not required:
            return NOT_CHECKED
        if FAIL in required:
            return FAIL
        if self._anonymous:
            return NOT_PROVIDED
        optional_fail = any(row.verdict == FAIL and row.id != ANCHOR_ROW for row in self.checks)
        if WARN in required or optional_fail:
            return WARN
        return "partial" if required & {NOT_PROVIDED, NOT_CHECKED} else PASS

    def questions(self) -> dict[Question, Answer]:
        """What people ask. Stricter than `overall`: optional rows count, unchecked is never green,
        and values in a quote that is not genuine prove nothing.
        """
        rows: dict[Question, list[Check]] = {question: [] for question in QUESTIONS}
        for row in self.checks:
            for question in _asking(row.id):
                rows[question].append(row)
        answers = {question: _answer(rows[question]) for question in QUESTIONS}
        if self._anonymous and answers["hardware"] != FAIL:
            for unknown in QUESTIONS:
                if unknown != "gpu" and answers[unknown] != FAIL:
                    answers[unknown] = NOT_PROVIDED
        if answers["hardware"] == FAIL:
            for question in ("key", "software", "fresh"):
                if answers[question] != NOT_PROVIDED:
                    answers[question] = FAIL
        return answers

    @property
    def _anonymous(self) -> bool:
        """Whether a quote is there, and nothing says whose hardware signed it."""
        row = self.find("tdx.pck_chain")
        return row is not None and row.verdict == NOT_PROVIDED

    def summary(self) -> dict[str, Any]:
        """The document of `verify_evidence --json` (interfaces.md 1)."""
        return {
            "overall": self.overall,
            "questions": self.questions(),
            "checks": {row.id: row.verdict for row in self.checks},
        }


def told(answers: Mapping[Any, str], rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Answers as people get them: a warning does not stand for a required part that was not seen.
    The engine's own words cannot say both (decision 21); `rows`: asdict(Check).
    """
    unseen = {name for row in rows if is_unseen(row) for name in _asking(row["id"])}
    return {
        name: "partial" if answer == WARN and name in unseen else answer
        for name, answer in answers.items()
    }


def told_overall(word: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """The one word where it stands alone, without the report that says what is missing: else less
    evidence could make a better word than more (decision 21)."""
    plain = word.removeprefix("dev-")
    if plain == WARN and any(map(is_unseen, rows)):
        return marked("partial", plain != word)
    return word


def is_unseen(row: Mapping[str, Any]) -> bool:
    """Whether a required part was not handed over, or not checked."""
    return row["required"] and row["verdict"] in (NOT_PROVIDED, NOT_CHECKED)


def asks(question: Question, id: str) -> bool:
    if id in NOTES:
        return False
    if question == "hardware":
        return id.startswith("tdx.") and id not in MEASUREMENTS
    if question == "key":
        return id.startswith("bind.") and id not in FRESHNESS
    if question == "software":
        return id.startswith(("dstack.", "ccel.")) or id in MEASUREMENTS
    if question == "gpu":
        return _GPU_ROW.match(id) is not None
    return id in FRESHNESS


@lru_cache(maxsize=1024)
def _asking(id: str) -> tuple[Question, ...]:
    """Kept, since every report has the same few ids."""
    return tuple(question for question in QUESTIONS if asks(question, id))


def _answer(rows: list[Check]) -> Answer:
    verdicts = {row.verdict for row in rows}
    if verdicts <= {NOT_PROVIDED}:
        return NOT_PROVIDED
    if any(row.verdict == FAIL and row.required for row in rows):
        return FAIL
    if verdicts & {FAIL, WARN}:
        return WARN
    return "partial" if verdicts & {NOT_PROVIDED, NOT_CHECKED} else PASS


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_ROW_TEXT:
        return value[:MAX_ROW_TEXT] + "…"
    return value
