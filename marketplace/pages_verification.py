"""Pages about evidence: a service's tab Verification, its findings, and `/verify`."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.utils import timezone

from attestation import words
from attestation.printing import QUESTIONS
from attestation.selectors import FindingView, HistoryEntry, StandingView
from marketplace import links
from marketplace.pages import ServiceHead
from marketplace.parts import Pager

#: A check that was asked for and never came is not waited for any longer.
WAIT_SECONDS = 90
_OTHER = {
    "same_ppid": "The other one:",
    "same_gpu": "The other one:",
    "signer_reused": "The other one:",
    "identical_evidence": "It came from",
}


@dataclass(frozen=True)
class FindingRow:
    """A fact across the market, in words, seen from one provider's page."""

    kind: str
    title: str
    text: str
    said: str
    other: str
    other_path: str
    opened_at: dt.datetime
    closed_at: dt.datetime | None
    report: uuid.UUID | None


def finding_rows(found: Iterable[FindingView], provider: str) -> tuple[FindingRow, ...]:
    return tuple(_finding(view, provider) for view in found)


def _finding(view: FindingView, provider: str) -> FindingRow:
    title, text = words.FINDINGS.get(view.kind, (view.kind.replace("_", " "), ""))
    other = view.other_provider if view.provider == provider else view.provider
    other = "" if other == provider else other
    return FindingRow(
        kind=view.kind,
        title=title,
        text=text,
        said=_OTHER.get(view.kind, "See"),
        other=other,
        other_path=links.provider_path(other) if other else "",
        opened_at=view.opened_at,
        closed_at=view.closed_at,
        report=view.verification_id,
    )


@dataclass(frozen=True)
class Answer:
    """One of the five questions in short. `chip`: as shown, `dev-` under development anchors."""

    name: str
    title: str
    chip: str


@dataclass(frozen=True)
class EndpointPanel:
    """One machine of the service. `about`: which, in words."""

    about: str
    chip: str
    report: uuid.UUID | None
    checked_at: dt.datetime | None
    error: str


@dataclass(frozen=True)
class StandingPanel:
    """What is known now. `declared`: what the service's own declaration means for evidence."""

    view: StandingView
    declared: str
    answers: tuple[Answer, ...]
    endpoints: tuple[EndpointPanel, ...]


def standing_panel(view: StandingView) -> StandingPanel:
    return StandingPanel(
        view=view,
        declared=words.DECLARED.get(view.declared, ""),
        answers=answers(view.questions, development=view.development),
        endpoints=tuple(
            EndpointPanel(
                words.ENDPOINTS.get(one.endpoint, one.endpoint),
                one.overall or "never",
                one.verification_id,
                one.checked_at,
                one.error,
            )
            for one in view.endpoints
        ),
    )


def answers(questions: Mapping[str, str], *, development: bool) -> tuple[Answer, ...]:
    def chip(answer: str) -> str:
        return f"dev-{answer}" if development and answer not in ("fail", "not_provided") else answer

    return tuple(
        Answer(name, title, chip(questions[name]))
        for name, title in QUESTIONS.items()
        if name in questions
    )


def progress(view: StandingView, asked: int, *, running: bool) -> str:
    """`waiting` or `running` while a check that was asked for is under way, `done` after it,
    `late` where it does not come; "" where nobody asked (`asked` in unix seconds, 0 = nobody).
    """
    if running:
        return "running"
    if not asked:
        return ""
    tried = int(view.tried_at.timestamp()) if view.tried_at else 0
    if tried >= asked:
        return "done"
    return "waiting" if int(timezone.now().timestamp()) - asked < WAIT_SECONDS else "late"


@dataclass(frozen=True)
class VerificationTab:
    """`path`: where a check is asked for; `problem`: why it was not queued."""

    service: ServiceHead
    standing: StandingPanel
    findings: tuple[FindingRow, ...]
    entries: tuple[HistoryEntry, ...]
    pager: Pager
    path: str
    poll: str
    badge: str
    badge_link: str
    progress: str
    problem: str
