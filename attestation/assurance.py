"""May something private be sent to a service now? The strict reading of what is known (features.md
C17): attested within a day, with at most warnings, and the listing still the one that was checked.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from django.utils import timezone

from attestation import declared, standings
from attestation.models import Standing, Verification
from attestation.selectors import DEVELOPMENT, EXPIRED, NEVER, ServiceKey, standing_of
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
    """Judge a listing as the index holds it; `signer` is the key that will sign (4 queries).

    Where the index does not agree with the node now, nobody knows the signer of now.
    """
    now = now or timezone.now()
    view = standing_of(ServiceKey.of(listing), now)

    def found(reason: Reason) -> Assurance:
        return Assurance(reason, view.overall, view.checked_at, view.development)

    word = view.overall.removeprefix(DEVELOPMENT)
    if word in (NEVER, EXPIRED):
        return found("never" if word == NEVER else "expired")
    if word not in ENOUGH:
        return found("fail" if word == "fail" else "weak")
    if not signer:
        return found("no_signer")
    # The attested machine is only the way to somebody else's, who reads the question
    # (attestation.md 13.3: "routed", never "private").
    if declared.of(listing.verifiability, listing.additional_info).word == "centralized":
        return found("routed")
    if chain.head(now).state != "fresh":
        return found("index_behind")
    standing = Standing.objects.get(
        provider=listing.provider, kind=listing.kind, service_name=listing.service_name
    )
    if standing.basis != standings.basis_of(listing):
        return found("changed")
    runs = _runs(standing)
    if signer.lower() not in {run.attested_signer.lower() for run in runs}:
        return found("other_signer")
    # A warning hides in one word that another required part was not seen.
    return found("" if all(map(_whole, runs)) else "weak")


def _runs(standing: Standing) -> list[Verification]:
    """The runs that the newest verdicts of this service's machines are of."""
    ids = [entry.get("verification") for entry in standing.endpoints.values()]
    rows = Verification.objects.filter(pk__in=filter(None, ids))
    return list(rows.only("attested_signer", "rows"))


def _whole(run: Verification) -> bool:
    """Whether nothing required was left out of sight."""
    return all(row["verdict"] in ENOUGH for row in run.rows if row["required"])
