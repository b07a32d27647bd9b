"""Datasets, drafts, and tasks as their providers and the chain tell of them.

What a provider says (`progress`, `fee`, the log) is kept as it was said and when; what the chain
says (deliverables, settlements) is not copied but read from the ledger's rows.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop as N_

from accounts.crypto import SealedField
from accounts.models import User
from chain.fields import AddressField, NeuronField
from protocol import tuning

#: A provider that told nothing for so long, and left so many looks in a row without an answer, is
#: said to be silent: one look alone may be the first after days in which nobody asked.
SILENCE, SILENT_LOOKS = dt.timedelta(hours=1), 5


class StoredFile(models.Model):
    """Bytes in sealed pieces under a key of their own; never whole in memory."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="stored_files")
    key_sealed = SealedField(help_text="the file's key, under FIELD_KEYS")
    size = models.BigIntegerField(help_text="bytes, as announced")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.size} bytes of {self.user_id}"


class Piece(models.Model):
    """`files.PIECE_BYTES` of a file (the last one has the rest)."""

    file = models.ForeignKey(StoredFile, on_delete=models.CASCADE, related_name="pieces")
    number = models.IntegerField()
    sealed = models.BinaryField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["file", "number"], name="piece_once")
        ]

    def __str__(self) -> str:
        return f"piece {self.number} of {self.file_id}"


class DatasetState(models.TextChoices):
    UPLOADING = "uploading", N_("Uploading")
    CHECKING = "checking", N_("Being checked")
    GOOD = "good", N_("Ready")
    BAD = "bad", N_("Cannot be used")


class Dataset(models.Model):
    """Training data somebody brought; `file` is empty once its bytes were deleted here (what was
    published stays usable by its root)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="datasets")
    file = models.OneToOneField(StoredFile, null=True, on_delete=models.SET_NULL)
    name = models.CharField(max_length=200)
    size = models.BigIntegerField(help_text="bytes")
    state = models.CharField(max_length=9, choices=DatasetState.choices)
    kind = models.CharField(max_length=20, default="", help_text="`protocol.datasets.KINDS`")
    rows = models.IntegerField(default=0)
    duplicates = models.IntegerField(default=0)
    tokens = models.BigIntegerField(default=0, help_text="our estimate for one epoch")
    lengths = models.JSONField(
        default=dict, help_text="{least, median, most, bars}: tokens of rows"
    )
    problems = models.JSONField(default=list, help_text="[[line, text], …], the first hundred")
    problem_count = models.IntegerField(default=0)
    preview_sealed = SealedField(default="", help_text="the first rows, under FIELD_KEYS")
    root = models.CharField(max_length=66, default="", help_text="Merkle root of 0G storage")
    nodes = models.JSONField(
        default=list, help_text="[[root, height], …]: how 0G storage's contract is told of it"
    )
    keccak = models.CharField(max_length=66, default="", help_text="what a TEE upload calls it")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["user", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"


class Way(models.TextChoices):
    TEE = "tee", "sent into the provider's machine"
    STORAGE = "storage", "published in 0G storage"


class PlaceState(models.TextChoices):
    ASKING = "asking", "In the wallet"
    WAITING = "waiting", "Waiting"
    SENDING = "sending", "On its way"
    THERE = "there", "There"
    FAILED = "failed", "Failed"


class Place(models.Model):
    """A dataset at a provider (`tee`), or in 0G storage (`provider` empty)."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="places")
    way = models.CharField(max_length=7, choices=Way.choices)
    provider = AddressField(blank=True, default="")
    url = models.TextField(default="", help_text="of the provider when it was sent")
    signature = models.TextField(default="", help_text="allows one upload within minutes")
    signed_at = models.BigIntegerField(default=0, help_text="unix seconds, as signed")
    tx_hash = models.CharField(max_length=66, default="", help_text="announcement on the chain")
    tx_at = models.DateTimeField(null=True, help_text="since when it is under way")
    nonce_floor = models.BigIntegerField(
        null=True, help_text="sender's next nonce when the wallet was asked; null: its end is known"
    )
    unsure = models.BooleanField(
        db_default=False, default=False, help_text="the wallet may have sent it without a word"
    )
    unknown_looks = models.PositiveSmallIntegerField(
        db_default=0, default=0, help_text="looks in a row at which no node knew `tx_hash`"
    )
    state = models.CharField(max_length=7, choices=PlaceState.choices)
    sent = models.BigIntegerField(default=0, help_text="bytes")
    error = models.TextField(default="")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["dataset", "way", "provider"], name="place_once")
        ]

    def __str__(self) -> str:
        return f"{self.dataset_id} {self.way} {self.state}"

    @property
    def announced(self) -> bool:
        """Whether it is in storage, or what announces it there was paid for, or may be still."""
        asked = self.tx_hash != "" or self.nonce_floor is not None
        return self.way == Way.STORAGE and (asked or self.state != PlaceState.FAILED)


