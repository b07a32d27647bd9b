"""Facts that follow from a listing's own history on chain, whatever its evidence says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from attestation.models import Fact, Finding
from ledger import consents
from ledger.models import Service, ServiceChange, SubAccount
from ledger.records import Listing

#: Holders of one listing that are looked at one by one.
MAX_HOLDERS = 5_000
#: Its removals that are looked at for another key.
MAX_GONE = 50


@dataclass(frozen=True)
class Seen:
    """A fact as it is now: what it is about, whom else it concerns."""

    fact: Fact
    subject: str
    other: str = ""
    detail: Mapping[str, Any] | None = None


def said(fact: Fact, provider: str, other: str, subject: str) -> bool:
    """Whether it is already said from the other side."""
    rows = Finding.objects.filter(kind=fact, provider=provider, other_provider=other)
    return rows.filter(subject=subject, closed_at__isnull=True).exists()


def _newest(listing: Listing, *changes: str) -> ServiceChange | None:
    """However many others came after it: anybody may change a URL often."""
    rows = ServiceChange.objects.filter(
        provider=listing.provider, serving=listing.serving, change__in=changes
    )
    return rows.order_by("-block", "-sequence", "-pk").first()


def url_changed(listing: Listing) -> list[Seen]:
    """A new URL keeps the owner's acknowledgement (contracts.md 6.6): nobody looked at it there."""
    if not listing.tee_signer_acknowledged:
        return []
    row = _newest(listing, "url", "acknowledged", "registered")
    if row is None or row.change != "url":
        return []
    detail = {"block": row.block, **_both(row, "url")}
    return [Seen(Fact.URL_CHANGED, listing.url[:500], detail=detail)]


def signer_differs(listing: Listing) -> list[Seen]:
    """Users whose money was put there when another key signed for it (contracts.md 6.6)."""
    change = _replaced(listing)
    if change is None:
        return []
    holders = set(
        SubAccount.current.filter(
            provider=listing.provider, serving=listing.serving, live=True, acknowledged=True
        )
        .exclude(balance=0)
        .values_list("user", flat=True)[:MAX_HOLDERS]
    )
    # When what was there before our first block had been acknowledged is not known.
    given = consents.by_money(
        provider=listing.provider, serving=listing.serving, user__in=holders
    ).exclude(kind="opening")
    later = Q(block__gt=change.block) | Q(block=change.block, sequence__gt=change.sequence)
    renewed = set(given.filter(later).values_list("user", flat=True))
    earlier = set(given.exclude(later).values_list("user", flat=True)) - renewed
    if earlier:
        there = listing.kind, listing.serving, listing.provider
        renewed |= consents.by_call(*there, earlier, change.block)
        earlier -= renewed
    if not earlier:
        return []
    detail = {
        "before": _key_before(change),
        "after": listing.tee_signer,
        "block": change.block,
        "accounts": len(earlier),
        # Neither a transfer before nor one after: when they accepted which key is not known.
        "unknown": len(holders - earlier - renewed),
    }
    return [Seen(Fact.SIGNER_DIFFERS, listing.tee_signer, detail=detail)]


def _replaced(listing: Listing) -> ServiceChange | None:
    """By what its newest key took the place of another one: a change, or that it went and came
    again, which leaves the users' acknowledgements as they are, too (2 queries)."""
    found = [_newest(listing, "signer")]
    gone = ServiceChange.objects.filter(
        provider=listing.provider, serving=listing.serving, change="removed"
    ).order_by("-block", "-sequence", "-pk")[:MAX_GONE]
    found += [row for row in gone if _key_before(row) != listing.tee_signer][:1]
    newest = max(filter(None, found), key=lambda row: (row.block, row.sequence), default=None)
    return newest if newest is not None and int(_key_before(newest) or "0", 16) else None


def _key_before(row: ServiceChange) -> str:
    return _both(row, "tee_signer")["before"]


def signer_reused(listing: Listing) -> list[Seen]:
    """Two providers name the same key on chain, whatever their evidence says."""
    signer = listing.tee_signer
    if not int(signer or "0", 16):
        return []
    others = Service.current.filter(removed=False, tee_signer=signer)
    if listing.tee_signer_acknowledged:  # anybody may name a key of another's
        others = others.filter(tee_signer_acknowledged=True)
    first = others.exclude(provider=listing.provider).order_by("created_block", "pk").first()
    if first is None or said(Fact.SIGNER_REUSED, first.provider, listing.provider, signer):
        return []
    detail = {"other_kind": first.kind, "block": listing.block}
    return [Seen(Fact.SIGNER_REUSED, signer, first.provider, detail)]


def _both(row: ServiceChange, name: str) -> dict[str, str]:
    """The value before and after, as the timeline holds them."""
    return {
        "before": str((row.before or {}).get(name) or ""),
        "after": str((row.after or {}).get(name) or ""),
    }
