"""The pages of the market's lists: services, models, providers; each the whole of what its template
sees as `page`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from accounts.pages_parts import Option, Pager
from accounts.pages_transaction import Link
from ledger import groups, statistics
from marketplace import formats, links, tariffs
from marketplace.filters import Filters
from marketplace.model_facts import Measured, Said
from marketplace.overviews import ModelsAsked, ProviderLine, ProvidersAsked
from marketplace.parts import Chip, Column, Label, ServiceRow, name, type_label
from moderation.selectors import Decided
from probes.fold import NO_DATA

# --- the catalogue -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choices:
    """What each filter offers, with counts."""

    types: tuple[Option, ...]
    models: tuple[Option, ...]
    verdicts: tuple[Option, ...]
    proven: tuple[Option, ...]
    declared: tuple[Option, ...]
    uptimes: tuple[Option, ...]
    contexts: tuple[Option, ...]
    stakes: tuple[Option, ...]
    labels: tuple[Option, ...]
    sorts: tuple[Option, ...]
    ticks: Mapping[str, int]


@dataclass(frozen=True)
class CataloguePage:
    """`/`: the services of the network. `verified` counts what `verified_path` lists; where
    `development`, by evidence of a devnet. `more`: how many of the folded filters are in use.
    `nothing`: why there are no rows (`""`, `filtered`, `empty`, `unindexed`); `ways_out`: what
    lifting one filter would show; `here`: this very page of it; `chooser`: its columns; `gone`:
    what is watched and yet on no list, by why."""

    totals: statistics.Totals
    verified: int
    verified_path: str
    development: bool
    filters: Filters
    choices: Choices
    more: int
    chips: tuple[Chip, ...]
    clear: str
    columns: tuple[Column, ...]
    rows: tuple[ServiceRow, ...]
    count: int
    pager: Pager
    nothing: str
    filters_said: str
    ways_out: tuple[Link, ...]
    views: tuple[Link, ...]
    exact_path: str
    here: str
    chooser: tuple[Option, ...]
    twins: tuple[Link, ...]
    gone: tuple[tuple[str, tuple[Link, ...]], ...]

    @property
    def unmeasured(self) -> int:
        """How many of the rows our probes say nothing about."""
        return sum(row.health.state == NO_DATA for row in self.rows)


# --- models and providers ------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelEntry:
    """A model with the lowest prices and the best measurements among its services."""

    title: str
    path: str
    type_labels: tuple[str, ...]
    services: int
    providers: int
    acknowledged: int
    input: formats.Price | None
    output: formats.Price | None
    updated: dt.datetime | None
    measured: Measured

    @classmethod
    def of(cls, row: groups.ModelRow, measured: Measured) -> ModelEntry:
        offered = tariffs.offer(row.billed_as, row.input_price, row.output_price, "")
        return cls(
            title=name(row.model),
            path=links.model_path(row.model),
            type_labels=tuple(type_label(kind) for kind in row.types),
            services=row.services,
            providers=row.providers,
            acknowledged=row.acknowledged,
            input=offered.input,
            output=offered.output,
            updated=formats.of_unix(row.updated_at_unix),
            measured=measured,
        )


@dataclass(frozen=True)
class ModelsPage:
    rows: tuple[ModelEntry, ...]
    pager: Pager
    asked: ModelsAsked
    types: tuple[Option, ...]
    count: int


@dataclass(frozen=True)
class ModelPage:
    """`/models/{model}`: everyone who offers it, the cheapest first. `rules`: of the labels given
    here; `facts`: what the `described` inference services on this page declare; `unsaid`: what
    none of them does; `decided`: about the model itself."""

    title: str
    rows: tuple[ServiceRow, ...]
    pager: Pager
    providers: int
    decided: Decided
    rules: tuple[Label, ...]
    facts: tuple[Said, ...]
    unsaid: tuple[str, ...]
    described: int
    list_path: str
    filters: Filters


@dataclass(frozen=True)
class ProvidersPage:
    rows: tuple[ProviderLine, ...]
    pager: Pager
    asked: ProvidersAsked
    count: int
