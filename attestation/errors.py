"""Why there is no run."""

from __future__ import annotations

from django.utils.translation import gettext as _


class NotVerified(Exception):
    """Base of everything that keeps a run from being made; the text is for people."""


class UnknownService(NotVerified):
    """No provider offers this service now."""


class Busy(NotVerified):
    """Another run of the same service is under way."""


class LineDown(NotVerified):
    """Neither this provider nor any other that answered lately can be reached."""


class TooSoon(NotVerified):
    """Somebody asked for this provider less than a minute ago, or one caller for too many."""

    def __init__(self, retry_after: int, why: str = "") -> None:
        self.retry_after = retry_after
        why = why or _("This provider was checked just now")
        text = _("%(why)s; ask again in %(seconds)s s.")
        super().__init__(text % {"why": why, "seconds": retry_after})


class QueueDown(NotVerified):
    """The queue of background work cannot be reached."""


class BadUpload(NotVerified):
    """What was uploaded cannot be read as evidence."""


class NoEvidence(NotVerified):
    """The run holds nothing that could be judged again."""
