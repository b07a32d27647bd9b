"""What a rule would have told in the last 30 days, where the past is kept."""

from __future__ import annotations

import datetime as dt

from accounts.models import User
from alerts import conditions, listing_changes, own_service, words
from alerts.conditions import Hit
from alerts.kinds import CHANGES, Kind
from alerts.models import Rule
from alerts.services import Wish
from attestation.models import Finding
from ledger.models import ServiceChange

WINDOW = dt.timedelta(days=30)
MOST = 20


def hits(user: User, wish: Wish, now: dt.datetime) -> list[Hit] | None:
    """Newest first, at most `MOST`; None for kinds whose past cannot be told (5 queries)."""
    rule = Rule(pk=0, user=user, kind=wish.kind, provider=wish.provider, percent=wish.percent)
    providers = conditions.scopes([rule])[0]
    since = now - WINDOW
    if wish.kind == Kind.VERIFICATION:
        found = Finding.objects.filter(
            provider__in=providers, kind__in=words.FINDINGS, opened_at__gt=since
        ).order_by("-opened_at")
        return [conditions.finding_hit(row) for row in found[:MOST]]
    if wish.kind == Kind.UNPAID:
        return own_service.unpaid_since([user.address], since).get(user.address, [])[:MOST]
    if wish.kind not in CHANGES:
        return None
    rows = ServiceChange.objects.filter(
        pending=False, change__in=CHANGES[wish.kind], provider__in=providers, at__gt=since
    ).order_by("-block", "-sequence")
    counted = [row for row in rows[: MOST * 10] if listing_changes.counts(rule, row)]
    types = listing_changes.service_types(counted) if wish.kind == Kind.PRICE else {}
    return [listing_changes.change_hit(wish.kind, [row], types) for row in counted[:MOST]]
