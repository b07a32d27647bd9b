"""What a provider earned: by service, model, user and day, and in windows that end now.

The source is the chain's settlements. Parts and total come from one statement, hence from one
snapshot: they add up to the neuron. The model is the one that the listing named on chain at the
place of the settlement: the last change before it, in chain order.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Count, Q, QuerySet, Sum
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from ledger import selectors
from ledger.models import ACCEPTED, Kind, ServiceChange, ServiceTotal, Settlement
from ledger.statistics import last_paid
from operators.period import Period

#: Changes of a listing that name its model, or the models a job may train.
NAMING = ("registered", "model", "models")


@dataclass(frozen=True)
class Sums:
    """`earned` neuron were paid; `missed` were asked for and not paid; `items` in all, of them
    `paid` accepted by the contract."""

    earned: int = 0
    missed: int = 0
    items: int = 0
    paid: int = 0

    @property
    def requested(self) -> int:
        return self.earned + self.missed

    def __add__(self, more: Sums) -> Sums:
        return Sums(
            self.earned + more.earned,
            self.missed + more.missed,
            self.items + more.items,
            self.paid + more.paid,
        )


@dataclass(frozen=True)
class Part:
    """One part of the earnings. `id` never changes: service name, model, address or ISO date."""

    id: str
    sums: Sums


@dataclass(frozen=True)
class Earnings:
    """`by_service`, `by_model`, `by_user` and `by_day` each sum to `total`, in every column; days
    oldest first, the others by what they earned."""

    total: Sums
    by_service: tuple[Part, ...]
    by_model: tuple[Part, ...]
    by_user: tuple[Part, ...]
    by_day: tuple[Part, ...]

    def by(self, name: str) -> tuple[Part, ...]:
        """A cut by its name in a URL."""
        found: tuple[Part, ...] = getattr(self, f"by_{name}")
        return found


CUTS = ("day", "service", "model", "user")

#: What a statement adds to rows from `start` on: blocks and times rise together, so that the block
#: of the last accepted item before it leads past all the older rows (`ledger.statistics`).
IN_BLOCKS = """block >= COALESCE((
        SELECT block FROM ledger_settlement
        WHERE status = ANY(%(accepted)s) AND at < %(start)s ORDER BY at DESC LIMIT 1
    ), 0)"""


def settled_in(provider: str, period: Period) -> QuerySet[Settlement]:
    """The provider's items of a period, in no order."""
    rows = Settlement.objects.filter(period.where(), provider=provider)
    return _from(rows, period.start) if period.start else rows


def _from(rows: QuerySet[Settlement], start: dt.datetime) -> QuerySet[Settlement]:
    """The same rows, where none is older than `start`, found past all the older ones."""
    return rows.filter(block__gte=last_paid(at__lt=start))


# A change of a listing holds from its place on. Changes and items are put in one order and counted
# through: an item belongs to the change with the number it got. Nothing is joined: over tables
# that were filled a moment ago PostgreSQL compares every row with every other one.
_SQL = f"""
WITH change AS (
    SELECT serving, block, sequence, id, COALESCE(
        after->>'model',
        CASE WHEN jsonb_typeof(after->'model_list') = 'array'
            AND jsonb_array_length(after->'model_list') = 1 THEN after->'model_list'->>0 END,
        ''
    ) AS model
    FROM ledger_servicechange WHERE provider = %(provider)s AND change = ANY(%(naming)s)
), row AS (
    SELECT serving, block, sequence, id, true AS named, model, NULL::date AS day,
        NULL AS "user", NULL::numeric AS settled, NULL::numeric AS unsettled, false AS paid
    FROM change UNION ALL
    SELECT serving, block, sequence, id, false, NULL, (at AT TIME ZONE 'UTC')::date,
        "user", settled, unsettled, status = ANY(%(paid)s)
    FROM ledger_settlement
    WHERE provider = %(provider)s AND at >= %(start)s AND at < %(end)s AND {IN_BLOCKS}
), numbered AS (
    SELECT *, COUNT(*) FILTER (WHERE named) OVER (
        PARTITION BY serving ORDER BY block, sequence, named DESC, id ROWS UNBOUNDED PRECEDING
    ) AS number FROM row
), item AS (
    SELECT named, serving, day, "user", settled, unsettled, paid,
        COALESCE(MAX(model) OVER (PARTITION BY serving, number), '') AS model
    FROM numbered
)
SELECT GROUPING(serving, day, "user", model), serving, day, "user", model,
    SUM(settled) FILTER (WHERE paid), SUM(unsettled), COUNT(*), COUNT(*) FILTER (WHERE paid)
FROM item WHERE NOT named GROUP BY GROUPING SETS ((), (serving), (day), ("user"), (serving, model))
"""
# GROUPING's bits, one per column, set where the column is summed over.
_ALL, _SERVICE, _DAY, _USER, _MODEL = 0b1111, 0b0111, 0b1011, 0b1101, 0b0110


