"""Whose services somebody owns, and how they stand: what several of an operator's pages read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attestation import selectors as attestation
from attestation.selectors import ServiceKey, StandingView
from chain.selectors import Freshness
from ledger import selectors as ledger
from ledger.records import Listing
from moderation import selectors as moderation
from operators import banners, wallets
from operators.banners import Banner
from probes import selectors as probes
from probes.selectors import HealthView


def services(address: str) -> tuple[Listing, ...]:
    """All of them, those still listed first (2 queries)."""
    found = ledger.services_of(address, include_removed=True)
    return tuple(sorted(found, key=lambda one: one.removed))


@dataclass(frozen=True)
class Condition:
    """How the services of one wallet stand, with what needs their owner."""

    health: Mapping[ServiceKey, HealthView]
    standings: Mapping[ServiceKey, StandingView]
    banners: tuple[Banner, ...]


def condition(listings: Sequence[Listing], head: Freshness, now: dt.datetime) -> Condition:
    """7 queries, 8 where a key failed, whatever the number of services."""
    keys = [ServiceKey.of(one) for one in listings]
    health, standings = probes.health_of(keys, now), attestation.standings(keys, now)
    provider = listings[0].provider if listings else ""
    findings = attestation.findings(provider, open_only=True)
    return Condition(
        health,
        standings,
        (
            *banners.of_index(head),
            *banners.of_decisions(listings, moderation.of_listings(listings)),
            *banners.of_wallet(listings, wallets.known(provider), now),
            *banners.of_services(listings, health, standings, findings, now),
        ),
    )
