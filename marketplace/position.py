"""What the visitor holds at one service, what it was spent on, and the one act that is next."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Count, Max, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import attention, clock, funds, signers
from accounts import links as account_links
from accounts.models import User
from accounts.pages_refunds import RefundRow
from accounts.signers import Acknowledged
from chain.selectors import Freshness
from ledger import selectors
from ledger.models import ACCEPTED, Settlement
from ledger.records import Listing, Position

SPENT_DAYS = 30


@dataclass(frozen=True)
class Act:
    """`text` says why; `label` is the button."""

    text: str
    label: str
    path: str


@dataclass(frozen=True)
class Mine:
    """A sub-account as its owner sees it at the service; amounts in neuron.

    `keys`: of the site's and the owner's own that have not expired; `last_paid`: the newest
    settlement. `known`: which signer was acknowledged, None where none was. `top_up` is empty where
    more money would be of no use: the service is gone, or its evidence failed.
    """

    position: Position
    refunds: tuple[RefundRow, ...]
    spent: int
    settlements: int
    last_paid: dt.datetime | None
    keys: int
    next: Act
    top_up: str
    retrieve: str
    settlements_path: str
    known: Acknowledged | None


def mine(
    user: User,
    listing: Listing,
    head: Freshness,
    settlements_path: str,
    ask: tuple[str, str],
    *,
    leave: bool,
) -> Mine | None:
    """The visitor's position; None where there is none (13 queries at most). `ask`: what the
    playground calls asking this service, and its path there, empty where it cannot; `leave`:
    nobody should bring money here."""
    position = selectors.position(user.address, listing.provider, listing.serving)
    if position is None:
        return None
    now = timezone.now()
    paid = Settlement.objects.filter(
        user=user.address,
        provider=listing.provider,
        serving=listing.serving,
        status__in=ACCEPTED,
    )
    recent = Q(at__gte=now - dt.timedelta(days=SPENT_DAYS))
    spent = paid.aggregate(
        sum=Sum("settled", filter=recent), n=Count("pk", filter=recent), last=Max("at")
    )
    living = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
    own = Q(provider=listing.provider, serving=listing.serving, generation=position.generation)
    unix = clock.now_unix(head)
    top_up = "" if leave else account_links.form("transfer", position)
    return Mine(
        position=position,
        refunds=funds.refund_rows([position], unix, clock.lead_seconds(head)),
        spent=int(spent["sum"] or 0),
        settlements=spent["n"],
        last_paid=spent["last"],
        keys=user.provider_keys.filter(living & own).count(),
        next=_next(user, listing, position, unix, now, ask, top_up),
        top_up=top_up,
        retrieve=account_links.form("retrieve", position),
        settlements_path=settlements_path,
        known=signers.of_position(user.address, position),
    )


def _next(
    user: User,
    listing: Listing,
    position: Position,
    unix: int,
    now: dt.datetime,
    ask: tuple[str, str],
    top_up: str,
) -> Act:
    """What needs its owner (the gravest first), else what the money is there for."""
    cards = attention.cards(user, [position], unix, now)
    if cards:
        card = cards[0]
        return Act(card.text, card.action, card.path)
    if not top_up:
        waits = position.pending_refund
        text = _("All that lies here is on its way back.") if waits else _("Nothing lies here.")
        return Act(text, _("Refunds"), "/account/refunds")
    if not position.spendable:
        return Act(_("Nothing here is free for requests."), _("Top up"), top_up)
    label, path = ask
    if path and not listing.is_fine_tuning:  # a task costs more than a request, and says how much
        return Act(_("Ready to use: more than the 1 0G in reserve lies here."), label, path)
    return Act(_("Nothing needs you here."), _("Top up"), top_up)
