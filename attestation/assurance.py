"""May something private be sent to a service now? The strict reading of what is known (features.md
C17): attested within a day, with at most warnings, and the listing still the one that was checked.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.utils import timezone

from attestation import declared, selectors, standings
from attestation.models import Standing, Verification
from attestation.selectors import DEVELOPMENT, EXPIRED, NEVER, ServiceKey, StandingView
from chain import selectors as chain
from ledger.records import Listing

#: Words that count. A warning is true and known, weaker than best (a layout without a nonce, say);
#: `partial` means that a required part was not seen at all.
ENOUGH = frozenset({"pass", "warn"})

Reason = Literal[
    "",
    "never",
    "expired",
    "fail",
    "weak",
    "changed",
    "other_signer",
    "index_behind",
    "no_signer",
    "routed",
    "in_clear",
]


@dataclass(frozen=True)
class Assurance:
    """`reason` is empty where it may be sent. `development`: it counts on a devnet only."""

    reason: Reason
    overall: str
    checked_at: dt.datetime | None
    development: bool = False

    @property
    def holds(self) -> bool:
        return not self.reason


def of(listing: Listing, signer: str, now: dt.datetime | None = None) -> Assurance:
    """Judge a listing as the index holds it; `signer` is the key that will sign (up to 4 queries).

    Where the index does not agree with the node now, nobody knows the signer of now.
    """
    return of_all([(listing, signer)], now)[0]


def of_all(
    services: Sequence[tuple[Listing, str]], now: dt.datetime | None = None
) -> list[Assurance]:
    """The same of many, in their order (up to 4 queries, however many)."""
    now = now or timezone.now()
    keys = [ServiceKey.of(listing) for listing, _ in services]
    views = selectors.standings(keys, now)
    reasons = [
        _at_first_sight(listing, signer, views[key])
        for key, (listing, signer) in zip(keys, services, strict=True)
    ]
    likely = {key for key, reason in zip(keys, reasons, strict=True) if not reason}
    fresh = bool(likely) and chain.head(now).state == "fresh"
    evidence = _evidence(likely) if fresh else {}
    assured = []
    for key, (listing, signer), reason in zip(keys, services, reasons, strict=True):
        if not reason:
            reason = _by_evidence(listing, signer, *evidence[key]) if fresh else "index_behind"
        view = views[key]
        assured.append(Assurance(reason, view.overall, view.checked_at, view.development))
    return assured


def in_clear(url: str) -> bool:
    """Whether the question and the key would travel readable for anybody on the way; a devnet's
    providers are on this machine."""
    return url.lower().startswith("http://") and not settings.IS_DEVNET


def _at_first_sight(listing: Listing, signer: str, view: StandingView) -> Reason:
    """Why it does not hold, by the word about it and by its listing alone."""
    word = view.overall.removeprefix(DEVELOPMENT)
    if view.changed:
        return "changed"
    if view.failed:
        return "fail"
    if word in (NEVER, EXPIRED):
        return "never" if word == NEVER else "expired"
    if word not in ENOUGH:
        return "weak"
    if not signer:
        return "no_signer"
    # The attested machine is only the way to somebody else's, who reads the question
    # (attestation.md 13.3: "routed", never "private").
    routed = declared.of(listing.verifiability, listing.additional_info).word == "centralized"
    if routed:
        return "routed"
    return "in_clear" if in_clear(listing.url) else ""


def _by_evidence(
    listing: Listing, signer: str, standing: Standing, runs: list[Verification]
) -> Reason:
    if standing.basis != standings.basis_of(listing):
        return "changed"
    if signer.lower() not in {run.attested_signer.lower() for run in runs}:
        return "other_signer"
    # A warning hides in one word that another required part was not seen.
    return "" if all(map(_whole, runs)) else "weak"


def _evidence(services: set[ServiceKey]) -> dict[ServiceKey, tuple[Standing, list[Verification]]]:
    """Each service's standing, and the runs that the newest verdicts of its machines are of (2
    queries).
    """
    rows = Standing.objects.filter(provider__in={key.provider for key in services})
    found = {ServiceKey.of(row): row for row in rows}
    ids = {
        key: [pk for entry in found[key].endpoints.values() if (pk := entry.get("verification"))]
        for key in services
    }
    wanted = Verification.objects.filter(pk__in={pk for some in ids.values() for pk in some})
    runs = {str(run.pk): run for run in wanted.only("attested_signer", "rows")}
    return {key: (found[key], [runs[pk] for pk in ids[key] if pk in runs]) for key in services}


def _whole(run: Verification) -> bool:
    """Whether nothing required was left out of sight."""
    return all(row["verdict"] in ENOUGH for row in run.rows if row["required"])
