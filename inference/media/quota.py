"""How much of files one person may keep here: pictures and recordings, made, brought or sent."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Sum
from django.utils.translation import gettext as _

from accounts.models import User
from inference.errors import BadPrompt
from inference.media.models import File


def used(user: User) -> int:
    """Bytes of a person's files."""
    rows = File.objects.filter(chat__owner=user, chat__deleted_at=None)
    return rows.aggregate(sum=Sum("size"))["sum"] or 0


def require(user: User, size: int) -> None:
    """Raises BadPrompt where `size` bytes more are too many; exact while the user's row is held."""
    if used(user) + size > settings.MEDIA_QUOTA:
        raise BadPrompt(
            _("Your files here fill their %(media_quota)s MB. Delete some first.")
            % {"media_quota": settings.MEDIA_QUOTA >> 20}
        )
