"""The engine of the public verification on an operator's own evidence, for the operator's eyes:
no run is stored, no standing changes, nothing is paid."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from asgiref.sync import async_to_sync
from django.utils.translation import gettext as _

from accounts import actions, url_words
from accounts.errors import Problem
from accounts.models import User
from attestation import runs, trust
from attestation.engine.verdicts import marked, told, told_overall
from attestation.runs import Draft
from ledger import selectors as ledger
from net import addresses
from net.client import Client
from net.errors import BadUrl, Refused
from operators import listing, listing_state, setup, setup_evidence
from operators.models import SelfTest
from operators.models_listing import JobState
from operators.setup_results import Subject


def start(
    user: User, kind: str, service_name: str, url: str = "", signer: str = "", *, caller: str = ""
) -> SelfTest:
    """Queue a test of the published service, or of an unpublished `url` whose evidence has to bind
    `signer`; `caller`: the network address. Raises Problem."""
    if not url:
        contract, values = setup.wanted(user, kind, service_name, draft=False)
    else:
        found = listing_state.contract_of(kind, user.address, service_name)
        if found is None or kind not in listing.KINDS:
            raise Problem("unknown_service", _("This network has no contract for such services."))
        contract, values = found, _unpublished(user, kind, url.strip(), signer.strip())
    row = SelfTest(
        user=user,
        kind=kind,
        service_name=contract.service_name,
        url=values["url"],
        model=str(values.get("model", "")),
        published=not url,
        values=setup.subject_values(values),
    )
    return setup.queued(row, setup.SELF_TEST_TASK, caller)


def _unpublished(user: User, kind: str, url: str, signer: str) -> dict[str, Any]:
    if not signer:
        published = ledger.service(kind, user.address)
        signer = published.tee_signer if published else ""
    if not signer:
        raise Problem("no_signer", _("Enter the signer that the evidence has to name."))
    try:
        addresses.parse(url, listing_state.policy())
        known = actions.address(signer)
    except (BadUrl, Refused) as error:
        raise Problem(
            "bad_url",
            _("This URL cannot be asked: %(error)s.") % {"error": url_words.translated(error)},
        ) from None
    except ValueError as error:
        raise Problem("bad_signer", _("The signer %(error)s.") % {"error": error}) from None
    return {"url": url.rstrip("/"), "tee_signer": known, "verifiability": "TeeML"}


def run(identifier: str) -> None:
    """Make a queued test."""
    row = setup.take(SelfTest, identifier)
    if row is None:
        return
    try:
        subject = setup.subject_of(row, row.values)
        found: list[Draft] = async_to_sync(_drafts)(subject)
        SelfTest.objects.filter(pk=row.pk).update(reports=[_report(draft) for draft in found])
    except Exception:
        setup.end(row, JobState.FAILED)
        raise
    setup.end(row, JobState.DONE)


async def _drafts(subject: Subject) -> list[Draft]:
    async with Client(trust.provider_policy(), connections=4) as client:
        return await setup_evidence.drafts(client, subject)


def _report(draft: Draft) -> dict[str, Any]:
    """A draft as it is shown: the rows, without the evidence."""
    report = draft.report
    rows = [asdict(row) for row in report.checks]
    answers = {
        name: marked(answer, report.development)
        for name, answer in told(report.questions(), rows).items()
    }
    word = draft.overall or (report.overall if report.checks else "")
    judged: dict[str, Any] = runs.clean(
        {
            "endpoint": draft.endpoint.value,
            "outcome": draft.outcome.value,
            "overall": told_overall(word, rows),
            "questions": answers if report.checks else {},
            "rows": rows,
            "error": str(draft.columns.get("error", ""))[:400],
        }
    )
    return judged