class Draft(models.Model):
    """The wizard's memory: each step is saved, nothing is sent."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tuning_drafts")
    provider = AddressField(blank=True, default="")
    serving = AddressField(blank=True, default="")
    service_name = models.CharField(max_length=200, blank=True, default="")
    model = models.CharField(max_length=200, blank=True, default="")
    dataset = models.ForeignKey(Dataset, null=True, on_delete=models.SET_NULL)
    dataset_hash = models.CharField(
        max_length=66, default="", blank=True, help_text="a storage root instead of a dataset"
    )
    parameters = models.TextField(default="", blank=True, help_text="JSON text, as it is signed")
    wait = models.BooleanField(default=False, help_text="queue where the provider is busy")
    pending = models.JSONField(
        null=True, help_text="the task as shown for signing: {nonce, dataset_hash, …}"
    )
    deleted_at = models.DateTimeField(null=True, help_text="kept for a while, for an undo")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["user", "-updated_at"])]

    def __str__(self) -> str:
        return f"draft of {self.user_id} for {self.model}"


class Task(models.Model):
    """A task at a provider, as last told. `fee` is None until the provider counted."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tuning_tasks")
    remote_id = models.UUIDField(help_text="the provider's name for it")
    provider = AddressField()
    serving = AddressField()
    service_name = models.CharField(max_length=200)
    url = models.TextField(help_text="where it was created")
    model = models.CharField(max_length=200)
    model_hash = models.CharField(max_length=66)
    dataset = models.ForeignKey(Dataset, null=True, on_delete=models.SET_NULL)
    dataset_hash = models.CharField(max_length=66)
    parameters = models.TextField()
    price_per_token = NeuronField(help_text="of the listing when it was signed")
    nonce = NeuronField()
    signature = models.TextField()
    tee_signer = AddressField(help_text="of the listing when it was signed")
    verification = models.UUIDField(null=True, help_text="report about the service at the start")
    verdict = models.CharField(max_length=16, default="", help_text="its word at the start")
    end_verification = models.UUIDField(null=True)
    end_verdict = models.CharField(max_length=16, default="")

    progress = models.CharField(max_length=20, default=tuning.INIT)
    fee = NeuronField(null=True)
    deliver_index = models.CharField(max_length=80, default="")
    deliver_time = models.BigIntegerField(default=0, help_text="unix seconds, as told")
    log_bytes = models.BigIntegerField(default=0, help_text="of the provider's, taken so far")
    log_sha256 = models.CharField(max_length=64, default="", help_text="of those bytes")
    log_taken = models.BigIntegerField(
        db_default=0,
        default=0,
        help_text="bytes ever kept of it, those of before it began anew too",
    )
    log_restarted = models.BooleanField(default=False, help_text="it is no continuation any more")
    created_at = models.DateTimeField()
    looked_at = models.DateTimeField(null=True, help_text="last answer of the provider")
    look_next = models.DateTimeField(null=True, help_text="null: nothing is expected any more")
    failures = models.IntegerField(default=0, help_text="looks without an answer, in a row")
    error = models.TextField(default="", help_text="why the last look failed")
    cancelled_at = models.DateTimeField(null=True)
    put_away_at = models.DateTimeField(
        null=True, help_text="its owner took it off the list; news of it bring it back"
    )
    result = models.OneToOneField(StoredFile, null=True, on_delete=models.SET_NULL)
    result_state = models.CharField(
        max_length=10, default="", help_text="`results.State`; empty: never asked for"
    )
    result_sent = models.BigIntegerField(default=0, help_text="bytes fetched so far")
    result_part = models.OneToOneField(
        StoredFile,
        null=True,
        on_delete=models.SET_NULL,
        related_name="part_of",
        help_text="what is being fetched; the next try goes on with it",
    )
    result_touched = models.DateTimeField(null=True, help_text="last sign of who fetches it")
    result_root = models.CharField(max_length=66, default="", help_text="Merkle root of it")
    result_keccak = models.CharField(max_length=66, default="")
    result_signer = AddressField(default="", blank=True, help_text="who signed its tags")
    result_error = models.TextField(default="")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["provider", "remote_id"], name="task_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "-created_at"]),
            models.Index(
                fields=["look_next"], name="task_due", condition=Q(look_next__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.progress}"

    @property
    def ended(self) -> bool:
        return self.progress in tuning.ENDED

    @property
    def silent(self) -> bool:
        """Whether it goes on by what its provider said long ago: nothing came since."""
        told = self.looked_at or self.created_at
        unanswered = self.failures >= SILENT_LOOKS and timezone.now() - told > SILENCE
        return unanswered and not self.ended

    @property
    def idle(self) -> bool:
        """Whether its provider is not expected to tell anything more of it."""
        return self.ended or self.silent


def task_pages(user: User) -> dict[tuple[str, str], str]:
    """Pages of the user's tasks by provider and its name for the task (1 query)."""
    rows = user.tuning_tasks.values_list("provider", "remote_id", "pk")
    return {(provider, str(remote)): f"/fine-tuning/tasks/{pk}" for provider, remote, pk in rows}


class Passage(models.Model):
    """When we first heard of a stage; `said` is the provider's own time for it."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="passages")
    stage = models.CharField(max_length=20)
    at = models.DateTimeField()
    said = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["task", "stage"], name="passage_once")
        ]

    def __str__(self) -> str:
        return f"{self.stage} of {self.task_id}"


class LogPart(models.Model):
    """Text of the provider's log from byte `offset` on; only added to."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="log_parts")
    offset = models.BigIntegerField()
    text = models.TextField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["task", "offset"], name="log_part_once")
        ]

    def __str__(self) -> str:
        return f"log of {self.task_id} from {self.offset}"


