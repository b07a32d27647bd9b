"""Background work: our rows are compared with the chain on a schedule."""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import connection

from ledger import reconcile

logger = logging.getLogger(__name__)

#: PostgreSQL advisory lock of one reconciliation at a time: "0G check" in bytes.
LOCK = 0x3047_6368_6563_6B


@shared_task(name="ledger.reconcile", expires=300)
def reconcile_sample() -> int | None:
    """Every ten minutes by beat; the number of differences, None when there was no result."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return None
    try:
        run = reconcile.reconcile()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    if run is None or run.error:
        return None
    if run.drift:
        logger.error("rows differ from the chain", extra={"drift": run.drift, "block": run.block})
    return run.drift
