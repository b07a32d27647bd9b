"""Rows of services, changes and charts, written here and not as templates.

A page shows 25 of them (charts ninety) with a dozen pieces each; rendered as tags of a template
these took twice the time of all the rest of the page. Every piece escapes what is not ours; so does
this.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from html import escape

from django import template
from django.template import Context
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import watching
from ledger.records import Listing
from marketplace import formats
from marketplace.changes import ChangeRow
from marketplace.filters import COLUMNS
from marketplace.names import Named
from marketplace.parts import ServiceRow
from marketplace.templatetags.moments import moment
from marketplace.templatetags.pieces import (
    address,
    amount,
    badge,
    diff,
    dollars,
    hash,
    pick,
    price,
    star,
    time,
    verdict,
)
from net.words import kept_by_language
from probes.charts import Chart
from probes.templatetags.health import example, milliseconds, speed, uptime, uptime_bar

register = template.Library()

#: Badges that say the same for every row that has them: word, tone and what it means.
_TIERS = (
    gettext_noop("tiers"),
    "",
    gettext_noop("Long requests cost otherwise: the service’s page has all tiers"),
)
_SILENT = (
    gettext_noop("no answer"),
    "warn",
    gettext_noop("The provider did not answer our last check"),
)
_ROUTED = (
    gettext_noop("routed"),
    "",
    gettext_noop("A third party runs the model: the verdict is about the broker only"),
)
_NO_GPU = (
    gettext_noop("GPU not proven"),
    "",
    gettext_noop("The evidence does not prove which GPU runs the model"),
)
_MOVED = (
    gettext_noop("endpoint moved"),
    "warn",
    gettext_noop(
        "The URL changed after the owner’s last acknowledgement; nobody has vouched for the new one"
    ),
)
_NOT_ACKNOWLEDGED = (
    gettext_noop("not acknowledged"),
    "warn",
    gettext_noop("The contract’s owner has not acknowledged this signer"),
)


@kept_by_language
def _said(words: tuple[str, str, str]) -> SafeString:
    label, tone, title = words
    return badge(_(label), tone, _(title))


def _nothing(why: str, classes: str = "") -> str:
    """The dash of a cell without a value, and why there is none."""
    return f'<span{_classed(classes)} title="{why}">–</span>'


@register.simple_tag
def service_row(
    row: ServiceRow,
    provider: object = False,
    cost: object = False,
    exact: object = False,
    shown: Collection[str] = (),
) -> SafeString:
    """A table row (ux.md 4). `provider`: show whose it is; `cost`: what the asked workload costs;
    `exact`: neuron under each price; `shown`: names of columns, empty for all."""
    listing, health = row.listing, row.health
    whose = address(listing.provider, row.provider_path, "", True, True) if provider else ""
    cells = {
        "provider": f"{whose}{named(row.said)}" if provider else "",
        "input": _input(row, exact),
        "output": _output(row, exact),
        "month": _month(row) if cost else "",
        "ttft": milliseconds(health.first_token),
        "speed": speed(health.tokens),
        "uptime": uptime_bar(health.bar) + uptime(health.uptime_7d) + example(health.example),
        "verification": f'<span class="verification">{_verification(row)}</span>',
        "updated": time(row.updated)
        if row.updated
        else _nothing(_("not recorded by this contract")),
    }
    asked = {*(shown or cells), "month"}
    if not provider:
        asked.discard("provider")
    if not cost:
        asked.discard("month")
    opened = _openings().items()
    rest = "".join(opening + cells[name] for name, opening in opened if name in asked)
    return SafeString(
        f'<tr class="row" role="row" data-testid="service-row" data-provider="'
        f'{escape(listing.provider)}" data-kind="{escape(listing.kind)}">'
        f"{_named(row)}{rest}</td></tr>"
    )


#: Columns of a row behind its name, in their order, with the classes of their cells.
_CELLS = {
    "provider": "",
    "input": "number",
    "output": "number",
    "month": "number",
    "ttft": "number",
    "speed": "number",
    "uptime": "number measured",
    "verification": "wide",
    "updated": "number muted",
}
_LABELS = {**COLUMNS, "month": gettext_noop("Your month")}


@kept_by_language
def _openings() -> Mapping[str, str]:
    """What stands before what a cell says: its own tag, and the end of the cell before it."""
    return {
        name: f'</td><td role="cell"{_classed(classes)} data-label="{_(_LABELS[name])}">'
        for name, classes in _CELLS.items()
    }


def _classed(classes: str) -> str:
    return f' class="{classes}"' if classes else ""


@register.simple_tag
def service_heads(provider: object = False, cost: object = False) -> SafeString:
    """The heads of the columns of `service_row`, where rows are in one order."""
    left_out = {"provider": not provider, "month": not cost}
    heads = "".join(
        f'<th role="columnheader" scope="col"{_classed("number" * ("number" in classes))}>'
        f"{_(_LABELS[name])}</th>"
        for name, classes in _CELLS.items()
        if not left_out.get(name)
    )
    return SafeString(heads)


@register.simple_tag
def named(said: Named | None) -> SafeString:
    """What a provider calls itself, in quotation marks, and who vouches for it: a word that is seen
    without a pointer that rests on it, and the sentence for who asks or listens."""
    if said is None:
        return SafeString("")
    why = (
        _("%(domain)s names the provider’s address") % {"domain": said.domain}
        if said.domain
        else _("Signed by the provider’s wallet; nobody checked it")
    )
    by = f"<bdi>{escape(said.domain)}</bdi>" if said.domain else _("self-declared")
    return SafeString(
        f' <span class="sub" title="{escape(why)}">“<bdi>{escape(said.name)}</bdi>”</span> '
        f'<span class="sub">{by}<span class="visually-hidden">, {escape(why)}</span></span>'
    )


@register.simple_tag(takes_context=True)
def watches(context: Context, listing: Listing) -> bool:
    """Whether the visitor keeps an eye on a listing (1 query; none without a session)."""
    return (listing.serving, listing.provider) in watching.of(context["request"])


def _named(row: ServiceRow) -> str:
    listing = row.listing
    badges = [badge(_("not final yet"))] if listing.pending else []
    if listing.occupied:
        badges.append(badge(_("occupied"), "warn"))
    badges += [badge(label.text, "accent", label.rule) for label in row.labels]
    badges += _decided(row)
    return (
        f'<td role="cell"><div class="named"><span class="picks">'
        f"{star(row.id, row.title, row.watched)}{pick(row.id, row.title)}</span><div>"
        f'<a class="row-link title" href="{escape(row.path)}"><bdi>{escape(row.title)}</bdi></a>'
        f'<span class="sub">{escape(row.type_label)}{"".join(f" {one}" for one in badges)}</span>'
        "</div></div>"
    )


@register.simple_tag
def decided_marks(row: ServiceRow) -> SafeString:
    """The same marks where a service stands outside of lists, and whether its endpoint moved."""
    marks = [*_decided(row), *([_said(_MOVED)] if row.moved else [])]
    return SafeString("".join(f" {one}" for one in marks))


def _decided(row: ServiceRow) -> list[SafeString]:
    """What moderators declared, which is never a check."""
    decided, found = row.decided, []
    if decided.hidden:
        found.append(badge(_("hidden by moderators"), "bad", decided.hidden.text))
    if decided.flags:
        flagged = _("By moderators: %(text)s")
        found.append(badge(_("flagged"), "warn", flagged % {"text": decided.flags[0].text}))
    return found + [badge(one.label, "", _("Declared by moderators")) for one in decided.labels]


def _input(row: ServiceRow, exact: object) -> str:
    if row.input is None:
        return _nothing(_("this type is not billed by input"), "muted")
    cached = row.offer.cached
    return (
        price(row.input, True)
        + dollars(row.input.neuron)
        + (f'<span class="sub">{_("cached")} {price(cached, True)}</span>' if cached else "")
        + (_said(_TIERS) if row.offer.tiers else "")
        + _exact(row.input, exact)
    )


def _output(row: ServiceRow, exact: object) -> str:
    if row.output is None:
        return _nothing(_("this type is not billed by output"), "muted")
    return price(row.output, True) + dollars(row.output.neuron) + _exact(row.output, exact)


def _exact(shown: formats.Price, exact: object) -> str:
    if not exact:
        return ""
    return f'<span class="sub exact">{shown.each_read} neuron / {escape(shown.each_unit)}</span>'


def _month(row: ServiceRow) -> str:
    if row.cost is None:
        return _nothing(_("not billed by tokens"), "muted")
    return amount(row.cost, "month-cost") + dollars(row.cost)


def _verification(row: ServiceRow) -> str:
    return (
        verdict(row.verdict, "service-verdict")
        + (_said(_SILENT) if row.silent else "")
        + (_said(_ROUTED) if row.routed else "")
        + (_said(_NO_GPU) if row.gpu_unproven else "")
        + (_said(_MOVED) if row.moved else "")
        + ("" if row.listing.tee_signer_acknowledged else _said(_NOT_ACKNOWLEDGED))
    )


@register.simple_tag
def change_row(change: ChangeRow, explorer: str | None = None) -> SafeString:
    """A line of a timeline."""
    block = escape(_("block %(number)s") % {"number": f"{change.block:,}"})
    what, tx = f"<strong>{escape(change.title)}</strong>", change.tx_hash
    if change.pending:
        what += badge(_("not final yet"))
    if change.service_path:
        kind = escape(change.kind_label)
        named = f"<bdi>{escape(change.service)}</bdi>" if change.service else kind
        what += f'<a href="{escape(change.service_path)}">{named}</a>'
        what += f"<span>{kind}</span>" if change.service else ""
    if change.provider:
        what += address(change.provider, change.provider_path, "", True, True)
    whence = f'<a href="/tx/{escape(tx)}">{block}</a>' if tx else f"<span>{block}</span>"
    if tx:
        whence += hash(tx, explorer)
    if change.report_path:
        whence += f'<a href="{escape(change.report_path)}">{_("report")}</a>'
    changed = change.before is not None or change.after is not None
    return SafeString(
        f'<li data-tone="{escape(change.tone)}"><div class="meta">{what}</div>'
        f"{diff(change.before, change.after) if changed else ''}"
        f'<div class="meta">{time(change.at)}{whence}</div></li>'
    )


@register.simple_tag
def chart_rows(chart: Chart) -> SafeString:
    """The body of a chart's table."""
    labels, linked = [escape(line.label) for line in chart.series], chart.linked
    rows = []
    for point in chart.points:
        place = point.number if chart.axis else moment(point.at, "bare")
        cells = "".join(
            f'<td class="number" data-label="{label}" data-value="{escape(value.number)}">'
            f"{escape(value.text)}</td>"
            for label, value in zip(labels, point.values, strict=True)
        )
        link = f'<a href="{escape(point.href)}">{escape(point.href_label)}</a>'
        source = f"<td>{link if point.href else ''}</td>" if linked else ""
        rows.append(
            f'<tr data-unix="{point.unix}"><th scope="row" class="nowrap">{place}</th>'
            f"{cells}{source}</tr>"
        )
    return SafeString("".join(rows))
