"""Which signing key a person acknowledged, and which one it is now.

The contract keeps a flag and no key (contracts.md 6.6), and an acknowledgement leaves no log. The
moment is therefore the last money that went there (a transfer acknowledges), or an acknowledgement
sent from this site; the key of that moment is what the service's timeline says it was. Where
neither is known, neither is guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from accounts.addresses import short
from accounts.models import Intent, State
from ledger import consents
from ledger.models import Service, ServiceChange
from ledger.records import Position
from ledger.spending import Pair

_SETTLED = (State.INCLUDED, State.INDEXED, State.FINAL)


@dataclass(frozen=True)
class Acknowledged:
    """The key that was registered at the last known acknowledgement (`then`, "" = not known) and
    the one that is now ("" = no service), with the block of that acknowledgement.
    """

    then: str
    now: str
    block: int | None = None
    at: datetime | None = None

    @property
    def changed(self) -> bool:
        return bool(self.then and self.now and self.then != self.now)


@dataclass(frozen=True)
class _Moment:
    """A place on the chain and when that was; not `exact`: it happened there or before."""

    block: int
    log_index: int
    at: datetime | None
    exact: bool = True

    @property
    def place(self) -> tuple[int, int]:
        return self.block, self.log_index


#: The signer of each service, and whether its provider removed it.
Offers = Mapping[Pair, tuple[str, bool]]


def listed(providers: Collection[str]) -> Offers:
    """The signer of each of their services, and whether its provider removed it (1 query)."""
    rows = Service.current.filter(provider__in=providers)
    found = rows.values_list("serving", "provider", "tee_signer", "removed")
    return {(serving, provider): (signer, removed) for serving, provider, signer, removed in found}


def gone(offers: Offers, position: Position) -> bool:
    """Whether its provider removed the service."""
    return offers.get((position.serving, position.provider), ("", False))[1]


def acknowledged(
    address: str,
    positions: Iterable[Position],
    offers: Offers | None = None,
    *,
    own: bool = True,
) -> dict[Pair, Acknowledged]:
    """The keys of every position whose flag is set (4 queries, 3 with `offers` as `listed` has
    them, none without such positions). Not `own`: for somebody else, who hears nothing of what was
    sent from this site."""
    pairs = {(p.serving, p.provider) for p in positions if p.acknowledged}
    if not pairs:
        return {}
    providers = {provider for _, provider in pairs}
    offers = listed(providers) if offers is None else offers
    current = {pair: signer for pair, (signer, removed) in offers.items() if not removed}
    moments = _moments(address, providers, own=own)
    replaced = _replaced_after(moments, providers)
    found = {}
    for pair in pairs:
        moment, now = moments.get(pair), current.get(pair, "")
        if moment is None:
            found[pair] = Acknowledged("", now)
            continue
        # No change since: the key of then is the key of now.
        then = replaced.get(pair, now if moment.exact else "")
        found[pair] = Acknowledged(then, now, moment.block, moment.at)
    return found


def of_position(address: str, position: Position, *, own: bool = True) -> Acknowledged | None:
    """The same of one position; None where the flag is not set."""
    known = acknowledged(address, [position], own=own)
    return known.get((position.serving, position.provider))


def said(known: Acknowledged | None) -> tuple[str, str]:
    """(sentence, state) about what a person acknowledged; states as in the trust block."""
    if known is None:
        return _("Have not acknowledged it; a first transfer does that for you"), "unknown"
    if not known.then:
        return (
            _("Acknowledged this provider's signer; which key it was then is not known here"),
            "unknown",
        )
    key = {"before": short(known.then), "now": short(known.now), "block": f"{known.block:,}"}
    if known.changed:
        return (
            _("Signer was %(before)s when you acknowledged it at block %(block)s, now %(now)s")
            % key,
            "changed",
        )
    return _("Acknowledged signer %(before)s at block %(block)s") % key, "yes"


def _replaced_after(moments: dict[Pair, _Moment], providers: set[str]) -> dict[Pair, str]:
    """The `before` of the first change of key after each moment."""
    changes = ServiceChange.objects.filter(
        provider__in=providers, change__in=("signer", "removed")
    ).order_by("block", "sequence", "pk")
    found: dict[Pair, str] = {}
    for change in changes:
        moment = moments.get((change.serving, change.provider))
        place = (change.block, change.log_index or 0)
        if moment is not None and place > moment.place and isinstance(change.before, dict):
            before = str(change.before.get("tee_signer", ""))
            found.setdefault((change.serving, change.provider), before)
    return found


def _moments(address: str, providers: set[str], *, own: bool) -> dict[Pair, _Moment]:
    """Where each pair was last acknowledged: by money that went there, or (`own`) from this
    site."""
    newest = consents.by_money(user=address, provider__in=providers)
    rows = newest.order_by("serving", "provider", "-block", "-sequence", "-pk")
    found = {
        (row.serving or "", row.provider or ""): _Moment(
            row.block, row.log_index or 0, row.at, exact=row.kind != "opening"
        )
        for row in rows.distinct("serving", "provider")
    }
    if not own:
        return found
    sent = Intent.objects.filter(
        user__address=address,
        action="acknowledge_signer",
        state__in=_SETTLED,
        params__acknowledged=True,
        block__isnull=False,
    )
    for intent in sent:
        pair = (intent.to, str(intent.params.get("provider", "")))
        # It leaves no log, so a change in the same block counts as one after it: rather one
        # question too many.
        moment = _Moment(intent.block or 0, -1, intent.submitted_at)
        if pair not in found or moment.place > found[pair].place:
            found[pair] = moment
    return found
