"""What needs its owner: keys that changed since they were acknowledged, evidence that became worse,
refunds that can be collected, balances too small to call with, money that lies idle (ux.md 9).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max
from django.utils.translation import gettext as _

from accounts import links, money, signers, trust
from accounts.addresses import short
from accounts.models import User
from accounts.preview_money import PROVIDER_RESERVE
from attestation import selectors as attestation
from attestation.models import Fact
from attestation.selectors import ServiceKey
from ledger.models import Kind, Movement
from ledger.records import Position

IDLE_FOR = timedelta(days=30)


@dataclass(frozen=True)
class Card:
    """One thing to look at, with the one act that settles it."""

    kind: str
    text: str
    action: str
    path: str
    provider: str = ""
    grave: bool = False


def cards(
    user: User, positions: Iterable[Position], now_unix: int, now: datetime
) -> tuple[Card, ...]:
    """The gravest first. `now_unix` is the chain's clock, `now` ours (6 queries at most)."""
    held = [p for p in positions if p.balance]
    return (
        *_signers(user, held),
        *_evidence(held, now),
        *_unlocked(held, now_unix),
        *_low(held),
        *_idle(user.address, held, now),
    )


def _unlocked(held: list[Position], now_unix: int) -> list[Card]:
    amount = sum(position.unlocked(now_unix) for position in held)
    if not amount:
        return []
    text = _("%(amount)s 0G of refunds is unlocked. Until you collect it, it can be charged.") % {
        "amount": money.short(amount)
    }
    return [Card("refund_unlocked", text, _("Collect all"), "/account/refunds/collect")]


def _low(held: list[Position]) -> list[Card]:
    """Something is free, and not enough of it: the reserve rule of provider-protocol.md 5.2."""
    return [
        Card(
            "low_balance",
            _(
                "%(amount)s 0G is free, and providers keep 1 0G in reserve: "
                "this one answers only above that."
            )
            % {"amount": money.short(p.spendable)},
            _("Top up"),
            links.form("transfer", p),
            p.provider,
        )
        for p in held
        if p.kind == Kind.INFERENCE and 0 < p.spendable <= PROVIDER_RESERVE
    ]


# --- idle ----------------------------------------------------------------------------------------


def _idle(address: str, held: list[Position], now: datetime) -> list[Card]:
    if not held:
        return []
    moves = Movement.objects.filter(user=address, balance="sub_account")
    last = {
        (row["serving"], row["provider"]): row["last"]
        for row in moves.values("serving", "provider").annotate(last=Max("at")).order_by()
    }
    found = []
    for p in held:
        since = last.get((p.serving, p.provider))
        if p.spendable > 0 and since is not None and now - since > IDLE_FOR:
            text = _("%(amount)s 0G has not moved for %(days)s days.") % {
                "amount": money.short(p.spendable),
                "days": (now - since).days,
            }
            found.append(Card("idle", text, _("Retrieve"), links.form("retrieve", p), p.provider))
    return found


# --- signers -------------------------------------------------------------------------------------


def _signers(user: User, held: list[Position]) -> list[Card]:
    known = signers.acknowledged(user.address, held)
    return [
        Card(
            "signer_changed",
            _(
                "Its signing key was %(before)s when you acknowledged it and is "
                "%(now)s now. The contract lets the new key charge you all the same."
            )
            % {"before": short(key.then), "now": short(key.now)},
            _("Retrieve what is free"),
            links.form("retrieve", p),
            p.provider,
            grave=True,
        )
        for p in held
        if (key := known.get((p.serving, p.provider))) is not None and key.changed
    ]


# --- evidence ------------------------------------------------------------------------------------


def _evidence(held: list[Position], now: datetime) -> list[Card]:
    """Verdicts that became worse at providers where money lies."""
    at = {ServiceKey(p.kind, p.provider, p.service_name): p for p in held}
    found = attestation.findings_for({p.provider for p in held})
    cards = []
    for finding in (f for views in found.values() for f in views):
        position = at.get(finding.service)
        if finding.kind != Fact.REGRESSION or position is None:
            continue
        before, after = (trust.label(str(finding.detail.get(n, ""))) for n in ("from", "to"))
        text = _(
            "Its evidence became worse %(age)s ago: it was “%(before)s” and is “%(after)s” now."
        ) % {"age": trust.ago(now - finding.opened_at), "before": before, "after": after}
        cards.append(
            Card(
                "evidence_worse",
                text,
                _("Retrieve what is free"),
                links.form("retrieve", position),
                position.provider,
                grave=True,
            )
        )
    return cards
