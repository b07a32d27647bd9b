"""Files of pictures and speech, and what a request for them was made of."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from inference.media.uploads import Picture
    from inference.models import Chat, Turn


class Role(models.TextChoices):
    """What a file is to its request."""

    MADE = "made", "made by the provider"
    SOURCE = "source", "the picture to edit"
    MASK = "mask", "where to edit"
    SPOKEN = "spoken", "a piece of the recording"
    ASKED = "asked", "a picture in a question of a chat"


class File(models.Model):
    """The exact bytes of one picture or one piece of a recording, readable with the key of its
    conversation alone (`inference.seals`). `sha256` is what a signature says of a made picture.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    chat = models.ForeignKey("inference.Chat", on_delete=models.CASCADE, related_name="files")
    turn = models.ForeignKey(
        "inference.Turn", null=True, on_delete=models.CASCADE, related_name="files"
    )
    role = models.CharField(max_length=6, choices=Role.choices)
    number = models.SmallIntegerField(default=0)
    sealed = models.BinaryField()
    size = models.BigIntegerField(help_text="bytes, before sealing")
    sha256 = models.CharField(max_length=64)
    media_type = models.CharField(max_length=40)
    width = models.IntegerField(default=0, help_text="pixels")
    height = models.IntegerField(default=0)
    seed = models.CharField(max_length=20, default="", help_text="as the provider says")
    start_ms = models.BigIntegerField(default=0, help_text="of a recording's piece")
    length_ms = models.BigIntegerField(default=0)
    made_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["chat", "turn", "role", "number"], name="file_once"),
            models.UniqueConstraint(
                fields=["chat", "number"],
                condition=models.Q(role=Role.SPOKEN),
                name="recording_piece_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.number} {self.sha256[:8]}"

    @classmethod
    def keep(
        cls, chat: Chat, turn: Turn | None, role: Role, number: int, picture: Picture, **more: Any
    ) -> File:
        """Store bytes under their conversation's key; `more`: other fields. Raises
        seals.Unreadable.
        """
        file = cls(
            chat=chat,
            turn=turn,
            role=role,
            number=number,
            size=len(picture.data),
            sha256=picture.sha256,
            media_type=picture.media_type,
            width=picture.width,
            height=picture.height,
            **more,
        )
        file.sealed = chat.box.seal(f"file {file.pk}", picture.data)
        file.save(force_insert=True)
        return file

    @property
    def data(self) -> bytes:
        """Raises seals.Unreadable."""
        return self.chat.box.open(f"file {self.pk}", self.sealed)


class Job(models.Model):
    """How a turn that is no chat was asked: enough to send, resume, and rebuild its request."""

    turn = models.OneToOneField(
        "inference.Turn", primary_key=True, on_delete=models.CASCADE, related_name="job"
    )
    path = models.CharField(max_length=40, help_text="of the provider, below /v1/proxy")
    content_type = models.CharField(max_length=120)
    form_sealed = models.BinaryField(default=b"", help_text="fields and files of a form, as JSON")
    count = models.SmallIntegerField(default=1, help_text="pictures asked for")
    piece = models.ForeignKey(
        File, null=True, on_delete=models.SET_NULL, related_name="+", help_text="what was spoken"
    )
    remote = models.CharField(max_length=64, default="", help_text="the provider's job id")
    working_since = models.DateTimeField(null=True, help_text="the provider said it began")

    def __str__(self) -> str:
        return f"{self.path} of turn {self.turn_id}"
