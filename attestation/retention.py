"""How long reports, and what they rest on, are kept."""

from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from attestation.models import (
    Document,
    Finding,
    Identity,
    Outcome,
    Retrieval,
    Standing,
    VerdictChange,
    Verification,
)

#: Attempts that brought no evidence say little after a while.
KEPT_SILENCE = dt.timedelta(days=90)
KEPT_ANSWERS = dt.timedelta(days=90)


def verifications(now: dt.datetime) -> QuerySet[Verification]:
    """Runs that nothing rests on: attempts without evidence after a while, and reports only where
    the operator says so (VERIFICATIONS_KEEP_DAYS): they are permanent links."""
    rows = Verification.objects.filter(started_at__lt=now - KEPT_SILENCE)
    rows = rows.exclude(outcome=Outcome.JUDGED)
    if settings.VERIFICATIONS_KEEP_DAYS:
        kept = dt.timedelta(days=settings.VERIFICATIONS_KEEP_DAYS)
        rows = rows | Verification.objects.filter(started_at__lt=now - kept)
    for model in (Standing, Finding, Identity, VerdictChange):
        rows = rows.exclude(Exists(model.objects.filter(verification=OuterRef("pk"))))
    return rows


def retrievals(now: dt.datetime) -> QuerySet[Retrieval]:
    """Answers that nothing can be judged by any more; reports name what they were made with."""
    rows = Retrieval.objects.filter(fetched_at__lt=now - KEPT_ANSWERS)
    return rows.exclude(valid_until__gt=now)


#: Hashes that a report names, wherever they stand in its columns: one pass over all reports.
_NAMED = """NOT EXISTS (
    SELECT FROM attestation_verification v, LATERAL jsonb_path_query(
        jsonb_build_array(v.inputs, v.collateral, v.rims, v.ocsp, v.nras, v.jwks), '$.**'
    ) named WHERE named #>> '{}' = attestation_document.sha256
)"""


def documents(now: dt.datetime) -> QuerySet[Document]:
    """Bytes behind nothing that is kept any more; without reports that go there are none."""
    if not settings.VERIFICATIONS_KEEP_DAYS:
        return Document.objects.none()
    rows = Document.objects.defer("body").extra(where=[_NAMED])
    for model, field in (
        (Verification, "body"),
        (Verification, "chain_pem"),
        (Retrieval, "document"),
    ):
        rows = rows.exclude(Exists(model.objects.filter(**{field: OuterRef("pk")})))
    return rows
