"""What a person should know about a signing key before acknowledging it: whether we looked at the
evidence behind it, when, and what came out, in words.

Words about evidence come from stored verdicts (`attestation.selectors`); nothing is asked of a
provider here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from accounts import signers
from accounts.facts import FINE_TUNING, Facts
from accounts.preview_types import Effect
from accounts.services import Preview
from attestation.models import Verification
from attestation.selectors import DEVELOPMENT, EXPIRED, NEVER, ServiceKey, StandingView, standing_of
from ledger import selectors as ledger
from ledger.models import Kind

_LABELS = {
    "pass": "verified",
    "warn": "verified, with warnings",
    "partial": "partly verified",
    "fail": "failed",
    "not_provided": "cannot be checked",
    "not_checked": "not checked",
}
#: The five questions (attestation.md 10) as ends of "not proven: …".
_QUESTIONS = {
    "hardware": "genuine hardware",
    "key": "that this key lives inside it",
    "software": "the software",
    "gpu": "the GPU",
    "fresh": "that the evidence is fresh",
}
_NO_EVIDENCE = {
    "standard": "This provider declares no trusted hardware, so there is no evidence to check.",
    "opml": "This provider declares OpML, which nobody here can check yet.",
    "zkml": "This provider declares ZKML, which nobody here can check yet.",
}


def label(overall: str) -> str:
    """A stored overall verdict in words."""
    word = overall.removeprefix(DEVELOPMENT)
    shown = _LABELS.get(word, word or "not checked")
    return f"{shown} (development evidence)" if overall != word else shown


def ago(age: timedelta) -> str:
    """`12 minutes`, `3 hours`, `2 days`: cut, never rounded up."""
    seconds = max(0, int(age.total_seconds()))
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "less than a minute"


def with_words(preview: Preview) -> Preview:
    """The preview with what is known about the keys that it acknowledges (5 queries at most)."""
    acknowledges = preview.action == "transfer" or (
        preview.action == "acknowledge_signer" and preview.params["acknowledged"]
    )
    if not acknowledges:
        return preview
    words = (*_change(preview.params, preview.facts), *_evidence(preview.params, preview.facts))
    return replace(
        preview,
        warnings=(*preview.warnings, *(word.text for word in words)),
        grave=preview.grave | {word.text for word in words if word.grave},
        effects=(*(word.effect for word in words if word.effect), *preview.effects),
    )


@dataclass(frozen=True)
class Word:
    """A sentence of the review; `grave`: not to be overlooked. `effect`: its row in the table."""

    text: str
    grave: bool = False
    effect: Effect | None = None


def _change(params: dict[str, Any], facts: Facts) -> Iterable[Word]:
    """The key is another one than the person acknowledged before, or we cannot tell."""
    account, serving = facts.accounts.get(params["provider"]), facts.serving
    listing = facts.listings.get(params["provider"])
    if account is None or serving is None or listing is None or not account.acknowledged:
        return
    position = ledger.position(facts.sender, params["provider"], serving.address)
    known = signers.of_position(facts.sender, position) if position else None
    if known is None or not known.then:
        yield Word(
            "You acknowledged a signing key of this provider before; which one it was then is not "
            "known here."
        )
    elif known.then != listing.signer:
        yield Word(
            f"You acknowledged the signing key {known.then} (block {known.block:,}). It is "
            f"{listing.signer} now, and this acknowledges the new one.",
            grave=True,
            effect=Effect(
                "signer_acknowledged",
                known.then,
                listing.signer,
                who=params["provider"],
            ),
        )


def _evidence(params: dict[str, Any], facts: Facts) -> Iterable[Word]:
    listing, serving = facts.listings.get(params["provider"]), facts.serving
    if listing is None or serving is None:
        return
    kind = Kind.FINE_TUNING if serving.contract == FINE_TUNING else Kind.INFERENCE
    standing = standing_of(ServiceKey(kind, params["provider"], serving.name))
    words = evidence(standing, timezone.now(), _judged_signer(standing), listing.signer)
    yield Word(words, grave=standing.overall == "fail")


def _judged_signer(standing: StandingView) -> str:
    """The signer on chain when the verdict was made; "" without one."""
    if standing.verification_id is None:
        return ""
    found = Verification.objects.filter(pk=standing.verification_id)
    return found.values_list("onchain_signer", flat=True).first() or ""


def evidence(standing: StandingView, now: datetime, judged: str, signer: str) -> str:
    """One sentence or two: did we verify the evidence behind `signer`? `judged` is the key that
    the verdict was about.
    """
    if standing.overall == NEVER or standing.checked_at is None:
        return _NO_EVIDENCE.get(
            standing.declared, "We have not checked the evidence behind its signing key."
        )
    age = ago(now - standing.checked_at)
    if standing.overall == EXPIRED:
        words = (
            f"Our last check is {age} old and counts no more; it said: {label(standing.judged)}."
        )
    elif judged and judged != signer:
        words = (
            f"Our last check, {age} ago, was of another signing key ({judged}). This one is not "
            "checked yet."
        )
    else:
        words = _verdict(standing, age)
    if standing.unreachable_since:
        silent = ago(now - standing.unreachable_since)
        words += f" The provider has not answered our checks for {silent}."
    return words


def _verdict(standing: StandingView, age: str) -> str:
    word = standing.overall.removeprefix(DEVELOPMENT)
    if word == "fail":
        return (
            f"We checked its evidence {age} ago and it FAILED. Send it nothing private, and expect "
            "that its answers prove nothing."
        )
    if word not in ("pass", "warn"):
        unproven = [
            _QUESTIONS.get(q, q)
            for q, said in standing.questions.items()
            if said not in ("pass", "warn")
        ]
        missing = f" Not proven: {', '.join(unproven)}." if unproven else ""
        words = f"We checked its evidence {age} ago: {_LABELS.get(word, word)}.{missing}"
    else:
        words = (
            f"We verified {age} ago that this signing key lives inside attested hardware"
            f"{', with warnings' if word == 'warn' else ''}."
        )
    if standing.declared == "centralized":
        words += " That is its broker's key: the model answers elsewhere, outside of it."
    if standing.development:
        words += " It is development evidence: made for tests, it proves nothing about hardware."
    return words
