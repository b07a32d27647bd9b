"""What needs its owner: refunds that can be collected, balances too small to call with, keys that
changed since they were acknowledged, money that lies idle (ux.md 9).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from accounts import money
from accounts.models import Intent, State, User
from accounts.preview_money import PROVIDER_RESERVE
from ledger.models import Kind, Movement, Service, ServiceChange
from ledger.records import Position

IDLE_FOR = timedelta(days=30)
#: (serving, provider)
Pair = tuple[str, str]
#: Place on the chain: block and log index.
Place = tuple[int, int]


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
    """The gravest first. `now_unix` is the chain's clock, `now` ours (5 queries at most)."""
    held = [p for p in positions if p.balance]
    return (
        *_signers(user, held),
        *_unlocked(held, now_unix),
        *_low(held),
        *_idle(user.address, held, now),
    )


def _unlocked(held: list[Position], now_unix: int) -> list[Card]:
    amount = sum(position.unlocked(now_unix) for position in held)
    if not amount:
        return []
    text = (
        f"{money.short(amount)} 0G of refunds is unlocked. Until you collect it, it can be charged."
    )
    return [Card("refund_unlocked", text, "Collect all", "/account/refunds/collect")]


def _low(held: list[Position]) -> list[Card]:
    """Something is free, and not enough of it: the reserve rule of provider-protocol.md 5.2."""
    return [
        Card(
            "low_balance",
            f"{money.short(p.spendable)} 0G is free, and providers keep 1 0G in reserve: "
            "this one answers only above that.",
            "Top up",
            _form("transfer", p),
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
            text = f"{money.short(p.spendable)} 0G has not moved for {(now - since).days} days."
            found.append(Card("idle", text, "Retrieve", _form("retrieve", p), p.provider))
    return found


# --- signers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signer:
    """The key that was registered when its user last acknowledged it, and the one that is now."""

    then: str
    now: str


def _signers(user: User, held: list[Position]) -> list[Card]:
    named = [p for p in held if p.acknowledged]
    changed = changed_signers(user, named) if named else {}
    return [
        Card(
            "signer_changed",
            f"Its signing key was {_short(key.then)} when you acknowledged it and is "
            f"{_short(key.now)} now. The contract lets the new key charge you all the same.",
            "Retrieve what is free",
            _form("retrieve", p),
            p.provider,
            grave=True,
        )
        for p in named
        if (key := changed.get((p.serving, p.provider))) is not None
    ]


def changed_signers(user: User, positions: Iterable[Position]) -> dict[Pair, Signer]:
    """Pairs whose provider's key is another one than at the user's last acknowledgement.

    The contract keeps a flag and no key (contracts.md 6.6), so the key of then is what the timeline
    says it was: the `before` of the first change after the last transfer or acknowledgement. An
    acknowledgement sent from elsewhere leaves no trace in our rows and is not counted.
    """
    pairs = {(p.serving, p.provider) for p in positions}
    providers = {provider for _, provider in pairs}
    services = Service.current.filter(provider__in=providers, removed=False)
    current = {(s.serving, s.provider): s.tee_signer for s in services if s.tee_signer}
    places = _acknowledged_at(user, providers)
    then: dict[Pair, str] = {}
    changes = ServiceChange.objects.filter(
        provider__in=providers, change__in=("signer", "removed")
    ).order_by("block", "sequence", "pk")
    for change in changes:
        pair = (change.serving, change.provider)
        place = (change.block, change.log_index or 0)
        if pair in places and place > places[pair] and isinstance(change.before, dict):
            then.setdefault(pair, str(change.before.get("tee_signer", "")))
    return {
        pair: Signer(before, current[pair])
        for pair, before in then.items()
        if pair in pairs and before and pair in current and before != current[pair]
    }


def _acknowledged_at(user: User, providers: set[str]) -> dict[Pair, Place]:
    """Where each pair was last acknowledged: by money that went there (a transfer acknowledges),
    or by an acknowledgement sent from here.
    """
    newest = _acknowledging(user.address).filter(provider__in=providers)
    rows = newest.order_by("serving", "provider", "-block", "-sequence", "-pk")
    places = {
        (row.serving or "", row.provider or ""): (row.block, row.log_index or 0)
        for row in rows.distinct("serving", "provider")
    }
    sent = Intent.objects.filter(
        user=user,
        action="acknowledge_signer",
        state__in=[State.INCLUDED, State.INDEXED, State.FINAL],
        params__acknowledged=True,
        block__isnull=False,
    )
    for intent in sent:
        pair = (intent.to, str(intent.params.get("provider", "")))
        # It leaves no log, so a change in the same block counts as one after it: rather one
        # question too many.
        places[pair] = max(places.get(pair, (-1, -1)), (intent.block or 0, -1))
    return places


def _acknowledging(address: str) -> QuerySet[Movement]:
    """Movements that a transfer makes; one that only takes back a refund is told from a settlement
    that eats it by the settlement's own row.
    """
    own = Movement.objects.filter(user=address, balance="sub_account")
    settled = own.filter(
        kind="settlement",
        tx_hash=OuterRef("tx_hash"),
        serving=OuterRef("serving"),
        provider=OuterRef("provider"),
    )
    return own.filter(
        Q(kind__in=("transfer", "opening")) | Q(kind="refund_cancelled") & ~Exists(settled)
    )


def _form(action: str, position: Position) -> str:
    account = f"{position.service_name}:{position.provider}"
    return "/account?" + urlencode({"action": action, "account": account})


def _short(address: str) -> str:
    return f"{address[:6]}…{address[-4:]}"
