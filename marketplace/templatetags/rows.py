"""One row of a list of services, written here and not as a template.

A page shows 25 of them with a dozen pieces each; rendered as tags of a template these took twice
the time of all the rest of the page. Every piece escapes what is not ours; so does this.
"""

from __future__ import annotations

from html import escape

from django import template
from django.utils.safestring import SafeString, mark_safe

from marketplace import formats
from marketplace.parts import ServiceRow
from marketplace.templatetags.pieces import address, amount, badge, pick, price, star, time, verdict
from probes.templatetags.health import example, milliseconds, speed, uptime, uptime_bar

register = template.Library()

_NO_INPUT = '<span class="muted" title="this type is not billed by input">–</span>'
_NO_MONTH = '<span class="muted" title="not billed by tokens">–</span>'
_NO_CHANGE = '<span title="not recorded by this contract">–</span>'
_TIERS = badge("tiers", title="Long requests cost otherwise: the service’s page has all tiers")
_SILENT = badge("no answer", "warn", "The provider did not answer our last check")
_ROUTED = badge("routed", "", "A third party runs the model: the verdict is about the broker only")
_NO_GPU = badge(
    "no GPU shown",
    "",
    "The evidence is of the machine’s CPU: nothing shows which GPU runs the model",
)
_MOVED = badge(
    "endpoint moved",
    "warn",
    "The URL changed after the owner’s last acknowledgement; nobody has vouched for the new one",
)
_NOT_ACKNOWLEDGED = badge(
    "not acknowledged", "warn", "The contract’s owner has not acknowledged this signer"
)


@register.simple_tag
def service_row(
    row: ServiceRow, provider: object = False, cost: object = False, exact: object = False
) -> SafeString:
    """A table row (ux.md 4). `provider`: show whose it is; `cost`: what the asked workload costs;
    `exact`: neuron under each price."""
    listing = row.listing
    cells = (
        _named(row),
        _cell("Provider", address(listing.provider, row.provider_path, "", True, True))
        if provider
        else "",
        _cell("Input", _input(row, exact), "number"),
        _cell("Output", price(row.output, True) + _exact(row.output, exact), "number"),
        _cell("Your month", _month(row), "number") if cost else "",
        _cell("First token", milliseconds(row.health.first_token), "number"),
        _cell("Speed", speed(row.health.tokens), "number"),
        _cell(
            "Uptime 7 d",
            uptime_bar(row.health.bar) + uptime(row.health.uptime_7d) + example(row.health.example),
            "number measured",
        ),
        _cell("Verification", f'<span class="verification">{_verification(row)}</span>', "wide"),
        _cell("Changed", time(row.updated) if row.updated else _NO_CHANGE, "number muted"),
    )
    return mark_safe(
        f'<tr class="row" role="row" data-testid="service-row" data-provider="'
        f'{escape(listing.provider)}" data-kind="{escape(listing.kind)}">{"".join(cells)}</tr>'
    )


def _cell(label: str, body: str, classes: str = "") -> str:
    given = f' class="{classes}"' if classes else ""
    return f'<td role="cell"{given} data-label="{label}">{body}</td>'


def _named(row: ServiceRow) -> str:
    listing = row.listing
    badges = [badge("not final yet")] if listing.pending else []
    if listing.occupied:
        badges.append(badge("occupied", "warn"))
    badges += [badge(label.text, "accent", label.rule) for label in row.labels]
    badges += _decided(row)
    return (
        f'<td role="cell"><div class="named"><span class="picks">'
        f"{star(row.id, row.title, row.watched)}{pick(row.id, row.title)}</span><div>"
        f'<a class="row-link title" href="{escape(row.path)}"><bdi>{escape(row.title)}</bdi></a>'
        f'<span class="sub">{escape(row.type_label)}{"".join(f" {one}" for one in badges)}</span>'
        "</div></div></td>"
    )


def _decided(row: ServiceRow) -> list[SafeString]:
    """What moderators declared, which is never a check."""
    decided, found = row.decided, []
    if decided.hidden:
        found.append(badge("hidden by moderators", "bad", decided.hidden.text))
    if decided.flags:
        found.append(badge("flagged", "warn", f"By moderators: {decided.flags[0].text}"))
    return found + [badge(one.label, "", "Declared by moderators") for one in decided.labels]


def _input(row: ServiceRow, exact: object) -> str:
    if row.input is None:
        return _NO_INPUT
    cached = row.offer.cached
    return (
        price(row.input, True)
        + (f'<span class="sub">cached {price(cached, True)}</span>' if cached else "")
        + (_TIERS if row.offer.tiers else "")
        + _exact(row.input, exact)
    )


def _exact(shown: formats.Price, exact: object) -> str:
    if not exact:
        return ""
    return f'<span class="sub exact">{shown.each:,} neuron / {escape(shown.each_unit)}</span>'


def _month(row: ServiceRow) -> str:
    return _NO_MONTH if row.cost is None else amount(row.cost, "month-cost")


def _verification(row: ServiceRow) -> str:
    return (
        verdict(row.verdict, "service-verdict")
        + (_SILENT if row.silent else "")
        + (_ROUTED if row.routed else "")
        + (_NO_GPU if row.gpu_unseen else "")
        + (_MOVED if row.moved else "")
        + ("" if row.listing.tee_signer_acknowledged else _NOT_ACKNOWLEDGED)
    )
