"""What the newest runs of a service's endpoints say together: one word, five answers. Pure.

Broker and model are judged apart and both have to hold; a transport error changes no verdict, it
only says since when nobody answers (attestation.md 13.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attestation.engine.verdicts import QUESTIONS, marked, told, told_overall
from attestation.models import Outcome, Verification
from attestation.selectors import BASIS, DEVELOPMENT
from ledger.records import Listing

#: Worst first, as of the answers; what is not in it counts as partial.
_WORDS = ("fail", "not_provided", "partial", "warn", "pass")
_ANSWERS = ("fail", "partial", "not_provided", "warn", "pass")

Said = dict[str, Any]


@dataclass(frozen=True)
class Together:
    """Columns of a `Standing` that follow from its endpoints."""

    overall: str = ""
    questions: Mapping[str, str] = field(default_factory=dict)
    development: bool = False
    checked_at: str = ""
    verification: str = ""
    error: str = ""


def basis_of(listing: Listing) -> dict[str, Any]:
    """What a verdict depends on of a listing; `attestation.selectors` compares the same in SQL."""
    return {name: getattr(listing, name) for name in BASIS}


def update(
    endpoints: Mapping[str, Said], runs: Sequence[Verification], basis: Mapping[str, Any]
) -> dict[str, Said]:
    """The newest word about each endpoint that the service has now.

    Where nobody answers the last verdict stays, unless it was about another listing: of a new URL
    or a new signer nothing is known.
    """
    found: dict[str, Said] = {}
    for run in runs:
        if run.outcome != Outcome.UNREACHABLE:
            found[run.endpoint] = said(run, basis)
            continue
        kept = endpoints.get(run.endpoint, {})
        if kept.get("basis") != dict(basis):
            kept = {}
        found[run.endpoint] = {**kept, "error": run.error, "silent": True}
    return found


def said(run: Verification, basis: Mapping[str, Any]) -> Said:
    """One verdict as `Standing.endpoints` holds it."""
    return {
        "overall": told_overall(run.overall, run.rows),
        "questions": told(run.questions, run.rows),
        "development": run.development,
        "verification": str(run.pk),
        "checked_at": run.finished_at.isoformat(),
        "basis": dict(basis),
        "error": run.error,
        "silent": False,
    }


def together(endpoints: Mapping[str, Said]) -> Together:
    """One word for all endpoints: as good as the worst, and partial while one is unknown."""
    judged = {name: entry for name, entry in endpoints.items() if entry.get("overall")}
    errors = "; ".join(
        f"{name}: {entry['error']}" for name, entry in endpoints.items() if entry.get("error")
    )
    if not judged:
        return Together(error=errors)
    words = {entry["overall"].removeprefix(DEVELOPMENT) for entry in judged.values()}
    if len(judged) < len(endpoints):
        words.add("partial")
    word = min(words, key=_rank)
    if len(words) > 1 and word not in _WORDS:  # not checked, beside what was
        word = "partial"
    development = any(entry["development"] for entry in judged.values())
    taints = any(entry["overall"].startswith(DEVELOPMENT) for entry in judged.values())
    first = "broker" if "broker" in judged else next(iter(judged))
    return Together(
        overall=marked(word, taints),
        questions=_questions(judged, complete=len(judged) == len(endpoints)),
        development=development,
        checked_at=min(entry["checked_at"] for entry in judged.values()),
        verification=judged[first]["verification"],
        error=errors,
    )


def _questions(judged: Mapping[str, Said], *, complete: bool) -> dict[str, str]:
    """The worst answer of all; about GPUs the model's alone, because brokers have none."""
    answers: dict[str, str] = {}
    for question in QUESTIONS:
        asked = dict(judged)
        if question == "gpu" and len(judged) > 1:
            asked.pop("broker", None)
        given = [entry["questions"].get(question, "not_provided") for entry in asked.values()]
        if not complete:
            given.append("partial")
        answers[question] = min(given, key=_ANSWERS.index)
    return answers


def _rank(word: str) -> int:
    return _WORDS.index(word) if word in _WORDS else _WORDS.index("partial")
