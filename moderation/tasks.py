"""Background work: the queue is found anew."""

from __future__ import annotations

from celery import shared_task

from moderation import looking
from net.locks import alone

#: One sweep at a time, over all workers: "0GMODR".
LOCK = 0x3047_4D4F_4452


@shared_task(name="moderation.sweep", expires=55)
def sweep() -> int:
    """Every minute by beat; the number of new items. Nothing ends by it: what expires does so by
    the clock of its reader."""
    with alone(LOCK) as free:
        return looking.sweep() if free else 0
