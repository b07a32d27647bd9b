"""Conversations: who asked what, what came back byte by byte, and what was proven about it."""

from __future__ import annotations

import uuid
from functools import cached_property
from typing import ClassVar

import orjson
from django.db import models
from django.db.models import Q
from django.db.models.functions import Upper
from django.utils.translation import gettext_noop as N_

from accounts.crypto import SealedField
from accounts.models import AccessToken, User
from chain.fields import AddressField, NeuronField
from inference import seals, thoughts, tools, words
from inference.errors import BadPrompt
from inference.media.models import File as File
from inference.media.models import Job as Job
from inference.options import Options


class Medium(models.TextChoices):
    """What a conversation is made of; IMAGES, SPEECH and EMBED are `inference.media`. RELAY gathers
    what a person's programs asked (`inference.openai`): no words, one per person.
    """

    CHAT = "chat", "Chat"
    IMAGES = "images", "Images"
    SPEECH = "speech", "Speech"
    EMBED = "embed", "Embeddings"
    RELAY = "relay", "Relay"


class Chat(models.Model):
    """A conversation of one person. Only its owner ever sees it (`inference.access`).

    Fields named `…_sealed` are readable with the conversation's key alone (`inference.seals`);
    their properties open them. Turns form a tree (`Turn.parent`), of which `leaf` names the branch
    that is shown and continued.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="chats")
    medium = models.CharField(max_length=6, choices=Medium.choices, default=Medium.CHAT)
    key_sealed = SealedField(default="", help_text="under FIELD_KEYS; empty: not kept")
    session_key = models.CharField(max_length=40, default="", help_text="of a chat not kept")
    title_sealed = models.BinaryField(default=b"")
    options_sealed = models.BinaryField(default=b"", help_text="`inference.options`, as last used")
    provider = AddressField(help_text="whom the next prompt goes to")
    leaf = models.ForeignKey(
        "Turn",
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="end of the shown branch",
    )
    forgotten = models.BigIntegerField(default=0, help_text="turns up to this one are not sent")
    asked = models.BooleanField(default=False, help_text="listed once something was asked")
    deleted_at = models.DateTimeField(null=True, help_text="gone for its owner; purged later")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["owner"], condition=Q(medium="relay"), name="one_relay_per_person"
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["owner", "-updated_at"]),
            # What may end (`conversations.purge`), however many stay.
            models.Index(
                fields=["updated_at"],
                name="chat_ending",
                condition=Q(deleted_at__isnull=False)
                | Q(key_sealed="")
                | Q(medium="chat", asked=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def kept(self) -> bool:
        return bool(self.key_sealed)

    @cached_property
    def box(self) -> seals.Box:
        return seals.box(self.pk, self.key_sealed)

    @property
    def title(self) -> str:
        return self.box.text("title", self.title_sealed)

    @property
    def options(self) -> Options:
        """How the last question was asked; the defaults where that cannot be read."""
        try:
            return Options.of(orjson.loads(self.box.open("options", self.options_sealed) or b"{}"))
        except (seals.Unreadable, ValueError, BadPrompt):
            return Options()


class OwnPreset(models.Model):
    """Settings that a person saved under a name (`inference.presets`)."""

    id = models.BigAutoField(primary_key=True)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="presets")
    sealed = SealedField(help_text="name and options under FIELD_KEYS")
    deleted_at = models.DateTimeField(null=True, help_text="gone for its owner; purged later")

    def __str__(self) -> str:
        return f"preset {self.pk}"


class PresetVersion(models.Model):
    """What a preset said before it was saved again; never changed, the newest few are kept."""

    id = models.BigAutoField(primary_key=True)
    preset = models.ForeignKey(OwnPreset, on_delete=models.CASCADE, related_name="versions")
    sealed = SealedField(help_text="as the preset's")
    until = models.DateTimeField(help_text="when something else took its place")

    def __str__(self) -> str:
        return f"version of preset {self.preset_id}"


class State(models.TextChoices):
    """Every turn ends in exactly one of the last four. The labels are translated where shown."""

    OPEN = "open", N_("Writing")
    ANSWERED = "answered", N_("Answered")
    STOPPED = "stopped", N_("Stopped")
    CUT_OFF = "cut_off", N_("Cut off")
    FAILED = "failed", N_("Failed")


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
    parent = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="replies")
    token = models.ForeignKey(
        AccessToken,
        null=True,
        on_delete=models.RESTRICT,
        related_name="turns",
        help_text="which program's, where it came through the relay",
    )
    endpoint = models.CharField(max_length=24, default="", help_text="of the relay, below /v1")
    batch = models.UUIDField(null=True, help_text="asked side by side, of several providers")
    lane = models.SmallIntegerField(default=0, help_text="column among those asked side by side")
    question_sealed = models.BinaryField(default=b"")
    answer_sealed = models.BinaryField(default=b"")
    reasoning_sealed = models.BinaryField(default=b"")
    calls_sealed = models.BinaryField(
        db_default=b"", default=b"", help_text="functions the answer calls"
    )
    results_sealed = models.BinaryField(
        db_default=b"", default=b"", help_text="of the calls of the turn before, as given"
    )

    provider = AddressField()
    serving = AddressField()
    url = models.TextField()
    model = models.TextField()
    input_price = NeuronField(help_text="neuron per token, on chain when sent")
    output_price = NeuronField()
    additional_info = models.TextField(default="")
    max_tokens = models.IntegerField()

    request_sealed = models.BinaryField(default=b"", help_text="the exact bytes sent, packed")
    response_sealed = models.BinaryField(default=b"", help_text="the exact bytes received, packed")
    arrivals_sealed = models.BinaryField(
        db_default=b"", default=b"", help_text="when its first pieces came, packed"
    )
    response_headers = models.JSONField(default=dict, help_text="as received, bounded: hostile")
    request_bytes = models.IntegerField(default=0)
    picture_bytes = models.IntegerField(default=0, help_text="of the request, its pictures")
    picture_tokens = models.IntegerField(default=0, help_text="that those can be at most")
    request_sha256 = models.CharField(max_length=64, default="")
    response_sha256 = models.CharField(
        max_length=700, default="", help_text="of several pictures: one each, with commas"
    )
    response_bytes = models.BigIntegerField(default=0)
    complete = models.BooleanField(default=False, help_text="the provider ended the answer itself")
    answer_id = models.CharField(max_length=128, default="", help_text="ZG-Res-Key")
    finish_reason = models.CharField(max_length=40, default="")

    prompt_tokens = models.BigIntegerField(null=True)
    completion_tokens = models.BigIntegerField(null=True)
    cached_tokens = models.BigIntegerField(default=0)
    quantity = models.CharField(max_length=24, default="", help_text="pictures or seconds, worded")
    fee = NeuronField(default=0)
    fee_kind = models.CharField(max_length=9, choices=FeeKind.choices, default=FeeKind.UNKNOWN)
    first_token_ms = models.IntegerField(default=0, help_text="0 = none came")
    reasoning_ms = models.IntegerField(default=0, help_text="until the first word of the answer")
    total_ms = models.IntegerField(default=0)

    failure = models.CharField(max_length=20, default="", help_text="`inference.failures.Kind`")
    detail_sealed = models.BinaryField(default=b"", help_text="the provider's sentence: hostile")
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
    signed_response = models.CharField(max_length=700, default="")
    signed_model = models.CharField(max_length=200, default="", help_text="of `model:req:resp`")
    signature_tries = models.IntegerField(default=0)
    signature_at = models.DateTimeField(null=True, help_text="when the signature was fetched")

    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["chat", "prompt_key"], name="prompt_once"),
            models.UniqueConstraint(
                fields=["chat", "lane"],
                condition=Q(state="open", token=None),
                name="one_open_turn_per_lane",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["chat", "id"]),
            # What ended lately, past all that ended before (`spend`, `alerts.works`).
            models.Index(fields=["chat", "ended_at"], name="turn_ended"),
            models.Index("provider", Upper("answer_id"), name="answer_ids"),
            models.Index(fields=["process"], condition=Q(state="open"), name="open_turns"),
            models.Index(fields=["ended_at"], condition=Q(verdict="pending"), name="unjudged"),
        ]

    def __str__(self) -> str:
        return f"turn {self.pk} {self.state}"

    @property
    def quantity_words(self) -> str:
        return words.quantity(self.quantity)

    @property
    def question(self) -> str:
        return self.chat.box.text("question", self.question_sealed)

    @property
    def answer(self) -> str:
        return self._said[0]

    @property
    def reasoning(self) -> str:
        return self.chat.box.text("reasoning", self.reasoning_sealed) + self._said[1]

    @property
    def _said(self) -> tuple[str, str]:
        return thoughts.told_apart(self.chat.box.text("answer", self.answer_sealed))

    @property
    def calls(self) -> tuple[tools.ToolCall, ...]:
        """Functions that the answer asks to have called; none where they cannot be read."""
        return tools.calls(self._opened("calls", self.calls_sealed))

    @property
    def results(self) -> tuple[tools.ToolResult, ...]:
        """What was given as the results of `parent`'s calls; none where that cannot be read."""
        return tools.results(self._opened("results", self.results_sealed))

    def _opened(self, name: str, sealed: bytes | memoryview) -> bytes:
        try:
            return self.chat.box.open(name, sealed)
        except seals.Unreadable:
            return b""

    @property
    def failure_detail(self) -> str:
        return self.chat.box.text("detail", self.detail_sealed)

    @property
    def request(self) -> bytes:
        """Raises seals.Unreadable."""
        return self.chat.box.unpack("request", self.request_sealed)

    @property
    def response(self) -> bytes:
        """b"" where it was not kept. Raises seals.Unreadable."""
        return self.chat.box.unpack("response", self.response_sealed)

    @property
    def arrivals(self) -> list[tuple[int, int]]:
        """Milliseconds and bytes of the first pieces received; none where that was not kept."""
        try:
            found = orjson.loads(self.chat.box.unpack("arrivals", self.arrivals_sealed) or b"[]")
        except seals.Unreadable:
            return []
        return list(zip(found[::2], found[1::2], strict=True))

    @property
    def text_bytes(self) -> int:
        """The request without its pictures."""
        return self.request_bytes - self.picture_bytes

    @property
    def can_be_asked_again(self) -> bool:
        """Whether the provider may by now have a signature that it did not have before."""
        return self.verdict == Verdict.UNAVAILABLE and self.verdict_reason == "not_found"


class Share(models.Model):
    """A link by which others read a conversation up to `leaf` (`inference.shares`)."""

    id = models.BigAutoField(primary_key=True)
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="shares")
    leaf = models.ForeignKey(
        Turn, on_delete=models.CASCADE, related_name="+", help_text="the last turn that is shown"
    )
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the address")
    token_sealed = models.BinaryField(help_text="the address, for its owner")
    created_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["ends_at"])]

    def __str__(self) -> str:
        return f"share {self.pk}"
