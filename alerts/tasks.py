"""Background work: rules are looked at, and what is due is sent."""

from __future__ import annotations

from celery import shared_task
from django.db import connection

from alerts import deliver, services

#: One sweep at a time, over all workers: "0GALRT".
LOCK = 0x3047_414C_5254


@shared_task(name="alerts.sweep", ignore_result=True, expires=14)
def sweep() -> int:
    """Every few seconds by beat; the number of new notifications."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return 0
    try:
        return services.sweep()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


@shared_task(name="alerts.deliver", ignore_result=True, expires=9)
def send_due() -> int:
    """Every few seconds by beat; the number of tries. Two at once share the work."""
    return deliver.send_due()
