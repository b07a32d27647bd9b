"""How many services each choice of a filter would show, all other filters applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Case, Count, Q, When
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.pages_parts import Option
from attestation.selectors import DEVELOPMENT
from ledger import selectors, statistics
from ledger.models import Kind
from marketplace import conditions, formats, parts, ranking
from marketplace import filters as given
from marketplace.filters import Filters
from marketplace.memo import at_listing
from moderation import selectors as moderation
from probes import selectors as probes

SORT_LABELS = {
    "model": gettext_noop("Model, A to Z"),
    "price": gettext_noop("Price, lowest first"),
    "-price": gettext_noop("Price, highest first"),
    "-uptime": gettext_noop("Uptime, highest first"),
    "ttft": gettext_noop("First token, soonest first"),
    "-speed": gettext_noop("Speed, fastest first"),
    "-updated": gettext_noop("Last changed"),
    "-created": gettext_noop("Newest"),
    "-stake": gettext_noop("Stake, highest first"),
}


@dataclass(frozen=True)
class Counts:
    """By filter, then by value."""

    listed: statistics.Facets
    by: Mapping[str, Mapping[str, int]]


def counts(filters: Filters, version: str) -> Counts:
    """Kept while no listing changes, 30 seconds at most (6 queries when made anew, one more for
    each measured filter in use)."""
    key = ("facets", filters.query.unsorted)
    return at_listing.get(version, key, lambda: _counted(filters))


def _counted(filters: Filters) -> Counts:
    return Counts(
        listed=statistics.facets(filters.query.unsorted),
        by={
            "verified": _verdicts(filters),
            "tee": _declared(filters),
            **_at_least(filters),
        },
    )


def _verdicts(filters: Filters) -> dict[str, int]:
    rows = selectors.matching(filters.query_without("verified"))
    found = rows.annotate(word=conditions.word()).values_list("word").annotate(n=Count("pk"))
    counted: dict[str, int] = {}
    for word, number in found.order_by():
        plain = word.removeprefix(DEVELOPMENT)
        counted[plain] = counted.get(plain, 0) + number
    counted[given.SOUND] = sum(counted.get(word, 0) for word in given.SOUND.split(","))
    return counted


def _declared(filters: Filters) -> dict[str, int]:
    rows = selectors.matching(filters.query_without("tee"))
    found = rows.annotate(said=conditions.VERIFIER).values_list("said").annotate(n=Count("pk"))
    return {said or given.NO_TEE: number for said, number in found.order_by("-n", "said")[:12]}


def _at_least(filters: Filters) -> dict[str, dict[str, int]]:
    """Counts of choices that are a condition each: one query for all filters that are not in use,
    one for each that is."""
    words = (*moderation.words(), moderation.FLAGGED_WORD)
    labels = {word: f"labelled_{number}" for number, word in enumerate(words)}
    measures = {
        "proven": {part: Q(**{part: True}) for part in conditions.PROVEN},
        "uptime": {v: Q(up__gte=given.hundredths(v)) for v in given.UPTIMES},
        "context": {v: Q(declared__gte=int(v)) for v in given.CONTEXTS},
        "stake": {v: Q(stake__gte=int(v) * formats.ONE) for v in given.STAKES},
        "answers": {"1": Q(answering=True)},
        "acknowledged": {"1": conditions.Acknowledged().q()},
        "free": {"1": conditions.Free().q()},
        "label": {word: Q(**{column: True}) for word, column in labels.items()},
    }
    columns: dict[str, dict[str, Any]] = {
        "proven": {part: conditions.proven(part) for part in conditions.PROVEN},
        "uptime": {"up": probes.measured("uptime")},
        "answers": {"answering": Case(When(probes.answering().q(), then=True), default=False)},
        "context": {"declared": conditions.CONTEXT},
        "label": {
            column: Case(When(moderation.Labelled(word, ()).q(), then=True), default=False)
            for word, column in labels.items()
        },
    }
    alike: dict[selectors.ServiceQuery, list[str]] = {}
    for name in measures:
        alike.setdefault(filters.query_without(name).unsorted, []).append(name)
    counted: dict[str, dict[str, int]] = {}
    for query, names in alike.items():
        rows = selectors.matching(query)
        for name in names:
            rows = rows.annotate(**columns.get(name, {}))
        wanted = {
            f"{name}_{number}": Count("pk", filter=condition)
            for name in names
            for number, condition in enumerate(measures[name].values())
        }
        found = rows.aggregate(**wanted)
        for name in names:
            numbered = enumerate(measures[name])
            counted[name] = {value: found[f"{name}_{number}"] for number, value in numbered}
    return counted


def ticks(filters: Filters, known: Counts, version: str) -> dict[str, int]:
    """How many services each box shows that can be ticked. What somebody watches is counted for
    them alone (1 query where they watch anything)."""
    query = filters.query_without("watched")
    parts = (query.where, conditions.Watched(filters.mine))
    query = replace(query, where=conditions.every(tuple(part for part in parts if part)))
    watched = ranking.count_of(query, version) if filters.mine else 0
    counted = {name: known.by[name]["1"] for name in ("answers", "acknowledged", "free")}
    return {**counted, "watched": watched}


# --- as choices -----------------------------------------------------------------------------------


def choices(filters: Filters, name: str, every: str, known: Counts) -> tuple[Option, ...]:
    """The choices of one filter with their counts; what is chosen stays a choice."""
    chosen = getattr(filters, name)
    values, said = _LABELS.get(name, ((), str))
    labels = {value: said(value) for value in values}
    found = known.by[name]
    if name == "tee":
        labels = {word: given.tee_label(word) for word in found}
    if name == "label":
        labels = {word: given.label_said(word) for word in found}
    if chosen and chosen not in labels:
        labels[chosen] = given.tee_label(chosen) if name == "tee" else filters.active[name]
    return (
        Option("", every, not chosen),
        *(
            Option(
                value, f"{label} ({found[value]:,})" if value in found else label, value == chosen
            )
            for value, label in labels.items()
        ),
    )


_LABELS: Mapping[str, tuple[Iterable[str], Callable[[str], str]]] = {
    "verified": (("pass", given.SOUND, *given.VERDICTS[1:]), given.verdict_label),
    "proven": (given.PROVEN_LABELS, given.proven_label),
    "uptime": (given.UPTIMES, given.uptime_label),
    "context": (given.CONTEXTS, given.context_label),
    "stake": (given.STAKES, given.stake_label),
}


def types(filters: Filters, known: Counts) -> tuple[Option, ...]:
    counted = {facet.value: facet.count for facet in known.listed.types}
    # A facet of kinds ignores the kind filter but keeps the type; with a type chosen it says
    # nothing.
    other = {facet.value: facet.count for facet in known.listed.kinds}
    if Kind.FINE_TUNING in other and (not filters.type or filters.type == Kind.FINE_TUNING):
        counted[Kind.FINE_TUNING] = other[Kind.FINE_TUNING]
    counted.setdefault(filters.type, 0)
    counted.pop("", None)
    return (
        Option("", _("Any type"), not filters.type),
        *(
            Option(value, f"{parts.type_label(value)} ({count:,})", value == filters.type)
            for value, count in counted.items()
        ),
    )


def models(filters: Filters, known: Counts) -> tuple[Option, ...]:
    counted = {facet.value: facet.count for facet in known.listed.models}
    if filters.model:
        counted.setdefault(filters.model, 0)
    return (
        Option("", _("Any model"), not filters.model),
        *(
            Option(
                value, f"{formats.clip(parts.name(value), 40)} ({count:,})", value == filters.model
            )
            for value, count in counted.items()
        ),
    )


def sorts(filters: Filters) -> tuple[Option, ...]:
    labels = {key: _(text) for key, text in SORT_LABELS.items()}
    if filters.workload is not None:
        labels["cost"] = _("Your month, cheapest first")
    labels.setdefault(
        filters.sort, _("By %(what)s") % {"what": filters.sort.removeprefix("-").replace("_", " ")}
    )
    # The usual order is the one where nothing is said: a workload changes which one that is.
    usual = filters.default_sort
    return tuple(
        Option("" if value == usual else value, label, value == filters.sort)
        for value, label in labels.items()
    )
