"""`/verifications`: what was found out about a service's evidence, and the evidence itself."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.http import http_date
from ninja import Query, Router
from ninja.decorators import decorate_view

from attestation import history, runs, services
from attestation.errors import NoEvidence
from attestation.history import HistoryEntry
from attestation.models import Verification
from attestation.selectors import ServiceKey, StandingView
from marketplace import problems, schemas
from marketplace import schemas_verifications as shapes
from marketplace.api_lists import (
    PROBLEMS_404,
    envelope,
    known_or_404,
    listing_or_404,
    revalidated_with_verdicts,
    sends,
)

router = Router(tags=["Verifications"])
ZIP = sends("application/zip", "a zip for `manage.py verify_bundle`", format="binary")
_DAY = 86_400


def attestation_body(view: StandingView) -> dict[str, Any] | None:
    """The `attestation` field of a service; null where nothing is known, or what was is too old."""
    if view.checked_at is None:
        return None
    return {
        "overall": view.overall,
        "questions": dict(view.questions),
        "checked_at": view.checked_at,
    }


def entry_body(entry: HistoryEntry) -> dict[str, Any]:
    names = shapes.VerificationEntry.model_fields
    return {name: getattr(entry, name) for name in names} | {"changed": list(entry.changed)}


@router.get(
    "/services/{kind}/{provider}/verifications",
    response={200: schemas.ListOf[shapes.VerificationEntry], **PROBLEMS_404},
    operation_id="list_verifications",
    summary="Verdict history of a service, newest first",
)
@decorate_view(revalidated_with_verdicts)
def list_verifications(
    request: HttpRequest,
    kind: schemas.ServiceKind,
    provider: schemas.AddressIn,
    query: Query[schemas.PageIn],
    service_name: schemas.ServiceNameIn = "",
) -> dict[str, Any]:
    """Every run, those too that got no answer; removed services keep theirs."""
    listing = listing_or_404(kind, provider, service_name)
    page = history.of_service(ServiceKey.of(listing), query.page, query.page_size)
    return envelope(request, page, entry_body)


@router.get(
    "/verifications/{uuid:id}",
    response={200: shapes.VerificationOut, **PROBLEMS_404},
    operation_id="get_verification",
    summary="One report with every check",
)
def get_verification(request: HttpRequest, response: HttpResponse, id: uuid.UUID) -> dict[str, Any]:
    """A stored report stays what it was, for as long as the host keeps it.

    `content_hash` (of `hash_version` 2) is the SHA-256 of this answer without it, as JSON with
    sorted keys, no spaces and ASCII only. The page's address can hold its first 16 digits or more.
    """
    found = Verification.objects.filter(pk=id).first()
    run = known_or_404("This verification", found)
    response["ETag"] = f'W/"{run.content_hash[:24]}"'
    response["Last-Modified"] = http_date(run.finished_at.timestamp())
    response["Cache-Control"] = f"public, max-age={_DAY}"
    return runs.document(run)


@router.get(
    "/verifications/{uuid:id}/bundle",
    response={200: None, **PROBLEMS_404},
    operation_id="get_verification_bundle",
    summary="The evidence with everything it was judged by, as a zip",
    openapi_extra=ZIP,
)
def get_bundle(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """`manage.py verify_bundle FILE.zip` judges it again, offline, by anybody's own anchors, and
    says whether the result is the same."""
    rows = Verification.objects.select_related("body", "chain_pem")
    run = known_or_404("This verification", rows.filter(pk=id).first())
    try:
        body = services.bundle(run)
    except NoEvidence:
        raise problems.not_found("Evidence of this run") from None
    response = HttpResponse(body, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="verification-{id}.zip"'
    response["Last-Modified"] = http_date(run.finished_at.timestamp())
    response["Cache-Control"] = f"public, max-age={_DAY}"
    return response
