"""The evidence of a service as the setup checker and the private self-test have it judged: by the
engine of the public verification, and stored by nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext_noop

from attestation import declared, evaluate
from attestation.engine.verdicts import Report
from attestation.models import Outcome, Trigger
from attestation.runs import Draft
from attestation.selectors import ServiceKey
from net.client import Client
from operators import words
from operators.setup_results import Result, Subject


def _target(subject: Subject) -> evaluate.Target:
    """What the verification asks about a listing, published or not."""
    listing = subject.listing
    payable = ("provider", "serving", "url", "model", "service_type", "input_price", "output_price")
    return evaluate.Target(
        key=ServiceKey.of(listing),
        block=subject.block,
        url=listing.url,
        model=listing.model,
        verifiability=listing.verifiability,
        additional_info=listing.additional_info,
        signer=listing.tee_signer,
        acknowledged=listing.tee_signer_acknowledged if subject.published else None,
        declared=declared.of(listing.verifiability, listing.additional_info),
        payable={name: getattr(listing, name) for name in payable},
    )


async def drafts(client: Client, subject: Subject) -> list[Draft]:
    """The engine's runs, which nobody stores; `ASKED` ones never spend the site's money."""
    return await evaluate.every_endpoint(client, _target(subject), Trigger.ASKED)


def evidence(subject: Subject, runs: Sequence[Draft]) -> tuple[Result, Result]:
    """Evidence and signer; of several endpoints the worst."""
    declared_word = declared.of(
        subject.listing.verifiability, subject.listing.additional_info
    ).endpoints
    if not declared_word:
        why = gettext_noop("You declare no trusted hardware, so there is no evidence to check.")
        return Result("evidence", "not_checked", why), Result("signer", "not_checked", why)
    return (
        min((_evidence(run) for run in runs), key=_rank),
        min((_signer(run, subject.published) for run in runs), key=_rank),
    )


_RANKS = {"bad": 0, "warn": 1, "not_checked": 2, "ok": 3}


def _rank(result: Result) -> int:
    return _RANKS[result.state]


def _evidence(run: Draft) -> Result:
    at = run.endpoint.value
    if run.outcome == Outcome.UNREACHABLE:
        said = str(run.columns.get("error", ""))[:200] or "no answer"
        return Result(
            "evidence", "bad", f"{at}: {said}.", gettext_noop("See that /v1/quote answers.")
        )
    if run.outcome == Outcome.REFUSED:
        said = str(run.columns.get("error", ""))[:200]
        return Result(
            "evidence",
            "bad",
            words.NOTHING_HANDED.format(endpoint=at, error=said),
            gettext_noop("Run the broker in its TEE, or declare ProviderType standard."),
        )
    return _judged(at, run.report)


def _judged(at: str, report: Report) -> Result:
    wrong = [row.title for row in report.checks if row.verdict == "fail" and row.required]
    word = report.overall
    test = gettext_noop("See each row in the evidence self-test.")
    if word == "fail":
        named = "; ".join(wrong[:3])
        found = words.FAIL.format(endpoint=at, count=len(wrong), names=named)
        return Result("evidence", "bad", found, test)
    if word.removeprefix("dev-") != "pass":
        return Result("evidence", "warn", words.VERDICT.format(endpoint=at, verdict=word), test)
    good = words.VERIFIED if word == "pass" else words.VERIFIED_IN_DEVELOPMENT
    return Result("evidence", "ok", good.format(endpoint=at))


def _signer(run: Draft, published: bool) -> Result:
    row = run.report.find("bind.onchain")
    if row is None:
        return Result(
            "signer", "not_checked", gettext_noop("There was no evidence to compare with.")
        )
    if row.verdict == "pass":
        return Result("signer", "ok", f"{row.got}.")
    both = {"found": _short(row.got), "expected": _short(row.expected)}
    if row.verdict == "fail":
        return Result(
            "signer",
            "bad",
            (words.DIFFER_ON_CHAIN if published else words.DIFFER_IN_DRAFT).format(**both),
            gettext_noop(
                "Publish the signer of the evidence, or start the broker with the published key."
            ),
        )
    unsure = words.UNCOMPARED_ON_CHAIN if published else words.UNCOMPARED_IN_DRAFT
    return Result("signer", "warn", unsure.format(**both), gettext_noop("See the self-test."))


def _short(value: Any) -> str:
    return str(value)[:60] if value else "none"
