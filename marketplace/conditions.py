"""Conditions on listed services beyond the ledger's own filters, as `ledger.selectors.Condition`s,
and the columns behind them. What we checked or measured comes from the apps that did."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Any

from django.db.models import (
    BigIntegerField,
    Case,
    Exists,
    F,
    Func,
    OuterRef,
    Q,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Greatest, Lower
from django.db.models.lookups import Exact, GreaterThanOrEqual, IsNull, LessThanOrEqual
from django.utils import timezone

from attestation import selectors as attestation
from chain.fields import NeuronField
from ledger.models import Kind
from ledger.selectors import Condition
from marketplace import cards, formats
from probes.models import Health
from probes.selectors import Uptime
from protocol import fees
from protocol.declared import CONTEXT_PATTERN

#: (serving contract, provider): a listing, as rows know it.
Listed = tuple[str, str]
PROVEN = {"cpu": "hardware", "gpu": "gpu"}


def _found(pattern: str, *, any_case: bool = False) -> Func:
    """The first group of a pattern in the additional information; NULL where it is not found."""
    spelled = Value(f"(?i){pattern}" if any_case else pattern)
    return Func(F("additional_info"), spelled, function="SUBSTRING", output_field=TextField())


#: Declared context length in tokens; NULL where none is declared (`protocol.declared`).
CONTEXT = Cast(_found(CONTEXT_PATTERN, any_case=True), BigIntegerField())
#: Declared kind of evidence, lower case; NULL where none is declared.
VERIFIER = Lower(_found(cards.VERIFIER_PATTERN))

#: Rows of services that are billed by tokens (`tariffs.billed_by_tokens`).
TOKENS = ~Q(service_type__in=(*formats.IMAGES, formats.SPEECH)) & ~Q(kind=Kind.FINE_TUNING.value)
_PER_MILLION = Value(formats.MILLION, output_field=NeuronField())
#: Neuron per million input tokens; NULL for types that are not billed by tokens.
INPUT_SHOWN = Case(When(TOKENS, then=F("input_price") * _PER_MILLION), output_field=NeuronField())
#: Neuron of the unit that the Output column is in: a million tokens, an image, a minute; NULL for
#: embeddings, which are billed by input alone.
OUTPUT_SHOWN = Case(
    When(service_type=fees.EMBEDDING, then=Value(None, output_field=NeuronField())),
    When(kind=Kind.FINE_TUNING.value, then=F("price_per_token") * _PER_MILLION),
    When(service_type__in=formats.IMAGES, then=F("output_price")),
    When(
        service_type=formats.SPEECH,
        then=Greatest("input_price", "output_price") * Value(60, output_field=NeuronField()),
    ),
    default=F("output_price") * _PER_MILLION,
    output_field=NeuronField(),
)


@dataclass(frozen=True)
class All:
    """Every one of these; equal only to what selects the same."""

    parts: tuple[Condition, ...]

    def q(self) -> Q:
        return reduce(and_, (part.q() for part in self.parts), Q())


@dataclass(frozen=True)
class AnyOf:
    """At least one of these."""

    parts: tuple[Condition, ...]

    def q(self) -> Q:
        return reduce(or_, (part.q() for part in self.parts))


def every(parts: tuple[Condition, ...]) -> Condition | None:
    return All(parts) if parts else None


@dataclass(frozen=True)
class InputUpTo:
    """At most so many neuron per million input tokens."""

    neuron: int

    def q(self) -> Q:
        return Q(LessThanOrEqual(INPUT_SHOWN, self.neuron))


@dataclass(frozen=True)
class OutputUpTo:
    """At most so many neuron in the unit of the Output column."""

    neuron: int

    def q(self) -> Q:
        return Q(LessThanOrEqual(OUTPUT_SHOWN, self.neuron))


@dataclass(frozen=True)
class ContextFrom:
    """Declares a context of at least so many tokens."""

    tokens: int

    def q(self) -> Q:
        return Q(GreaterThanOrEqual(CONTEXT, self.tokens))


@dataclass(frozen=True)
class Declares:
    """Declares this kind of evidence; empty: declares none."""

    verifier: str

    def q(self) -> Q:
        if not self.verifier:
            return Q(IsNull(VERIFIER, True))
        return Q(Exact(VERIFIER, self.verifier))


@dataclass(frozen=True)
class StakeFrom:
    neuron: int

    def q(self) -> Q:
        return Q(stake__gte=self.neuron)


@dataclass(frozen=True)
class Acknowledged:
    """The contract's owner has acknowledged its signer."""

    def q(self) -> Q:
        return Q(tee_signer_acknowledged=True)