def earnings(provider: str, period: Period, known: Mapping[str, Any] | None = None) -> Earnings:
    """What a provider earned in a period (1 query, and 1 for the contracts unless `known`)."""
    contracts = selectors.contracts() if known is None else known
    total = Sums()
    cuts: dict[int, dict[str, Sums]] = {_SERVICE: {}, _DAY: {}, _USER: {}, _MODEL: {}}
    given = {
        "provider": provider,
        "naming": list(NAMING),
        "paid": list(ACCEPTED),
        "accepted": list(ACCEPTED),
        "start": period.start or "-infinity",
        "end": period.end or "infinity",
    }
    with connection.cursor() as cursor:
        cursor.execute(_SQL, given)
        for grouping, serving, day, user, model, earned, missed, items, paid in cursor.fetchall():
            sums = Sums(int(earned or 0), int(missed or 0), items, paid)
            if grouping == _ALL:
                total = sums
                continue
            contract = contracts.get(serving)
            name = {
                _SERVICE: contract.service_name if contract else serving,
                _DAY: str(day),
                _USER: user,
                _MODEL: model or unnamed(contract.kind if contract else ""),
            }[grouping]
            cuts[grouping][name] = cuts[grouping].get(name, Sums()) + sums
    return Earnings(
        total=total,
        by_service=_largest_first(cuts[_SERVICE]),
        by_model=_largest_first(cuts[_MODEL]),
        by_user=_largest_first(cuts[_USER]),
        by_day=tuple(Part(day, sums) for day, sums in sorted(cuts[_DAY].items())),
    )


#: What stands for a model that the chain does not name: of a training, and of others.
UNNAMED = (gettext_noop("training, model not on chain"), gettext_noop("no model named"))


def unnamed(kind: str) -> str:
    return UNNAMED[0] if kind == Kind.FINE_TUNING else UNNAMED[1]


def _largest_first(sums: Mapping[str, Sums]) -> tuple[Part, ...]:
    ordered = sorted(sums.items(), key=lambda pair: (-pair[1].earned, -pair[1].missed, pair[0]))
    return tuple(Part(name, found) for name, found in ordered)


# --- the model at a place -------------------------------------------------------------------------


@dataclass(frozen=True)
class Epochs:
    """Which model a listing named from which place on; the same rule as the sums above."""

    places: Mapping[str, tuple[tuple[int, int], ...]]
    names: Mapping[str, tuple[str, ...]]
    kinds: Mapping[str, str]

    @classmethod
    def of(cls, provider: str) -> Epochs:
        """Of all listings of a provider (2 queries)."""
        rows = ServiceChange.objects.filter(provider=provider, change__in=NAMING)
        places: dict[str, list[tuple[int, int]]] = {}
        names: dict[str, list[str]] = {}
        for row in rows.order_by("serving", "block", "sequence", "pk"):
            places.setdefault(row.serving, []).append((row.block, row.sequence))
            names.setdefault(row.serving, []).append(_named(row.after))
        kinds = {address: contract.kind for address, contract in selectors.contracts().items()}
        return cls(
            {serving: tuple(found) for serving, found in places.items()},
            {serving: tuple(found) for serving, found in names.items()},
            kinds,
        )

    def model(self, serving: str, block: int, sequence: int) -> str:
        """The model named at a place, or what stands for none."""
        place = bisect_right(self.places.get(serving, ()), (block, sequence))
        name = self.names[serving][place - 1] if place else ""
        return name or unnamed(self.kinds.get(serving, ""))


