"""How this site itself was doing, and what staff said about it. Nothing here names a person: who
wrote an announcement stands in the record of staff."""

from __future__ import annotations

import datetime as dt
from typing import ClassVar

from django.db import models


class Look(models.Model):
    """One look at the parts of the site, at most one for each period of `components.PERIOD`."""

    at = models.DateTimeField(primary_key=True, help_text="beginning of its period")
    states = models.JSONField(help_text="component -> up, degraded or down; left out: unknown")
    answered = models.BigIntegerField(default=0, help_text="requests, as counted until then")
    failed = models.BigIntegerField(default=0, help_text="of these with a 5xx")
    database = models.BigIntegerField(null=True, help_text="bytes")

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}"


class ComponentDay(models.Model):
    """How many looks at one component said what, on one day (UTC)."""

    component = models.CharField(max_length=16)
    day = models.DateField()
    up = models.IntegerField(default=0)
    degraded = models.IntegerField(default=0)
    down = models.IntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["component", "day"], name="component_once_a_day")
        ]

    def __str__(self) -> str:
        return f"{self.component} {self.day}"


class AnnouncementKind(models.TextChoices):
    INCIDENT = "incident", "Incident"
    MAINTENANCE = "maintenance", "Maintenance"


class Announcement(models.Model):
    """An incident or a maintenance of this site. Maintenance ends at `ends_at` by itself; an
    incident when staff says so. What was said is in its updates, the first one included."""

    kind = models.CharField(max_length=11, choices=AnnouncementKind.choices)
    title = models.CharField(max_length=120)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, help_text="NULL: not known yet")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["-starts_at"], name="announcements_newest")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    def state(self, now: dt.datetime) -> str:
        """`planned`, `open` or `over`."""
        if self.starts_at > now:
            return "planned"
        return "over" if self.ends_at is not None and self.ends_at <= now else "open"


class Update(models.Model):
    """What staff said about it, at one moment."""

    announcement = models.ForeignKey(Announcement, on_delete=models.CASCADE, related_name="updates")
    at = models.DateTimeField()
    text = models.TextField()

    class Meta:
        ordering: ClassVar[list[str]] = ["-at", "-pk"]

    def __str__(self) -> str:
        return f"update {self.pk} of {self.announcement_id}"
