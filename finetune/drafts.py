"""Drafts of a person: which there are, and the minute in which a deleted one comes back."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.errors import Problem
from accounts.models import User
from finetune.models import Draft

#: A deleted draft can be brought back for so long.
UNDO_FOR = timedelta(seconds=60)


def of(user: User) -> QuerySet[Draft]:
    """Those that are not deleted, the last changed first."""
    return user.tuning_drafts.filter(deleted_at=None).order_by("-updated_at")


def one(user: User, draft_id: UUID) -> Draft:
    """One of them. Raises Problem where there is none: its page was open, or is gone back to."""
    rows = of(user).select_related("user", "dataset__file")
    found = rows.filter(pk=draft_id).first()
    if found is None:
        raise Problem(
            "draft_gone",
            _("This draft became a task, in another tab perhaps, or was deleted."),
            _("See “Your tasks” under Fine-tuning."),
            status=404,
        )
    return found


def delete(draft: Draft) -> None:
    """Take a draft away; `bring_back` undoes it for a while. A task that it became stays, and one
    that a provider has and did not tell of can be found."""
    Draft.objects.filter(pk=draft.pk, deleted_at=None).update(deleted_at=timezone.now())


def comes_back(user: User, draft: UUID | None) -> UUID | None:
    """What an address says was deleted, where that can still be undone."""
    return draft if draft is not None and _lately(user).filter(pk=draft).exists() else None


def bring_back(user: User, draft: UUID) -> bool:
    """Whether it is there (again)."""
    _lately(user).filter(pk=draft).update(deleted_at=None)
    return of(user).filter(pk=draft).exists()


def _lately(user: User) -> QuerySet[Draft]:
    return user.tuning_drafts.filter(deleted_at__gt=timezone.now() - UNDO_FOR)


def purge() -> None:
    """Delete for good what was deleted a while ago."""
    Draft.objects.filter(deleted_at__lt=timezone.now() - UNDO_FOR).delete()
