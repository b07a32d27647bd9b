"""Reads of stored runs: one report, and a service's one after the other. A constant number of
queries each.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.db.models import BooleanField, Case, F, Func, QuerySet, Value, When

from attestation.engine.verdicts import WARN, marked
from attestation.models import Finding, Verification
from attestation.selectors import FindingView, ServiceKey, finding_view
from ledger import selectors as ledger
from ledger.records import Page


@dataclass(frozen=True)
class ReportView:
    """One stored run; its rows are never made again from anything else. `newest`: the newest
    verdict about the same machine, None of evidence that somebody brought."""

    run: Verification
    findings: tuple[FindingView, ...]
    newest: HistoryEntry | None


def report(id: uuid.UUID) -> ReportView | None:
    """One run (3 queries)."""
    run = Verification.objects.select_related("body", "chain_pem").filter(pk=id).first()
    if run is None:
        return None
    found = Finding.objects.filter(verification=run).order_by("opened_at", "pk")
    judged = _runs(ServiceKey.of(run)).filter(endpoint=run.endpoint).exclude(overall="")
    newest = judged.first() if run.provider else None
    entry = None if newest is None else _entry(newest, None)
    return ReportView(run, tuple(map(finding_view, found)), entry)


@dataclass(frozen=True)
class HistoryEntry:
    """One run in a list. `changed`: the questions whose answer differs from the verdict before;
    `told`: `verdicts.told_overall` of this one and of that."""

    id: uuid.UUID
    endpoint: str
    trigger: str
    outcome: str
    error: str
    started_at: dt.datetime
    finished_at: dt.datetime
    overall: str
    development: bool
    questions: Mapping[str, str]
    block: int | None
    changed: tuple[str, ...]
    before: str
    told: tuple[str, str]

    @property
    def alone(self) -> HistoryEntry:
        """With the words that stand without the reports that they are of (decision 21)."""
        overall, before = self.told
        return replace(self, overall=overall, before=before)


def of_service(
    key: ServiceKey, page: int = 1, page_size: int = ledger.PAGE_SIZE
) -> Page[HistoryEntry]:
    """Runs of one service, newest first (3 queries)."""
    rows = _runs(key)
    found = ledger.paginate(rows, page, page_size, lambda run: run)
    if not found.items:
        return Page((), found.count, found.number, found.size)
    # What the oldest shown verdict of each machine changed from stands on a later page.
    older = rows.filter(started_at__lt=found.items[-1].started_at).exclude(overall="")
    machines = {run.endpoint for run in found.items}
    first, *others = (older.filter(endpoint=machine)[:1] for machine in sorted(machines))
    entries: list[HistoryEntry] = []
    before: dict[str, Verification] = {run.endpoint: run for run in first.union(*others, all=True)}
    for run in reversed(found.items):
        previous = before.get(run.endpoint)
        entries.append(_entry(run, previous))
        if run.overall:
            before[run.endpoint] = run
    return Page(tuple(reversed(entries)), found.count, found.number, found.size)


#: `verdicts.is_unseen` of any row of a report.
_UNSEEN = Func(
    F("rows"),
    Value(
        '$[*] ? (@.required == true && (@.verdict == "not_provided" || @.verdict == "not_checked"))'
    ),
    function="jsonb_path_exists",
    template="%(function)s(%(expressions)s::jsonpath)",
    output_field=BooleanField(),
)


def _runs(key: ServiceKey) -> QuerySet[Verification]:
    rows = Verification.objects.filter(
        provider=key.provider, kind=key.kind, service_name=key.service_name
    )
    # Not the report itself: it is large, and a list shows none of it.
    rows = rows.defer("rows", "facts", "inputs", "headers", "additional_info")
    return rows.annotate(told=told()).order_by("-started_at", "-pk")


def told() -> Case:
    """`verdicts.told_overall` as a column of `Verification`; of the report it reads only what
    stands beside a warning."""
    words = {marked(WARN, here): marked("partial", here) for here in (False, True)}
    return Case(
        *(
            When(overall=word, then=Case(When(_UNSEEN, then=Value(other)), default="overall"))
            for word, other in words.items()
        ),
        default="overall",
    )


def _entry(run: Verification, previous: Verification | None) -> HistoryEntry:
    before = previous.questions if previous is not None else {}
    return HistoryEntry(
        id=run.pk,
        endpoint=run.endpoint,
        trigger=run.trigger,
        outcome=run.outcome,
        error=run.error,
        started_at=run.started_at,
        finished_at=run.finished_at,
        overall=run.overall,
        development=run.development,
        questions=run.questions,
        block=run.block,
        changed=tuple(
            name for name, answer in run.questions.items() if before and before.get(name) != answer
        ),
        before=previous.overall if previous is not None else "",
        told=(run.told, "" if previous is None else previous.told),  # type: ignore[attr-defined]
    )
