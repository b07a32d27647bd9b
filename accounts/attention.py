"""What needs its owner: fine-tuning results to acknowledge in time, keys that changed since they
were acknowledged, services that are gone, endpoints that moved, evidence that failed or became
worse, refunds that can be collected, balances too small to call with, money that lies idle (ux.md
9).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import links, money, signers, trust
from accounts.addresses import short
from accounts.models import User
from accounts.preview_money import PROVIDER_RESERVE
from attestation import selectors as attestation
from attestation.models import Fact
from attestation.selectors import FindingView, ServiceKey, StandingView
from ledger.models import Kind, Movement, ServiceChange
from ledger.records import Position
from protocol import tuning

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
    user: User,
    positions: Iterable[Position],
    now_unix: int,
    now: datetime,
    standings: Mapping[ServiceKey, StandingView] | None = None,
    offers: signers.Offers | None = None,
) -> tuple[Card, ...]:
    """The gravest first. `now_unix` is the chain's clock, `now` ours; `standings` of the positions
    and `offers` of their providers, where the caller has read them (9 queries at most, one less
    with each)."""
    known = list(positions)
    held = [p for p in known if p.balance]
    if standings is None:
        standings = attestation.standings(ServiceKey.of(p) for p in held)
    if offers is None:
        offers = signers.listed({p.provider for p in held}) if held else {}
    gone = [p for p in held if signers.gone(offers, p)]
    there = [p for p in held if p not in gone]
    well = [p for p in there if not standings[ServiceKey.of(p)].failed]
    return (
        *_results(user, known, now_unix),
        *_signers(user, held, offers),
        *_removed(gone),
        *_evidence(there, standings, now),
        *_unlocked(held, now_unix),
        *_low(well),
        *_idle(user.address, well, now),
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


# --- gone ----------------------------------------------------------------------------------------


def _removed(gone: list[Position]) -> list[Card]:
    text = _(
        "The provider removed this service: nothing is answered or charged here until it is listed "
        "again."
    )
    return [_retrieve("service_removed", text, p) for p in gone if p.spendable]


def _retrieve(kind: str, text: str, p: Position) -> Card:
    """Something grave, whose one act takes the money out, or follows what is on its way."""
    action, path = _("Retrieve what is free"), links.form("retrieve", p)
    if p.spendable <= 0:
        action, path = _("See refunds"), "/account/refunds"
    return Card(kind, text, action, path, p.provider, grave=True)


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


# --- results -------------------------------------------------------------------------------------


def _results(user: User, positions: list[Position], now_unix: int) -> list[Card]:
    """For each provider the fine-tuning result that must be acknowledged soonest."""
    waiting: dict[Position, list[tuple[int, bool, str]]] = {}
    for p in positions:
        for result in p.deliverables:
            due = tuning.acknowledge_by(result.timestamp_unix, p.lock_time_seconds, now_unix)
            if due.at > now_unix and result.waits:
                waiting.setdefault(p, []).append((due.at - now_unix, due.late, result.id))
    pages = {key: at for told in links.TASK_PAGES if waiting for key, at in told(user).items()}
    return [
        Card(
            "result",
            _result(left // 3600, late=late),
            _("See the result"),
            pages.get((p.provider, id_), "/fine-tuning"),
            p.provider,
            grave=True,
        )
        for p, (left, late, id_) in ((p, min(found)) for p, found in waiting.items())
    ]


def _result(hours: int, *, late: bool) -> str:
    if hours < 1:
        left = _("Less than 1 hour is left to acknowledge a fine-tuning result.")
    else:
        left = ngettext(
            "%(hours)s hour is left to acknowledge a fine-tuning result.",
            "%(hours)s hours are left to acknowledge a fine-tuning result.",
            hours,
        ) % {"hours": hours}
    if late:
        left += " " + _("At most: the 6 hours that brokers come with are over, so do it at once.")
    return f"{left} {_('If you do not, you lose the model and still pay a part.')}"


# --- signers -------------------------------------------------------------------------------------


def _signers(user: User, held: list[Position], offers: signers.Offers) -> list[Card]:
    known = signers.acknowledged(user.address, held, offers)
    return [
        _retrieve(
            "signer_changed",
            _(
                "Its signing key was %(before)s when you acknowledged it and is "
                "%(now)s now. The contract lets the new key charge you all the same."
            )
            % {"before": short(key.then), "now": short(key.now)},
            p,
        )
        for p in held
        if (key := known.get((p.serving, p.provider))) is not None and key.changed
    ]


# --- evidence ------------------------------------------------------------------------------------


def _evidence(
    held: list[Position], standings: Mapping[ServiceKey, StandingView], now: datetime
) -> list[Card]:
    """Verdicts that became worse or never were good, and endpoints that moved, at providers where
    money lies."""
    at = {ServiceKey.of(p): p for p in held}
    found = attestation.findings_for({p.provider for p in held})
    about = [f for views in found.values() for f in views if f.service in at]
    moved = _moved([f for f in about if f.kind == Fact.URL_CHANGED], at, standings)
    cards, told = [], set()
    for finding in about:
        if finding.kind == Fact.REGRESSION:
            kind, text = "evidence_worse", _worse(finding, now)
        elif finding.kind == Fact.URL_CHANGED and finding.service in moved:
            kind = "endpoint_moved"
            text = _(
                "Its endpoint changed %(age)s ago without a new acknowledgement: nobody has "
                "vouched for what answers there now."
            ) % {"age": trust.ago(now - moved[finding.service])}
        else:
            continue
        cards.append(_retrieve(kind, text, at[finding.service]))
        told.add(finding.service)
    failed = _("Its evidence failed our check: send nothing private.")
    cards += [
        _retrieve("evidence_failed", failed, p)
        for key, p in at.items()
        if standings[key].failed and p.spendable and key not in told
    ]
    return cards


def _worse(finding: FindingView, now: datetime) -> str:
    before, after = (trust.label(str(finding.detail.get(n, ""))) for n in ("from", "to"))
    return _(
        "Its evidence became worse %(age)s ago: it was “%(before)s” and is “%(after)s” now."
    ) % {"age": trust.ago(now - finding.opened_at), "before": before, "after": after}


def _moved(
    findings: list[FindingView],
    at: Mapping[ServiceKey, Position],
    standings: Mapping[ServiceKey, StandingView],
) -> dict[ServiceKey, datetime]:
    """When each endpoint moved, but for those whose evidence we found good since (1 query)."""
    if not findings:
        return {}
    keys = {(at[f.service].serving, f.provider): f.service for f in findings}
    rows = ServiceChange.objects.filter(
        change="url", provider__in={provider for _serving, provider in keys}
    )
    last = rows.values("serving", "provider").annotate(last=Max("at")).order_by()
    moved = {}
    for row in last:
        service = keys.get((row["serving"], row["provider"]))
        if service is None:
            continue
        known = standings[service]
        if not (
            known.holds_key and known.checked_at is not None and known.checked_at > row["last"]
        ):
            moved[service] = row["last"]
    return moved