def _named(after: Any) -> str:
    if not isinstance(after, dict):
        return ""
    listed = after.get("model_list")
    only = listed[0] if isinstance(listed, list) and len(listed) == 1 else None
    return str(after.get("model") or only or "")


# --- windows that end now -------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """`earned` since the window's beginning, and `before` in the span of the same length before
    it. `label` and `against` name the two."""

    key: str
    label: str
    against: str
    earned: int
    before: int

    @property
    def change(self) -> int:
        return self.earned - self.before

    @property
    def direction(self) -> str:
        return "up" if self.change > 0 else "down" if self.change < 0 else "none"

    @property
    def percent(self) -> str:
        """`4.2 %`, cut; "" where there is nothing to compare with."""
        if not self.before:
            return ""
        tenths = abs(self.change) * 1000 // self.before
        return f"{tenths // 10:,}.{tenths % 10} %" if tenths < 10_000_000 else _("many times")


@dataclass(frozen=True)
class Now:
    """`total` is all that was ever earned, `missed` all that was ever asked for and not paid;
    payers are distinct users who paid something in 30 days, and in the 30 days before."""

    windows: tuple[Window, ...]
    total: int
    missed: int
    items: int
    payers: int
    payers_before: int


_SPANS = (
    ("today", gettext_noop("Earned today"), gettext_noop("the same hours of yesterday"), 0),
    ("7d", gettext_noop("Earned in 7 d"), gettext_noop("the 7 d before"), 7),
    ("30d", gettext_noop("Earned in 30 d"), gettext_noop("the 30 d before"), 30),
)


def now(provider: str, at: dt.datetime) -> Now:
    """The figures of this moment (2 queries). Today is the UTC day; what is compared with it ends
    at the same time of yesterday."""
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    sums: dict[str, Any] = {}
    for key, _label, _against, days in _SPANS:
        span = dt.timedelta(days=days or 1)
        start = at - span if days else midnight
        sums[f"w{key}"] = Sum("settled", filter=Q(at__gte=start))
        sums[f"b{key}"] = Sum("settled", filter=Q(at__gte=start - span, at__lt=at - span))
    month = at - dt.timedelta(days=30)
    paid = Q(settled__gt=0)
    start = month - dt.timedelta(days=30)
    rows = Settlement.objects.filter(provider=provider, status__in=ACCEPTED, at__gte=start)
    found = _from(rows, start).aggregate(
        **sums,
        payers=Count("user", distinct=True, filter=paid & Q(at__gte=month)),
        payers_before=Count("user", distinct=True, filter=paid & Q(at__lt=month)),
    )
    ever = ServiceTotal.objects.filter(provider=provider).aggregate(
        earned=Sum("settled"), part=Sum("unsettled"), refused=Sum("refused_amount"), n=Sum("items")
    )
    return Now(
        windows=tuple(
            Window(
                key, _(label), _(against), int(found[f"w{key}"] or 0), int(found[f"b{key}"] or 0)
            )
            for key, label, against, _days in _SPANS
        ),
        total=int(ever["earned"] or 0),
        missed=int(ever["part"] or 0) + int(ever["refused"] or 0),
        items=int(ever["n"] or 0),
        payers=found["payers"],
        payers_before=found["payers_before"],
    )
