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
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, npgettext, pgettext

from accounts import signers
from accounts.facts import FINE_TUNING, Facts
from accounts.preview_types import Effect
from accounts.services import Preview
from attestation.models import Verification
from attestation.selectors import DEVELOPMENT, EXPIRED, NEVER, ServiceKey, StandingView, standing_of
from ledger import listed
from ledger import selectors as ledger
from ledger.models import Kind

_LABELS = {
    "pass": gettext_noop("verified"),
    "warn": gettext_noop("verified, with warnings"),
    "partial": gettext_noop("partly verified"),
    "fail": gettext_noop("failed"),
    "not_provided": gettext_noop("cannot be checked"),
    "not_checked": gettext_noop("not checked"),
}
#: The five questions (attestation.md 10) as ends of "not proven: …".
_QUESTIONS = {
    "hardware": gettext_noop("genuine hardware"),
    "key": gettext_noop("that this key lives inside it"),
    "software": gettext_noop("the software"),
    "gpu": gettext_noop("the GPU"),
    "fresh": gettext_noop("that the evidence is fresh"),
}
_NO_EVIDENCE = {
    "standard": gettext_noop(
        "This provider declares no trusted hardware, so there is no evidence to check."
    ),
    "opml": gettext_noop("This provider declares OpML, which nobody here can check yet."),
    "zkml": gettext_noop("This provider declares ZKML, which nobody here can check yet."),
}


DEVELOPED = gettext_noop("%(verdict)s (development evidence)")


def label(overall: str) -> str:
    """A stored overall verdict in words."""
    word = overall.removeprefix(DEVELOPMENT)
    shown = _(_LABELS.get(word, word or "not checked"))
    return _(DEVELOPED) % {"verdict": shown} if overall != word else shown


def ago(age: timedelta) -> str:
    """`12 minutes`, `3 hours`, `2 days`: cut, never rounded up."""
    seconds = max(0, int(age.total_seconds()))
    days, hours, minutes = seconds // 86_400, seconds // 3600, seconds // 60
    # Said after "for" and before "ago", which some languages inflect.
    if days:
        text = npgettext("ago", "%(count)s day", "%(count)s days", days)
    elif hours:
        text = npgettext("ago", "%(count)s hour", "%(count)s hours", hours)
    elif minutes:
        text = npgettext("ago", "%(count)s minute", "%(count)s minutes", minutes)
    else:
        return pgettext("ago", "less than a minute")
    return text % {"count": days or hours or minutes}


def with_words(preview: Preview, *, own: bool = True) -> Preview:
    """The preview with what is known about the keys that it acknowledges (6 queries at most). Not
    `own`: for whoever asks about an address, who hears nothing that its owner alone may know."""
    acknowledges = preview.action == "transfer" or (
        preview.action == "acknowledge_signer" and preview.params["acknowledged"]
    )
    if not acknowledges:
        return preview
    given = preview.params, preview.facts
    words = (*_left_out(*given), *_change(*given, own=own), *_evidence(*given))
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


def _left_out(params: dict[str, Any], facts: Facts) -> Iterable[Word]:
    """Lists leave the service out (`ledger.listed`): whoever comes by a link has to be told."""
    if facts.serving is None:
        return
    there = {"provider": params["provider"], "serving": facts.serving.address}
    here = listed.rows(everything=True).filter(**there)
    if here.exclude(pk__in=listed.rows().filter(**there)).exists():
        yield Word(
            _("Moderators hid this provider from lists: read why on its page before you do this."),
            grave=True,
        )


def _change(params: dict[str, Any], facts: Facts, *, own: bool) -> Iterable[Word]:
    """The key is another one than the person acknowledged before, or we cannot tell."""
    account, serving = facts.accounts.get(params["provider"]), facts.serving
    listing = facts.listings.get(params["provider"])
    if account is None or serving is None or listing is None or not account.acknowledged:
        return
    position = ledger.position(facts.sender, params["provider"], serving.address)
    known = signers.of_position(facts.sender, position, own=own) if position else None
    if known is None or not known.then:
        yield Word(
            _(
                "You acknowledged a signing key of this provider before; which one it was then is "
                "not known here."
            )
        )
    elif known.then != listing.signer:
        yield Word(
            _(
                "You acknowledged the signing key %(before)s (block %(block)s). It is "
                "%(now)s now, and this acknowledges the new one."
            )
            % {"before": known.then, "block": f"{known.block:,}", "now": listing.signer},
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
    yield Word(words, grave=standing.failed)


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
        if standing.failed:
            return _("Its evidence FAILED our last check, more than three days ago.")
        if standing.judged and not standing.changed:
            words = gettext_noop("Our last check is more than three days old and counts no more.")
        else:
            words = gettext_noop(
                "We have not checked the evidence behind its signing key as it is listed now."
            )
        return _(_NO_EVIDENCE.get(standing.declared, words))
    age = ago(now - standing.checked_at)
    if standing.overall == EXPIRED:
        words = _("Our last check is %(age)s old and counts no more; it said: %(verdict)s.") % {
            "age": age,
            "verdict": label(standing.judged),
        }
    elif judged and judged != signer:
        words = _(
            "Our last check, %(age)s ago, was of another signing key (%(judged)s). This one is not "
            "checked yet."
        ) % {"age": age, "judged": judged}
    else:
        words = _verdict(standing, age)
    if standing.unreachable_since:
        silent = ago(now - standing.unreachable_since)
        silence = _("The provider has not answered our checks for %(silent)s.")
        words += " " + silence % {"silent": silent}
    return words


def _verdict(standing: StandingView, age: str) -> str:
    word = standing.overall.removeprefix(DEVELOPMENT)
    if word == "fail":
        return _(
            "We checked its evidence %(age)s ago and it FAILED. Send it nothing private, and "
            "expect that its answers prove nothing."
        ) % {"age": age}
    if not standing.holds_key:
        unproven = [
            _(_QUESTIONS.get(q, q))
            for q, said in standing.questions.items()
            if said not in ("pass", "warn")
        ]
        verdict = _(_LABELS.get(word, word))
        words = _("We checked its evidence %(age)s ago: %(verdict)s.") % {
            "age": age,
            "verdict": verdict,
        }
        if unproven:
            words += " " + _("Not proven: %(list)s.") % {"list": ", ".join(unproven)}
    else:
        proven = (
            _("We verified %(age)s ago that attested hardware names this signing key as its own.")
            if word == "pass"
            else _(
                "We verified %(age)s ago, with warnings, that attested hardware names this signing "
                "key as its own."
            )
        )
        words = proven % {"age": age}
    if standing.declared == "centralized":
        words += " " + _("That is its broker's key: the model answers elsewhere, outside of it.")
    if standing.development:
        words += " " + _(
            "It is development evidence: made for tests, it proves nothing about hardware."
        )
    return words
