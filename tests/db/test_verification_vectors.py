"""Every shipped case through the database and back: the same rows, and the same from its bundle."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from django.utils import timezone

from attestation import bundle, runs, services, verify
from attestation.models import Endpoint, Outcome, Trigger, Verification
from tests.pure.attestation_cases import Case, names

pytestmark = pytest.mark.django_db


def test_stored_cases_are_judged_again_to_the_same_rows(shared: Path) -> None:
    now, cases = timezone.now(), names()
    assert len(cases) > 60
    for name in cases:
        case = Case(name)
        context, report = case.context(), case.judge()
        given = (Endpoint.UPLOAD, Trigger.UPLOAD, now, now, Outcome.JUDGED, context, report)
        kept = runs.store(runs.Draft(*given, evidence=case.evidence))
        stored = Verification.objects.select_related("body", "chain_pem").get(pk=kept.pk)
        assert stored.overall == report.overall, name
        assert stored.rows == [runs.clean(asdict(row)) for row in report.checks], name
        evidence = runs.evidence_of(stored)
        assert evidence == case.evidence, name
        again = replace(runs.context_of(stored), anchors=context.anchors)
        assert verify.judge(evidence, again) == report, name
        brought, packed = bundle.read(services.bundle(stored), context.anchors)
        assert verify.judge(brought, packed) == report, name
        assert runs.content_hash(stored) == kept.content_hash, name
        genuine = report.questions()["hardware"] != "fail"
        assert bool(stored.ppid) == (genuine and report.passed("tdx.sig")), name
