"""Conversations: who asked what, what came back byte by byte, and what was proven about it."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Upper

from accounts.models import User
from chain.fields import AddressField, NeuronField


class Chat(models.Model):
    """A conversation of one person. Only its owner ever sees it (`inference.access`)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="chats")
    title = models.CharField(max_length=80, default="")
    provider = AddressField(help_text="whom the next prompt goes to")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["owner", "-updated_at"])]

    def __str__(self) -> str:
        return self.title or str(self.id)


class State(models.TextChoices):
    """Every turn ends in exactly one of the last four."""

    OPEN = "open", "Writing"
    ANSWERED = "answered", "Answered"
    STOPPED = "stopped", "Stopped"
    CUT_OFF = "cut_off", "Cut off"
    FAILED = "failed", "Failed"


class FeeKind(models.TextChoices):
    """How sure `Turn.fee` is."""

    KNOWN = "known", "by the provider's own count"
    ESTIMATED = "estimated", "estimated"
    UNKNOWN = "unknown", "unknown until settled"
    NONE = "none", "not charged"


class Verdict(models.TextChoices):
    """`message-verdict` of interfaces.md 3."""

    PENDING = "pending"
    VERIFIED = "verified"
    REWRITTEN = "rewritten"
    ALTERED = "altered"
    NOT_COMPARABLE = "not_comparable"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


class Turn(models.Model):
    """One question and its answer, with everything needed to judge and bill it years later.

    Facts about the service (URL, model, prices, signer) are copied when the question is sent: the
    chain may say something else tomorrow. Hashes are lower-case hex SHA-256 of exact bytes.
    """

    id = models.BigAutoField(primary_key=True)
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="turns")
    prompt_key = models.UUIDField(help_text="the page's own id: a resent prompt is the same turn")
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    process = models.CharField(max_length=32, help_text="the web process that owns the request")
    question = models.TextField()
    answer = models.TextField(default="")

    provider = AddressField()
    serving = AddressField()
    url = models.TextField()
    model = models.TextField()
    input_price = NeuronField(help_text="neuron per token, on chain when sent")
    output_price = NeuronField()
    additional_info = models.TextField(default="")
    max_tokens = models.IntegerField()

    request = models.BinaryField(help_text="the exact bytes sent")
    request_sha256 = models.CharField(max_length=64, default="")
    response_sha256 = models.CharField(max_length=64, default="")
    response_bytes = models.BigIntegerField(default=0)
    complete = models.BooleanField(default=False, help_text="the provider ended the answer itself")
    answer_id = models.CharField(max_length=128, default="", help_text="ZG-Res-Key")
    finish_reason = models.CharField(max_length=40, default="")

    prompt_tokens = models.BigIntegerField(null=True)
    completion_tokens = models.BigIntegerField(null=True)
    cached_tokens = models.BigIntegerField(default=0)
    fee = NeuronField(default=0)
    fee_kind = models.CharField(max_length=9, choices=FeeKind.choices, default=FeeKind.UNKNOWN)
    first_token_ms = models.IntegerField(default=0, help_text="0 = none came")
    total_ms = models.IntegerField(default=0)

    failure = models.CharField(max_length=20, default="", help_text="`inference.failures.Kind`")
    failure_detail = models.TextField(default="", help_text="the provider's own sentence: hostile")
    failure_status = models.IntegerField(default=0)
    retry_after = models.IntegerField(default=0, help_text="seconds")

    expected_signer = models.CharField(max_length=42, default="", help_text="on chain when sent")
    signer_acknowledged = models.BooleanField(default=False)
    routing_proof = models.BooleanField(default=False)
    verdict = models.CharField(max_length=14, choices=Verdict.choices, default=Verdict.PENDING)
    verdict_reason = models.CharField(max_length=24, default="")
    signature = models.JSONField(null=True, help_text="the provider's signature reply, verbatim")
    signer = models.CharField(max_length=42, default="", help_text="recovered from the signature")
    scheme = models.CharField(max_length=16, default="")
    signed_request = models.CharField(max_length=64, default="")
    signed_response = models.CharField(max_length=64, default="")
    signature_tries = models.IntegerField(default=0)
    signature_at = models.DateTimeField(null=True, help_text="when the signature was fetched")

    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["chat", "prompt_key"], name="prompt_once"),
            models.UniqueConstraint(
                fields=["chat"], condition=Q(state="open"), name="one_open_turn_per_chat"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["chat", "id"]),
            models.Index("provider", Upper("answer_id"), name="answer_ids"),
            models.Index(fields=["process"], condition=Q(state="open"), name="open_turns"),
            models.Index(fields=["ended_at"], condition=Q(verdict="pending"), name="unjudged"),
        ]

    def __str__(self) -> str:
        return f"turn {self.pk} {self.state}"

    @property
    def can_be_asked_again(self) -> bool:
        """Whether the provider may by now have a signature that it did not have before."""
        return self.verdict == Verdict.UNAVAILABLE and self.verdict_reason == "not_found"
