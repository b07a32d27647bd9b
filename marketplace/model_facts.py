"""What is known about a model: the best of what we measured, and what its providers declare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.postgres.aggregates import BoolOr
from django.db.models import Count, Max, Min

from ledger import selectors
from ledger.records import Listing
from marketplace import cards, conditions
from probes import selectors as probes
from probes.selectors import Uptime


@dataclass(frozen=True)
class Measured:
    """The best of a model's services in 7 days: milliseconds, tokens per 10 s; None without data.
    `verified`: services that pass our check now; `example`: some of it was measured nowhere."""

    uptime: Uptime | None = None
    first_token: int | None = None
    speed: int | None = None
    verified: int = 0
    example: bool = False


def measured(models: Iterable[str], query: selectors.ServiceQuery) -> dict[str, Measured]:
    """Of each of these models, of the services that a query selects (1 query)."""
    since = probes.week_told()
    rows = selectors.matching(query).filter(model__in=list(models))
    rows = rows.annotate(
        up=conditions.uptime_of_row(since),
        first=conditions.health_of_row("first_token_p50", since),
        fast=conditions.health_of_row("tokens_p50", since),
        made=conditions.health_of_row("example", since),
        word=conditions.word(),
    )
    good = Count("pk", filter=conditions.PASSES)
    found = rows.values("model").annotate(
        best=Max("up"), least=Min("first"), most=Max("fast"), good=good, example=BoolOr("made")
    )
    return {
        row["model"]: Measured(
            conditions.uptime_of(row["best"]),
            row["least"],
            row["most"],
            row["good"],
            bool(row["example"]),
        )
        for row in found.order_by()
    }


@dataclass(frozen=True)
class Said:
    """A fact in the words of the providers: each text with how many say it; `silent` say
    nothing."""

    label: str
    texts: tuple[tuple[str, int], ...]
    silent: int


def facts(listings: Iterable[Listing]) -> tuple[Said, ...]:
    """What these listings declare about their model."""
    shown = [cards.card(listing.additional_info) for listing in listings]
    counted: dict[str, Counter[str]] = {label: Counter() for label, _ in cards.Card().facts}
    for card in shown:
        for label, text in card.facts:
            counted[label].update([text] if text else [])
    return tuple(
        Said(label, tuple(texts.most_common(4)), len(shown) - texts.total())
        for label, texts in counted.items()
    )
