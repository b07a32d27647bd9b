"""Background work: rules are looked at, what is due is sent, and the bot is heard."""

from __future__ import annotations

from celery import shared_task

from alerts import deliver, services, telegram
from net.locks import alone

#: One sweep at a time, and one reader of the bot, over all workers: "0GALRT", "0GTELE".
LOCK, READER = 0x3047_414C_5254, 0x3047_5445_4C45


@shared_task(name="alerts.sweep", expires=14)
def sweep() -> int:
    """Every few seconds by beat; the number of new notifications."""
    with alone(LOCK) as free:
        return services.sweep() if free else 0


@shared_task(name="alerts.deliver", expires=9)
def send_due() -> int:
    """Every few seconds by beat; the number of tries. Two at once share the work."""
    return deliver.send_due()


@shared_task(name="alerts.telegram", expires=4)
def hear_telegram() -> int:
    """Every few seconds by beat where the site has a bot; the number of chats connected."""
    with alone(READER) as free:
        return telegram.listen() if free else 0
