"""When and where a notification is delivered outside the inbox."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

from alerts.models import Channels, Delivery, Hook, Notification, Rule

#: The daily mail leaves at this hour, UTC.
DIGEST_HOUR = 7


def deliveries(rows: Iterable[Notification], rules: Mapping[int, Rule], now: dt.datetime) -> None:
    """Make the deliveries that the rules of these notifications ask for (2 queries to read)."""
    rows = list(rows)
    users = {row.user_id for row in rows}
    mail = {c.user_id: c for c in Channels.objects.filter(user__in=users)}
    hooks: dict[int, list[Hook]] = {}
    for hook in Hook.objects.filter(user__in=users, enabled=True):
        hooks.setdefault(hook.user_id, []).append(hook)
    made = []
    for row in rows:
        rule = rules.get(row.rule_id or 0)
        if rule is None:
            continue
        way = mail.get(row.user_id)
        if rule.by_email and way is not None and way.email_verified_at is not None:
            due = _next_digest(now) if way.digest else now
            made.append(_delivery(row, None, now, due))
        if rule.by_hook:
            chosen = (h for h in hooks.get(row.user_id, ()) if rule.hook_id in (None, h.pk))
            made += [_delivery(row, hook, now, now) for hook in chosen]
    Delivery.objects.bulk_create(made)


def _delivery(row: Notification, hook: Hook | None, now: dt.datetime, due: dt.datetime) -> Delivery:
    return Delivery(user_id=row.user_id, notification=row, hook=hook, created_at=now, due_at=due)


def _next_digest(now: dt.datetime) -> dt.datetime:
    today = now.astimezone(dt.UTC).replace(hour=DIGEST_HOUR, minute=0, second=0, microsecond=0)
    return today if today > now else today + dt.timedelta(days=1)
