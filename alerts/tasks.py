"""Background work: rules are looked at, what is due is sent, and the bot is heard."""

from __future__ import annotations

from collections.abc import Callable

from celery import shared_task
from django.db import connection

from alerts import deliver, services, telegram

#: One sweep at a time, and one reader of the bot, over all workers: "0GALRT", "0GTELE".
LOCK, READER = 0x3047_414C_5254, 0x3047_5445_4C45


@shared_task(name="alerts.sweep", ignore_result=True, expires=14)
def sweep() -> int:
    """Every few seconds by beat; the number of new notifications."""
    return _alone(LOCK, services.sweep)


@shared_task(name="alerts.deliver", ignore_result=True, expires=9)
def send_due() -> int:
    """Every few seconds by beat; the number of tries. Two at once share the work."""
    return deliver.send_due()


@shared_task(name="alerts.telegram", ignore_result=True, expires=4)
def hear_telegram() -> int:
    """Every few seconds by beat where the site has a bot; the number of chats connected."""
    return _alone(READER, telegram.listen)


def _alone(lock: int, work: Callable[[], int]) -> int:
    """What `work` says; 0 while somebody else does the same."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [lock])
        if not cursor.fetchone()[0]:
            return 0
    try:
        return work()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [lock])
