"""The worker's part that concerns every app."""

from __future__ import annotations

from celery import shared_task

from marketplace import retention


@shared_task(name="marketplace.prune", ignore_result=True, expires=3600)
def prune() -> int:
    """Daily by beat; returns how many rows went."""
    return sum(found.rows for found in retention.prune())
