"""Who holds money at a provider's services, what of it can be charged, and whose will not last.

Chain facts only, the same that everybody can read: no prompt, name or key of a user is known here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from accounts import money
from accounts.preview_money import PROVIDER_RESERVE
from ledger.models import ACCEPTED, Kind, SubAccount
from ledger.records import Contract, Listing, Page, Position

PAGE_SIZE = 25
#: Sub-accounts that are looked at, the largest first.
MOST = 5_000
#: The pace is that of the last week; less than so many days of it is soon.
PACE_DAYS, SOON_DAYS = 7, 3


@dataclass(frozen=True)
class Spend:
    """Neuron that one customer paid in the last week and in the week before, and when last.
    `ran_out`: the last item took less than was asked."""

    week: int = 0
    before: int = 0
    last: dt.datetime | None = None
    ran_out: bool = False

    @property
    def change(self) -> int:
        return self.week - self.before


@dataclass(frozen=True)
class Risk:
    """`grade`: 2 something is lost or cannot be charged, 1 soon, 0 none; `text` says which."""

    grade: int = 0
    text: str = ""

    @property
    def tone(self) -> str:
        return ("", "warn", "bad")[self.grade]


@dataclass(frozen=True)
class Customer:
    """A sub-account with what its owner spends. `unlocks_at_unix`: when the first refund can leave,
    None where none is asked for."""

    position: Position
    spend: Spend
    risk: Risk
    unlocks_at_unix: int | None


@dataclass(frozen=True)
class Collectable:
    """Over all sub-accounts, neuron: `locked` is held, of it `refunding` may leave and `free`
    stays. `chargeable` is what settlements can take now (refunds included, contracts.md 6.4):
    nothing at a removed or unacknowledged service, nothing of users who did not acknowledge its
    signer. `customers` are users, who may hold some at several services of yours; `at_risk` are
    sub-accounts, which hold `at_risk_locked`.
    """

    customers: int
    locked: int
    chargeable: int
    refunding: int
    at_risk: int
    at_risk_locked: int

    @property
    def free(self) -> int:
        return self.locked - self.refunding


@dataclass(frozen=True)
class Customers:
    sums: Collectable
    page: Page[Customer]
    more: bool


def customers(
    listings: Iterable[Listing],
    provider: str,
    known: Mapping[str, Contract],
    now: dt.datetime,
    number: int = 1,
    only: str = "",
) -> Customers:
    """One page of customers, those at risk first, then by what they hold (2 queries). `only`:
    `risk` leaves out the others. Sums are over all of them."""
    acknowledged = {one.serving for one in listings if one.tee_signer_acknowledged}
    rows = SubAccount.current.filter(provider=provider, live=True).order_by("-balance", "pk")
    held = [Position.of(row, known) for row in rows[: MOST + 1]]
    more, held = len(held) > MOST, held[:MOST]
    spends = _spends(provider, now)
    found = [
        _customer(position, spends.get((position.serving, position.user), Spend()), acknowledged)
        for position in held
        if position.balance or (position.serving, position.user) in spends
    ]
    found.sort(key=lambda one: (-one.risk.grade, -one.position.balance, one.position.user))
    risky = [one for one in found if one.risk.grade]
    sums = Collectable(
        customers=len({one.position.user for one in found if one.position.balance}),
        locked=sum(one.position.balance for one in found),
        chargeable=sum(
            one.position.balance
            for one in found
            if one.position.acknowledged and one.position.serving in acknowledged
        ),
        refunding=sum(one.position.pending_refund for one in found),
        at_risk=len(risky),
        at_risk_locked=sum(one.position.balance for one in risky),
    )
    shown = risky if only == "risk" else found
    start = (number - 1) * PAGE_SIZE
    page = Page(tuple(shown[start : start + PAGE_SIZE]), len(shown), number, PAGE_SIZE)
    return Customers(sums, page, more)


def _customer(position: Position, spend: Spend, acknowledged: set[str]) -> Customer:
    unlocks = min((refund.unlocks_at_unix for refund in position.refunds), default=None)
    return Customer(position, spend, risk(position, spend, acknowledged), unlocks)


def risk(position: Position, spend: Spend, acknowledged: set[str]) -> Risk:
    """What threatens the next fees of this customer, the gravest first. `acknowledged`: serving
    contracts where the owner has acknowledged the provider's signer."""
    if position.balance and not position.acknowledged:
        return Risk(2, _("Has not acknowledged your signer: nothing can be charged."))
    if not position.balance:
        text = _("Ran out: the last settlement took the rest.")
        return Risk(2, text) if spend.ran_out else Risk()
    if position.serving not in acknowledged:
        text = _(
            "The service is removed, or the owner has not acknowledged your signer: nothing can "
            "be charged."
        )
        return Risk(2, text)
    if position.kind == Kind.INFERENCE:
        if position.spendable <= 0:
            return Risk(1, _("Everything is being refunded: settle before it unlocks."))
        if position.spendable <= PROVIDER_RESERVE:
            return Risk(1, _("At or below the reserve of 1 0G: brokers refuse new requests."))
        if position.spendable < 2 * PROVIDER_RESERVE:
            return Risk(1, _("Below two reserves (2 0G)."))
    week = spend.week
    if week and position.spendable * PACE_DAYS < week * SOON_DAYS:
        return Risk(
            1,
            _("Lasts less than %(days)s days at the pace of this week.") % {"days": SOON_DAYS},
        )
    if position.pending_refund:
        text = _("Takes %(amount)s 0G out.") % {"amount": money.short(position.pending_refund)}
        return Risk(0, text)
    return Risk()


# The newest item of each customer, and what the last two weeks brought.
_SPENDS = """
SELECT serving, "user",
    SUM(settled) FILTER (WHERE status = ANY(%(accepted)s) AND at >= %(week)s),
    SUM(settled) FILTER (WHERE status = ANY(%(accepted)s) AND at >= %(before)s AND at < %(week)s),
    MAX(at), COALESCE(MAX(block) FILTER (WHERE status = 'partial') = MAX(block), false)
FROM ledger_settlement WHERE provider = %(provider)s GROUP BY serving, "user"
"""


def _spends(provider: str, now: dt.datetime) -> dict[tuple[str, str], Spend]:
    """By serving contract and user (1 query)."""
    week = now - dt.timedelta(days=PACE_DAYS)
    given: dict[str, Any] = {
        "provider": provider,
        "accepted": list(ACCEPTED),
        "week": week,
        "before": week - dt.timedelta(days=PACE_DAYS),
    }
    with connection.cursor() as cursor:
        cursor.execute(_SPENDS, given)
        return {
            (serving, user): Spend(int(recent or 0), int(before or 0), last, ran_out)
            for serving, user, recent, before, last, ran_out in cursor.fetchall()
        }
