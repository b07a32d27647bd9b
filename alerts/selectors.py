"""Reads for the pages of alerts and for the bell."""

from __future__ import annotations

from django.db import connection
from django.db.models import Prefetch, Q, QuerySet

from accounts.models import User
from alerts.models import NAMED, Attempt, Channels, Delivery, Hook, Notification, Rule, named

#: The bell says "99+" beyond.
MOST_COUNTED = 100
#: Shown of a webhook, and of one delivery: who presses *Try now* makes as many as they like.
LAST_DELIVERIES, LAST_TRIES = 20, 20


def unread(user: User) -> int:
    """How many notifications were not read, at most `MOST_COUNTED` (1 query)."""
    with connection.cursor() as cursor:
        cursor.execute(_UNREAD, [user.pk, MOST_COUNTED])
        return int(cursor.fetchone()[0])


# In the header of every page: Django takes ten times longer to write this.
_UNREAD = """
SELECT count(*) FROM (
  SELECT FROM alerts_notification WHERE user_id = %s AND read_at IS NULL LIMIT %s
) AS found
"""


def inbox(user: User, *, only_unread: bool = False) -> QuerySet[Notification]:
    rows = Notification.objects.filter(user=user)
    return (rows.filter(read_at=None) if only_unread else rows).order_by("-at", "-id")


def rules(user: User) -> list[Rule]:
    """The rules that count, in the order they were made (1 query)."""
    return list(Rule.objects.filter(user=user, deleted_at=None).order_by("pk"))


def hooks(user: User) -> list[Hook]:
    return list(Hook.objects.filter(user=user).order_by("created_at"))


def is_used(hook: Hook) -> bool:
    """Whether any rule tells this webhook (1 query)."""
    chosen = Q(hook=None) | Q(hook=hook)
    return Rule.objects.filter(chosen, user=hook.user, deleted_at=None, by_hook=True).exists()


def deliveries(user: User, hook: Hook | None = None) -> list[Delivery]:
    """The newest deliveries with their newest `tries`, the last first (2 queries)."""
    rows = Delivery.objects.filter(user=user)
    if hook is not None:
        rows = rows.filter(hook=hook)
    tries = Prefetch(
        "attempts", Attempt.objects.order_by("-at", "-pk")[:LAST_TRIES], to_attr="tries"
    )
    rows = rows.select_related("hook", "notification").prefetch_related(tries)
    return list(rows.order_by("-created_at", "-id")[:LAST_DELIVERIES])


def feed_owner(token: str) -> User | None:
    """Whose private feed this is."""
    if "\0" in token or len(token) >= NAMED:  # no database holds it; a digest opens nothing
        return None
    known = Channels.objects.filter(feed_token__in=(named(token), token), user__is_active=True)
    way = known.select_related("user").first()
    return None if way is None else way.user
