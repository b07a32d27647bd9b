"""Stored reports for tests of pages: judged by the engine, written as a run writes them."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.utils import timezone

from attestation import runs, standings
from attestation.engine import reports
from attestation.engine.evidence import Context, Evidence
from attestation.engine.verdicts import Report
from attestation.models import Endpoint, Outcome, Standing, Trigger, Verification
from attestation.runs import Draft
from attestation.selectors import ServiceKey
from provider.tee.development.report import Machine
from tests import factories
from tests.pure.attestation_lab import ADDRESS, lab

KEY = ServiceKey("inference", factories.PETRA, "inference-v1.0")


def stored(
    evidence: Evidence | None,
    context: Context,
    *,
    key: ServiceKey | None = KEY,
    age: dt.timedelta = dt.timedelta(minutes=12),
    endpoint: Endpoint = Endpoint.BROKER,
    outcome: Outcome = Outcome.JUDGED,
    **columns: Any,
) -> Verification:
    """A run `age` ago about `key` (None: an upload), with the verdict of the engine."""
    at = timezone.now() - age
    judged = evidence is not None and outcome == Outcome.JUDGED
    about: dict[str, Any] = {}
    if key is not None:
        about = {"provider": key.provider, "kind": key.kind, "service_name": key.service_name}
        about |= {"block": 4_512_300, "url": "https://provider.example/v1/quote?nonce=9f3c"}
    run = runs.store(
        Draft(
            endpoint=endpoint if key else Endpoint.UPLOAD,
            trigger=Trigger.ASKED if key else Trigger.UPLOAD,
            started_at=at,
            finished_at=at,
            outcome=outcome,
            context=context,
            report=reports.judge(evidence, context) if judged and evidence else Report("none"),
            evidence=evidence,
            columns=about | columns,
        )
    )
    if key is not None and outcome != Outcome.UNREACHABLE:
        stand(key, run)
    return run


def stand(key: ServiceKey, run: Verification, **columns: Any) -> Standing:
    """The service's standing after this run, as `attestation.services` writes it."""
    said = {run.endpoint: standings.said(run, {})}
    together = standings.together(said)
    values: dict[str, Any] = {
        "serving": factories.INFERENCE,
        "endpoints": said,
        "verification": run,
        "overall": together.overall,
        "questions": dict(together.questions),
        "development": together.development,
        "checked_at": run.finished_at,
        "tried_at": run.finished_at,
    }
    row, _ = Standing.objects.update_or_create(
        provider=key.provider,
        kind=key.kind,
        service_name=key.service_name,
        defaults={**values, **columns},
    )
    return row


def machine(**fields: Any) -> Machine:
    return Machine(ADDRESS, **{"gpus": 2, **fields})


def development(made: Machine | None = None, **more: Any) -> Verification:
    """A run over development evidence, complete but for our nonce."""
    made = made or machine()
    return stored(Evidence("report", lab().body(made)), lab().context(made), **more)


def unreachable(**more: Any) -> Verification:
    """A run that brought no answer."""
    return stored(
        None,
        lab().context(machine()),
        outcome=Outcome.UNREACHABLE,
        error="connect: no answer within 5 s",
        **more,
    )


def path(run: Verification | uuid.UUID) -> str:
    return f"/verifications/{run.pk if isinstance(run, Verification) else run}"
