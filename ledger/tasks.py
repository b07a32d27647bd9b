"""Background work: our rows are compared with the chain on a schedule."""

from __future__ import annotations

import logging

from celery import shared_task

from ledger import reconcile
from net.locks import alone

logger = logging.getLogger(__name__)

#: PostgreSQL advisory lock of one reconciliation at a time: "0G check" in bytes.
LOCK = 0x3047_6368_6563_6B


@shared_task(name="ledger.reconcile", expires=300)
def reconcile_sample() -> int | None:
    """Every ten minutes by beat; the number of differences, None when there was no result."""
    with alone(LOCK) as free:
        run = reconcile.reconcile() if free else None
    if run is None or run.error:
        return None
    if run.drift:
        logger.error("rows differ from the chain", extra={"drift": run.drift, "block": run.block})
    return run.drift
