"""Background work: the queue is found anew."""

from __future__ import annotations

from celery import shared_task
from django.db import connection

from moderation import looking

#: One sweep at a time, over all workers: "0GMODR".
LOCK = 0x3047_4D4F_4452


@shared_task(name="moderation.sweep", ignore_result=True, expires=55)
def sweep() -> int:
    """Every minute by beat; the number of new items. Nothing ends by it: what expires does so by
    the clock of its reader."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return 0
    try:
        return looking.sweep()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
