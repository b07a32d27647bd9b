"""Background work: sent transactions are followed even when nobody looks at a page."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from accounts import follow, personal_erase, personal_export


@shared_task(name="accounts.follow_intents", ignore_result=True, expires=10)
def follow_intents() -> None:
    """Every few seconds by beat; a second one at the same time finds every row claimed and does
    nothing.
    """
    follow.look_at_all()


#: Reading or deleting the years of one person takes a while (seconds).
LONGEST = 3600


@shared_task(name="accounts.export_person", ignore_result=True, time_limit=LONGEST)
def export_person(export_id: str) -> None:
    """Make the file that somebody asked for; harmless when another worker has it."""
    personal_export.make(export_id)


@shared_task(name="accounts.erase_person", ignore_result=True, time_limit=LONGEST)
def erase_person(erasure_id: str) -> None:
    """Forget somebody whose wish is due; goes on where the last try was left."""
    personal_erase.run(erasure_id)


@shared_task(name="accounts.sweep_personal", ignore_result=True, expires=25)
def sweep_personal() -> None:
    """By beat: what waits, what is due, and what a dead worker left."""
    now = timezone.now()
    for export_id in personal_export.due(now):
        export_person.delay(export_id)
    for erasure_id in personal_erase.due(now):
        erase_person.delay(erasure_id)
