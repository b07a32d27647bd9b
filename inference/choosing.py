"""Which service stands chosen where nobody has chosen one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from django.db.models import Q
from django.utils.translation import gettext as _

from accounts.models import User
from attestation import assurance
from attestation import selectors as attestation
from attestation.selectors import DEVELOPMENT, ServiceKey
from inference import readiness
from inference.models import Chat, Medium
from inference.readiness import Held
from ledger import selectors as ledger
from ledger.records import Listing

Fee = Callable[[Listing], int | None]


@dataclass(frozen=True)
class Chosen:
    """`why` is a sentence for the person, "" where there is nothing to say."""

    service: Listing | None
    why: str = ""


@dataclass(frozen=True)
class _NotByPrice:
    """What is chosen before a cheaper one, as `ServiceQuery.where`: where the person's money lies
    and, where they are asked for, those whose evidence passed our check."""

    providers: frozenset[str]
    passed: bool = True

    def q(self) -> Q:
        words = sorted(assurance.ENOUGH) if self.passed else ()
        passed = map(attestation.verified_filter, words)
        return reduce(or_, passed, Q(provider__in=self.providers))


def offered(query: ledger.ServiceQuery, user: User | None) -> list[Listing]:
    """What one can choose from: the cheapest of a query, one per provider, and on a network with
    more of them those that `first` would choose before a cheaper one (3 queries, 9 there, and 3
    more where so many passed)."""
    page = ledger.services(query, page_size=ledger.MAX_PAGE_SIZE)
    found = {(x.provider, x.serving): x for x in page.items}
    if page.count > len(found):
        positions = ledger.account(user.address).positions if user else ()
        where = _NotByPrice(frozenset(x.provider for x in positions))
        dearer = ledger.services(replace(query, where=where), page_size=ledger.MAX_PAGE_SIZE)
        found |= {(x.provider, x.serving): x for x in dearer.items}
        if where.providers and dearer.count > len(dearer.items):
            where = replace(where, passed=False)  # what is missing of these is dearer still
            mine = ledger.services(replace(query, where=where), page_size=ledger.MAX_PAGE_SIZE)
            found |= {(x.provider, x.serving): x for x in mine.items}
    return readiness.one_each(found.values())


def first(
    user: User | None,
    listings: Sequence[Listing],
    medium: Medium,
    usual_fee: Callable[[Listing, Medium], int | None] = lambda *_: None,
) -> Chosen:
    """Of services in the order of their price: where the person's money pays for a request now (of
    several the one that they asked last), else the first whose evidence passed our check and whose
    way is no plain http, else the first; of those whose evidence failed only where there are no
    others (up to 5 queries).
    `usual_fee`: as for `readiness.check`, of each.
    """
    known = attestation.standings([ServiceKey.of(x) for x in listings])
    words = {x: known[ServiceKey.of(x)].overall.removeprefix(DEVELOPMENT) for x in listings}
    listings = [x for x in listings if not known[ServiceKey.of(x)].failed] or listings
    funded = list(paid_for(user, listings, lambda x: usual_fee(x, medium))) if user else []
    if len(funded) > 1:
        mine = Chat.objects.filter(owner=user, medium=medium, asked=True, deleted_at=None)
        last = mine.order_by("-updated_at").values_list("provider", flat=True).first()
        if last in (found := {x.provider: x for x in reversed(funded)}):
            return Chosen(found[last], _("Chosen because you asked it last."))
    if funded:
        return Chosen(funded[0], _("Chosen because you have a balance there."))
    for listing in listings:
        passed = listing.tee_signer_acknowledged and words[listing] in assurance.ENOUGH
        if passed and not assurance.in_clear(listing.url):
            if words[listing] == "pass":
                why = _("Chosen as the cheapest whose evidence passed our check.")
            else:
                why = _("Chosen as the cheapest whose evidence passed our check, with warnings.")
            return Chosen(listing, why)
    return Chosen(listings[0] if listings else None)


def paid_for(user: User, listings: Sequence[Listing], fee: Fee) -> Iterator[Listing]:
    """Those where the person's money pays for a request now (2 queries)."""
    positions = {(x.provider, x.serving): x for x in ledger.account(user.address).positions}
    for listing in listings:
        held = positions.get((listing.provider, listing.serving))
        if held is None:
            continue
        has = Held(0, held.spendable, acknowledged=held.acknowledged)
        # A key that is yet to be accepted costs nothing but a signature: the money is there.
        found = readiness.check(user, listing, fee=fee(listing), has=has)
        if found.code in ("ready", "not_acknowledged"):
            yield listing
