"""How much one person may keep here: pictures and recordings, made, brought or sent; vectors."""

from __future__ import annotations

from django.conf import settings
from django.db.models import F, Sum
from django.utils.translation import gettext as _

from accounts.models import User
from inference.errors import BadPrompt
from inference.media.models import File
from inference.models import Medium, Turn


def used(user: User) -> int:
    """Bytes of a person's files, and of requests for vectors with their answers."""
    own = {"chat__owner": user, "chat__deleted_at": None}
    files = File.objects.filter(**own).aggregate(sum=Sum("size"))["sum"] or 0
    asked = Turn.objects.filter(**own, chat__medium=Medium.EMBED)
    both = Sum(F("request_bytes") + F("response_bytes"))
    return files + (asked.aggregate(sum=both)["sum"] or 0)


def require(user: User, size: int) -> None:
    """Raises BadPrompt where `size` bytes more are too many; exact while the user's row is held."""
    if used(user) + size > settings.MEDIA_QUOTA:
        raise BadPrompt(
            _("Your files here fill their %(media_quota)s MB. Delete some first.")
            % {"media_quota": settings.MEDIA_QUOTA >> 20}
        )
