"""What the lists show: services under the visitor's filters, models, one model's services."""

from __future__ import annotations

from dataclasses import replace

from django.conf import settings
from django.utils.translation import gettext as _

from accounts import links as account_links
from accounts.addresses import short
from accounts.pages_parts import Option, pager
from accounts.pages_transaction import Link
from attestation import selectors as attestation
from attestation.selectors import ServiceKey
from chain.selectors import Freshness
from ledger import selectors, statistics
from ledger.records import Listing
from marketplace import (
    conditions,
    facets,
    labels,
    links,
    model_facts,
    overviews,
    pages_market,
    parts,
    ranking,
)
from marketplace.filters import COLUMNS, SELECTING, SHOWING, Filters
from marketplace.memo import at_block, at_listing
from marketplace.parts import Column
from moderation import selectors as moderation
from moderation.subjects import Subject

TARGET = "#results"
#: Filters outside of the folded part of the form.
_HELD = ("q", "kind", "type", "model", "verified", "sort")


def catalogue_page(filters: Filters, head: Freshness) -> pages_market.CataloguePage:
    """Everything `/` shows. A constant number of queries, whatever the list's length."""
    # The state before the rows: where a block comes in between, what is kept is newer than its
    # name says, and is counted again when the name changes.
    version = selectors.listings_version()
    found = ranking.services(filters, version)
    known = facets.counts(filters, version)
    active, workload = filters.active, filters.workload
    # Of one statement with the rows: a number that was kept is of the state that they are in.
    standings, state = attestation.standings_at(map(ServiceKey.of, found.items))
    verified = selectors.ServiceQuery(where=attestation.Verified("pass", state))
    return pages_market.CataloguePage(
        totals=at_block.get(head.indexed_hash, "totals", lambda: totals(version)),
        verified=ranking.count_of(verified, version),
        verified_path=Filters(verified="pass").path(),
        development=settings.IS_DEVNET,
        filters=filters,
        choices=pages_market.Choices(
            types=facets.types(filters, known),
            models=facets.models(filters, known),
            verdicts=facets.choices(filters, "verified", _("Any verification"), known),
            proven=facets.choices(filters, "proven", _("Proven or not"), known),
            declared=facets.choices(filters, "tee", _("Any declared TEE"), known),
            uptimes=facets.choices(filters, "uptime", _("Any uptime, 7 days"), known),
            contexts=facets.choices(filters, "context", _("Any context"), known),
            stakes=facets.choices(filters, "stake", _("Any stake"), known),
            labels=facets.choices(filters, "label", _("Any label of moderators"), known),
            sorts=facets.sorts(filters),
            ticks=facets.ticks(filters, known, version),
        ),
        more=sum(1 for name in filters.given if name in SELECTING and name not in _HELD),
        chips=tuple(parts.Chip(label, filters.lifted(field)) for field, label in active.items()),
        clear=filters.path(**dict.fromkeys(active, "")),
        columns=columns(filters),
        rows=parts.rows(
            found.items,
            filters.mine,
            lambda listing: ranking.monthly(listing, workload),
            version,
            standings,
        ),
        count=found.count,
        pager=pager(found, _("services"), lambda number: filters.path(page=number), TARGET),
        nothing=""
        if found.count
        else "unindexed"
        if head.indexed_block < 0
        else "filtered"
        if active
        else "empty",
        filters_said=_(" and ").join(active.values()),
        ways_out=() if found.count else _ways_out(filters, version),
        views=tuple(
            Link(label, filters.path(view="" if name == "table" else name), filters.view == name)
            for name, label in (("table", _("Table")), ("cards", _("Cards")))
        ),
        exact_path=filters.path(exact="" if filters.exact else "1"),
        here=filters.path(page=found.number),
        chooser=chooser(filters),
        twins=twins(filters),
        gone=_gone(filters),
    )


def _gone(filters: Filters) -> tuple[tuple[str, tuple[Link, ...]], ...]:
    """Watched services that no list shows, by why (2 queries; none where nothing is watched)."""
    if not (filters.watched and filters.mine):
        return ()
    found = selectors.unlisted(conditions.Watched(filters.mine))
    removed = tuple(_link(one) for one in found if one.removed)
    hidden = tuple(_link(one) for one in found if not one.removed)
    said = (
        (_("You watch these too; moderators have hidden them, and their pages say why:"), hidden),
        (_("You watched these too, and their providers removed them:"), removed),
    )
    return tuple((sentence, which) for sentence, which in said if which)


def _link(listing: Listing) -> Link:
    label = _("%(model)s by %(provider)s") % {
        "model": parts.service_title(listing),
        "provider": short(listing.provider),
    }
    return Link(label, account_links.service(listing))


def hidden_model(name: str) -> tuple[Link, ...]:
    """The pages of a model's services, where moderators hid every one that is offered (3
    queries)."""
    query = selectors.ServiceQuery(model=name, everything=True)
    return tuple(_link(one) for one in selectors.services(query).items)