class Deployment(models.Model):
    """A tuned model at an inference provider, as last told there (provider-protocol.md 1.6)."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="deployments")
    provider = AddressField()
    serving = AddressField()
    url = models.TextField(help_text="of the listing when it was asked")
    state = models.CharField(max_length=12, default="", help_text="`adapters.STATES`")
    error = models.TextField(default="")
    asked_at = models.DateTimeField(help_text="when its owner wanted it deployed")
    told_at = models.DateTimeField(null=True, help_text="last answer of the provider")
    look_next = models.DateTimeField(null=True, help_text="null: nothing is expected any more")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["task", "provider"], name="deployment_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["look_next"], name="deployment_due", condition=Q(look_next__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"{self.task_id} at {self.provider} {self.state}"


class ProviderFacts(models.Model):
    """What a fine-tuning provider says of itself beside its listing on the chain."""

    provider = AddressField()
    serving = AddressField()
    url = models.TextField(help_text="that was asked")
    models_told = models.JSONField(default=list, help_text="its own models: `broker.Model` each")
    pending = models.IntegerField(null=True, help_text="tasks that wait or run; null: not told")
    asked_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True, help_text="last answer")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["provider", "serving"], name="provider_facts_once")
        ]

    def __str__(self) -> str:
        return f"facts of {self.provider}"