@dataclass(frozen=True)
class Free:
    """A fine-tuning provider that says on chain that no task occupies it."""

    def q(self) -> Q:
        return Q(kind=Kind.FINE_TUNING.value, occupied=False)


@dataclass(frozen=True)
class Proven:
    """Our own check in the last 24 hours found this part of its machine genuine; `state` as in
    `attestation.selectors.Verified`."""

    part: str
    state: tuple[Any, ...]

    def q(self) -> Q:
        return Q(proven(self.part))


def proven(part: str) -> Exists:
    """A key of `PROVEN` as a condition on a `Service` row. A GPU too only beside genuine hardware:
    its evidence is tied to a machine by the quote alone, and anybody can show another's."""
    good = ("pass", "warn")
    answer = {f"questions__{PROVEN[part]}__in": good, "questions__hardware__in": good}
    since = timezone.now() - attestation.EXPIRED_AFTER
    return Exists(attestation.judged_since(since).filter(**answer))


def word() -> Coalesce:
    """What `verified=` calls each row, as a column: our word (with its `dev-`), `expired` or
    `never` (`attestation.selectors.verified_filter`)."""
    now = timezone.now()
    expired = When(checked_at__lte=now - attestation.EXPIRED_AFTER, then=Value(attestation.EXPIRED))
    rows = attestation.judged_since(now - attestation.DROPPED_AFTER)
    said = rows.values(said=Case(expired, default="overall"))
    return Coalesce(Subquery(said[:1]), Value(attestation.NEVER))


#: Rows with that column as `word` which pass our check now, by whichever anchors.
PASSES = Q(word__in=("pass", f"{attestation.DEVELOPMENT}pass"))


def health_of_row(column: str | Combinable, since: dt.datetime, **where: Any) -> Subquery:
    """A column of what our probes measured of each row they looked at since then; NULL without."""
    rows = Health.objects.filter(
        serving=OuterRef("serving"), provider=OuterRef("provider"), checked_at__gt=since, **where
    )
    return Subquery(rows.values(one=F(column) if isinstance(column, str) else column)[:1])


#: Bits of a number of probes, and of quarters of an hour in 7 days.
_PROBES, _CELLS = 31, 10


def uptime_of_row(since: dt.datetime) -> Subquery:
    """The uptime of 7 days with what it is by as one number (`uptime_of`): the highest or lowest of
    several keeps its own probes."""
    share, probes, cells = (F(f"{name}_7d") for name in ("uptime", "probes", "cells"))
    by_probes = share * Value(1 << _PROBES, BigIntegerField()) + probes
    return health_of_row(by_probes * Value(1 << _CELLS, BigIntegerField()) + cells, since)


def uptime_of(number: int | None) -> Uptime | None:
    """What `uptime_of_row` found."""
    if number is None:
        return None
    by_probes, cells = divmod(number, 1 << _CELLS)
    return Uptime(*divmod(by_probes, 1 << _PROBES), cells)


@dataclass(frozen=True)
class Watched:
    """One of these listings."""

    listed: frozenset[Listed]

    def q(self) -> Q:
        by_contract: dict[str, list[str]] = {}
        for serving, provider in sorted(self.listed):
            by_contract.setdefault(serving, []).append(provider)
        parts = (
            Q(serving=serving, provider__in=providers) for serving, providers in by_contract.items()
        )
        return reduce(or_, parts, Q(pk__in=()))