def twins(filters: Filters) -> tuple[Link, ...]:
    """The same list for programs; what somebody watches is nobody else's."""
    if filters.watched:
        return ()
    plain = dict.fromkeys(SHOWING, "")
    return (
        Link("JSON", filters.path("/api/v1/services", **plain)),
        Link("CSV", filters.path("/api/v1/services.csv", **plain)),
        Link("Atom", filters.path("/services.atom", **plain, sort="")),
    )


def totals(version: str, *, all_time: bool = False) -> statistics.Totals:
    known = at_listing.get(version, "listed", statistics.listed)
    return statistics.totals(all_time=all_time, known=known)


def _ways_out(filters: Filters, version: str) -> tuple[Link, ...]:
    """What lifting each single filter would show, the most first (1 query per filter); those that
    would show nothing either lead nowhere."""
    ways = [
        Link(
            label,
            filters.lifted(name),
            count=ranking.count_of(filters.query_without(name), version),
        )
        for name, label in filters.active.items()
    ]
    return tuple(sorted((way for way in ways if way.count), key=lambda way: -(way.count or 0)))


def chooser(filters: Filters) -> tuple[Option, ...]:
    """The columns that can be left out."""
    shown = filters.shown or COLUMNS
    return tuple(Option(name, _(label), name in shown) for name, label in COLUMNS.items())


def columns(filters: Filters) -> tuple[Column, ...]:
    labels = {name: _(label) for name, label in COLUMNS.items()}

    def sortable(label: str, key: str, number: bool = False, first: str = "") -> Column:
        up, down = key, f"-{key}"
        state = {up: "ascending", down: "descending"}.get(filters.sort, "")
        turned = {up: down, down: up}.get(filters.sort, f"{first}{key}")
        return Column(label, number, filters.path(sort=turned), state, key)

    every = {
        "model": sortable(_("Model"), "model"),
        "provider": sortable(labels["provider"], "provider"),
        "input": sortable(labels["input"], "input_price", True),
        "output": sortable(labels["output"], "output_price", True),
        "month": sortable(_("Your month"), "cost", True),
        "ttft": sortable(labels["ttft"], "ttft", True),
        "speed": sortable(labels["speed"], "speed", True, "-"),
        "uptime": sortable(labels["uptime"], "uptime", True, "-"),
        "verification": Column(labels["verification"]),
        "updated": sortable(labels["updated"], "updated", True, "-"),
    }
    if filters.workload is None:
        del every["month"]
    asked = {*filters.shown, "month"} if filters.shown else every
    return tuple(column for name, column in every.items() if name in asked)


def models_page(asked: overviews.ModelsAsked, version: str) -> pages_market.ModelsPage:
    """`/models` (6 queries, one while no listing changes)."""
    found = overviews.models(asked, version)
    return pages_market.ModelsPage(
        rows=tuple(pages_market.ModelEntry.of(line.row, line.measured) for line in found.items),
        pager=pager(found, _("models"), lambda number: asked.path(page=number)),
        asked=asked,
        types=overviews.types(asked, version),
        count=found.count,
    )


def providers_page(asked: overviews.ProvidersAsked, version: str) -> pages_market.ProvidersPage:
    """`/providers` (6 queries)."""
    found = overviews.providers(asked, version)
    return pages_market.ProvidersPage(
        rows=found.items,
        pager=pager(found, _("providers"), lambda number: asked.path(page=number)),
        asked=asked,
        count=found.count,
    )


def model_page(filters: Filters, version: str) -> pages_market.ModelPage | None:
    """Everybody who offers a model, the cheapest first: by their prices, or by what a workload
    costs there (9 queries, 10 with a workload); None where nobody does."""
    sort = filters.default_sort if filters.workload is not None else "price"
    filters, model = replace(filters, sort=sort), filters.model
    query, workload = filters.query, filters.workload
    found = ranking.services(filters, version)
    if not found.count:
        return None
    ranks = at_listing.get(version, ("ranks", model), lambda: labels.ranks(query))
    inference = [listing for listing in found.items if not listing.is_fine_tuning]
    rows = parts.rows(found.items, filters.mine, lambda listing: ranking.monthly(listing, workload))
    path, given = links.model_path(model), filters.workload_given
    facts = model_facts.facts(inference)
    return pages_market.ModelPage(
        title=parts.name(model),
        rows=labels.labelled(rows, ranks),
        pager=pager(
            found, _("services"), lambda number: links.with_query(path, **given, page=number)
        ),
        providers=found.count,
        decided=moderation.of_subject(Subject.model(model)),
        rules=ranks.rules,
        facts=tuple(fact for fact in facts if fact.texts),
        unsaid=tuple(fact.label for fact in facts if not fact.texts),
        described=len(inference),
        list_path=Filters(model=model).path(**given),
        filters=filters,
    )
