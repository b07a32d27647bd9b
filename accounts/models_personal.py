"""Files that a person asked for of everything kept about them, and requests to be forgotten."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import Q

from accounts.crypto import SealedField


class ExportState(models.TextChoices):
    WAITING = "waiting", "Waiting for a worker"
    RUNNING = "running", "Being made"
    DONE = "done", "Ready"
    FAILED = "failed", "Failed"


#: Being made, or about to be.
OPEN = (ExportState.WAITING, ExportState.RUNNING)


class Export(models.Model):
    """One ZIP of what is kept about a person, in sealed pieces under a key of its own: as secret as
    what it was made of. Gone at `expires_at`, and with the person."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="exports")
    state = models.CharField(max_length=7, choices=ExportState.choices, default=ExportState.WAITING)
    key_sealed = SealedField(help_text="the file's key, under FIELD_KEYS")
    size = models.BigIntegerField(default=0, help_text="bytes")
    pieces = models.IntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    beat_at = models.DateTimeField(null=True, help_text="the worker lived")
    tries = models.IntegerField(default=0)
    done_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["user"],
                condition=Q(state__in=OPEN),
                name="one_export_at_a_time",
            )
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["user", "-created_at"])]

    def __str__(self) -> str:
        return f"export of {self.user_id} {self.state}"

    @property
    def open(self) -> bool:
        return self.state in OPEN

    def ready(self, now: datetime) -> bool:
        """Whether it can be fetched."""
        return self.state == ExportState.DONE and now < self.expires_at


class ExportPiece(models.Model):
    """A part of the file, in order; its place is authenticated with it."""

    export = models.ForeignKey(Export, on_delete=models.CASCADE, related_name="parts")
    number = models.IntegerField()
    sealed = models.BinaryField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["export", "number"], name="export_piece_once")
        ]

    def __str__(self) -> str:
        return f"piece {self.number} of {self.export_id}"


class Erasure(models.Model):
    """Somebody wants to be forgotten: not before `due_at`, so that it can be undone (the row then
    goes). Once done it names nobody: `user` is null, and `done` holds numbers of rows. (Of a wallet
    that staff had `blocked`, the block outlives it: an empty account.)"""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.OneToOneField(
        "accounts.User", null=True, on_delete=models.SET_NULL, related_name="erasure"
    )
    asked_at = models.DateTimeField()
    due_at = models.DateTimeField()
    began_at = models.DateTimeField(null=True, help_text="from then on it cannot be undone")
    blocked = models.BooleanField(
        default=False, db_default=False, help_text="might not sign in as it began"
    )
    beat_at = models.DateTimeField(null=True, help_text="the worker lived")
    done = models.JSONField(default=dict, help_text="{category: rows} of those that are gone")
    done_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], name="erasures_due", condition=Q(done_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"erasure asked {self.asked_at:%Y-%m-%d}"
