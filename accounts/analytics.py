"""What was spent: by provider, by model, by day; and how long the rest lasts.

The source is the chain's settlements, so the sums equal what providers were paid to the neuron. A
settlement is one sum per provider: the chain does not say which key or which model it was for. The
model is therefore the one the provider lists now; of keys only this site's own can be told from the
others, by what its conversations cost (`accounts.own_use`), and that use by the token that asked.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import own_use
from accounts.preview_money import PROVIDER_RESERVE
from ledger.models import Kind, Service
from ledger.records import Position
from ledger.selectors import account
from ledger.spending import Pair, charged

WINDOWS = {
    "7": gettext_noop("7 days"),
    "30": gettext_noop("30 days"),
    "90": gettext_noop("90 days"),
    "all": gettext_noop("All time"),
}
#: The pace is that of the last week.
PACE_DAYS = 7


@dataclass(frozen=True)
class Spent:
    """One row: neuron and its share of the largest row in ten-thousandths, for the bar."""

    label: str
    amount: int
    settlements: int
    share: int
    address: str = ""


@dataclass(frozen=True)
class Runway:
    """How long one sub-account lasts at the pace of the last week; None = it was not used."""

    position: Position
    per_day: int
    days: int | None

    def empty_on(self, today: dt.date) -> dt.date | None:
        if self.days is None or self.days > 3650:
            return None
        return today + dt.timedelta(days=self.days)


@dataclass(frozen=True)
class ByKey:
    """Settlements split by whose key caused them: `own + others` is the settled total, exactly.

    `own` is what the conversations stored here cost, provider by provider and up to what that
    provider settled; `ahead` is what they cost beyond that (neuron not settled in this window).
    """

    own: int
    others: int
    ahead: int
    estimated: int
    at_most: int
    answers: int
    unsure: int
    #: The same use by who asked: each access token, and the playground. Settled or not.
    by_token: tuple[own_use.Use, ...] = ()

    @property
    def has_tokens(self) -> bool:
        return any(use.token for use in self.by_token)


@dataclass(frozen=True)
class Spending:
    """`total` neuron left sub-accounts; `settled` is the same read from the settlements."""

    total: int
    settled: int
    by_provider: tuple[Spent, ...]
    by_model: tuple[Spent, ...]
    by_day: tuple[Spent, ...]
    by_key: ByKey
    #: Neuron of the last PACE_DAYS, by sub-account.
    pace: dict[Pair, int]

    @property
    def reconciles(self) -> bool:
        return self.total == self.settled


def spending(user: str, window: str, now: dt.datetime) -> Spending:
    """Spend of a wallet inside one of WINDOWS (2 queries, and those of `own_use`)."""
    since = None if window == "all" else now - dt.timedelta(days=int(window))
    found = charged(user, since, now - dt.timedelta(days=PACE_DAYS))
    listed = Service.current.filter(
        provider__in={provider for _, provider in found.by_pair}, removed=False
    )
    models = {
        (serving, provider): model or str(kind)
        for serving, provider, model, kind in listed.values_list(
            "serving", "provider", "model", "kind"
        )
    }
    providers: dict[str, tuple[int, int]] = {}
    names: dict[str, tuple[int, int]] = {}
    for pair, (amount, count) in found.by_pair.items():
        _add(providers, pair[1], amount, count)
        _add(names, models.get(pair, _("no longer listed")), amount, count)
    return Spending(
        total=found.total,
        settled=found.settled,
        by_provider=_rows(providers, largest_first=True, addresses=True),
        by_model=_rows(names, largest_first=True),
        by_day=_rows({f"{day:%Y-%m-%d}": sums for day, sums in found.by_day.items()}),
        by_key=_by_key(
            {pair: amount for pair, (amount, _) in found.by_pair.items()},
            own_use.of(user, since),
        ),
        pace=found.recent,
    )


def _by_key(settled: dict[Pair, int], found: list[own_use.Use]) -> ByKey:
    used = own_use.by_pair(found)
    own = {pair: min(settled.get(pair, 0), use.counted) for pair, use in used.items()}
    uses = used.values()
    return ByKey(
        own=sum(own.values()),
        others=sum(settled.values()) - sum(own.values()),
        ahead=sum(use.counted for use in uses) - sum(own.values()),
        estimated=sum(use.estimated for use in uses),
        at_most=sum(use.at_most for use in uses),
        answers=sum(use.answers for use in uses),
        unsure=sum(use.unsure for use in uses),
        by_token=tuple(own_use.by_token(found)),
    )


def _add(sums: dict[str, tuple[int, int]], name: str, amount: int, count: int) -> None:
    before = sums.get(name, (0, 0))
    sums[name] = (before[0] + amount, before[1] + count)


def _rows(
    sums: dict[str, tuple[int, int]], *, largest_first: bool = False, addresses: bool = False
) -> tuple[Spent, ...]:
    largest = max((amount for amount, _ in sums.values()), default=0) or 1
    rows = [
        Spent(name, amount, count, amount * 10_000 // largest, name if addresses else "")
        for name, (amount, count) in sums.items()
    ]
    return tuple(sorted(rows, key=lambda r: -r.amount) if largest_first else rows)


def runways(user: str, pace: Mapping[Pair, int]) -> tuple[Runway, ...]:
    """How long each inference sub-account lasts: what is free above the reserve, divided by the
    mean of the last week (`Spending.pace`).
    """
    found = []
    for position in account(user).positions:
        if position.kind != Kind.INFERENCE or not position.balance:
            continue
        week = pace.get((position.serving, position.provider), 0)
        found.append(Runway(position, week // PACE_DAYS, lasts(position, week)))
    return tuple(found)


def lasts(position: Position, week: int) -> int | None:
    """Whole days that an inference sub-account lasts where a week costs `week` neuron; None where
    nothing can be said."""
    if position.kind != Kind.INFERENCE or not week:
        return None
    return max(0, position.spendable - PROVIDER_RESERVE) * PACE_DAYS // week
