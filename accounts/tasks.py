"""Background work: sent transactions are followed even when nobody looks at a page."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from accounts import follow, personal_erase, personal_export


@shared_task(name="accounts.follow_intents", expires=10)
def follow_intents() -> None:
    """Every few seconds by beat; a second one at the same time finds every row claimed and does
    nothing.
    """
    follow.look_at_all()


#: Persons whose files or wishes are put into the queue in one go.
AT_ONCE = 50
#: Reading or deleting the years of one person takes a while (seconds).
LONGEST = 3600


@shared_task(name="accounts.export_person", time_limit=LONGEST)
def export_person(export_id: str) -> None:
    """Make the file that somebody asked for; harmless when another worker has it."""
    personal_export.make(export_id)


@shared_task(name="accounts.erase_person", time_limit=LONGEST)
def erase_person(erasure_id: str) -> None:
    """Forget somebody whose wish is due; goes on where the last try was left."""
    personal_erase.run(erasure_id)


@shared_task(name="accounts.sweep_personal", expires=25)
def sweep_personal() -> None:
    """By beat: what waits, what is due, and what a dead worker left."""
    now = timezone.now()
    for export in personal_export.due(now).order_by("created_at")[:AT_ONCE]:
        export_person.delay(str(export.pk))
    for erasure in personal_erase.due(now).order_by("due_at")[:AT_ONCE]:
        erase_person.delay(str(erasure.pk))
