"""Which access tokens may go: those of requests stay with these."""

from __future__ import annotations

import datetime as dt

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from accounts.models import AccessToken
from inference.models import Turn

KEPT_ENDED = dt.timedelta(days=30)
#: Of one person, whatever their age: a program can make and revoke them without end.
MOST_TOKENS = 300


def tokens(now: dt.datetime) -> QuerySet[AccessToken]:
    """Ended ones that no request names: old ones, and those past a person's newest."""
    ended, before = Q(revoked_at__isnull=False) | Q(expires_at__lte=now), now - KEPT_ENDED
    newest = AccessToken.objects.filter(user=OuterRef("user")).order_by("-created_at")
    past = newest.values("created_at")[MOST_TOKENS : MOST_TOKENS + 1]
    old = Q(revoked_at__lt=before) | Q(expires_at__lt=before) | Q(created_at__lte=Subquery(past))
    return AccessToken.objects.filter(ended, old).exclude(
        Exists(Turn.objects.filter(token=OuterRef("pk")))
    )
