"""What failed in the background, what staff started, and the few accounts that have a password."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.utils import timezone

from accounts.crypto import SealedField
from accounts.models import User


class FailureState(models.TextChoices):
    OPEN = "open", "Open"
    RETRIED = "retried", "Queued again"
    DISMISSED = "dismissed", "Dismissed"


class FailedTask(models.Model):
    """A background task that raised; the same failure again only raises `times`.

    Arguments are kept where they are ids and numbers. Anything else may be a secret or somebody's
    words: it is not kept, and such a task cannot be queued again from here.
    """

    #: A retry belongs to whoever began it for so long.
    CLAIM: ClassVar[timedelta] = timedelta(minutes=1)

    name = models.CharField(max_length=200)
    task_id = models.CharField(max_length=64, help_text="of the last time")
    args = models.JSONField(default=list)
    kwargs = models.JSONField(default=dict)
    whole = models.BooleanField(default=True, help_text="all arguments are kept")
    error = models.CharField(max_length=200, help_text="the exception's class")
    text = models.TextField(default="", help_text="its sentence, without secrets")
    trace = models.TextField(default="", help_text="end of the traceback, without secrets")
    fingerprint = models.CharField(max_length=64)
    times = models.IntegerField(default=1)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    state = models.CharField(max_length=9, choices=FailureState.choices, default=FailureState.OPEN)
    handled_at = models.DateTimeField(null=True)
    handled_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["fingerprint"],
                condition=models.Q(state=FailureState.OPEN),
                name="failure_once_open",
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["state", "-last_at"], name="failures_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.error}"

    @property
    def can_retry(self) -> bool:
        return self.whole and self.state == FailureState.OPEN

    @property
    def cut_off(self) -> bool:
        """Somebody began to queue it again, and it is not known whether the queue has it."""
        return self.handled_at is not None and self.state == FailureState.OPEN


class JobState(models.TextChoices):
    WAITING = "waiting", "Waiting for a worker"
    RUNNING = "running", "Running"
    ENDED = "ended", "Ended"
    FAILED = "failed", "Failed"
    LOST = "lost", "Lost"


class Job(models.Model):
    """A management command that somebody started from `/ops`; a worker runs it."""

    #: A worker that did not write for so long is dead; nobody took it for so long: no worker.
    SILENT: ClassVar[timedelta] = timedelta(seconds=60)
    UNTAKEN: ClassVar[timedelta] = timedelta(minutes=10)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=40, help_text="`ops.jobs.BUTTONS`")
    state = models.CharField(max_length=7, choices=JobState.choices, default=JobState.WAITING)
    started_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField()
    began_at = models.DateTimeField(null=True)
    beat_at = models.DateTimeField(null=True, help_text="the worker lived")
    ended_at = models.DateTimeField(null=True)
    code = models.IntegerField(null=True, help_text="exit code")
    output = models.TextField(default="", help_text="its last lines, without secrets")
    cut = models.BooleanField(default=False, help_text="earlier lines were dropped")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["name"],
                condition=models.Q(state__in=(JobState.WAITING, JobState.RUNNING)),
                name="job_once_at_a_time",
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["-created_at"], name="jobs_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.state}"

    @property
    def open(self) -> bool:
        return self.state in (JobState.WAITING, JobState.RUNNING)

    def lost(self, now: datetime | None = None) -> bool:
        """Open, but nobody works on it any more."""
        now = now or timezone.now()
        if self.state == JobState.RUNNING:
            return (self.beat_at or self.created_at) < now - self.SILENT
        return self.state == JobState.WAITING and self.created_at < now - self.UNTAKEN


class PasswordAccount(models.Model):
    """How a member of staff without a wallet signs in: name, password (on the user's row) and a
    code of an authenticator app. Made by `manage.py create_staff` alone.

    The user's address is random bytes that nobody has a key of, so no wallet can sign in as it.
    """

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="password_account")
    name = models.CharField(max_length=40, unique=True)
    secret_sealed = SealedField(
        default="", blank=True, help_text="of the authenticator, under FIELD_KEYS"
    )
    enrolled_at = models.DateTimeField(null=True)
    last_step = models.BigIntegerField(
        default=-1, help_text="time step of the last code taken: none works twice"
    )
    recovery = models.JSONField(default=list, help_text="SHA-256 of codes that are left")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name
