"""The worker's part that concerns every app."""

from __future__ import annotations

from celery import shared_task
from django.core.cache import cache

from marketplace import announcements, components, dumps, retention

#: Seconds between two runs, and where the last one is noted. Beat asks every few minutes: its own
#: clock begins anew in every container, and of one that is replaced daily no day would ever end.
DAY, LAST_PRUNED = 24 * 3600, "marketplace:last-pruned"


@shared_task(name="marketplace.prune", expires=600)
def prune() -> int:
    """Once a day, however often beat asks and restarts; returns how many rows went."""
    if cache.get(LAST_PRUNED):
        return 0
    gone = sum(found.rows for found in retention.prune())
    # After it: a worker that died in the middle has not pruned. Two at once do no harm.
    cache.set(LAST_PRUNED, 1, timeout=DAY)
    return gone


@shared_task(name="marketplace.watch", expires=60)
def watch() -> bool:
    """Look at the parts of this site, once in each period, also while the database is away; what is
    announced is told again to an emptied Redis."""
    try:
        return components.watch()
    finally:
        announcements.tell()


@shared_task(name="marketplace.dump", expires=600, time_limit=dumps.ABANDONED)
def dump() -> bool:
    """The public data dump of this day, if this site makes any and it is not there."""
    return dumps.make() is not None
