"""Background work: sent transactions are followed even when nobody looks at a page."""

from __future__ import annotations

from celery import shared_task

from accounts import follow


@shared_task(name="accounts.follow_intents", ignore_result=True, expires=10)
def follow_intents() -> None:
    """Every few seconds by beat; a second one at the same time finds every row claimed and does
    nothing.
    """
    follow.look_at_all()
