"""What operators type, say and have checked: drafts of listings, signed words, runs of checks."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_noop

from accounts.models import User
from attestation.models import MAX_SERVICE_NAME
from chain.fields import AddressField


class ListingDraft(models.Model):
    """What somebody typed into the form of a listing and did not publish yet: only the fields that
    differ from the chain, as they were typed, so that a change on chain is never undone by it."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="listing_drafts")
    kind = models.CharField(max_length=20)
    service_name = models.CharField(max_length=MAX_SERVICE_NAME)
    typed = models.JSONField(default=dict, help_text="{field: text}")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "kind", "service_name"], name="one_draft")
        ]

    def __str__(self) -> str:
        return f"draft of {self.user_id}, {self.kind}"


class JobState(models.TextChoices):
    """Of a run that a worker makes while its owner looks on."""

    QUEUED = "queued", gettext_noop("Waiting for a worker")
    RUNNING = "running", gettext_noop("Running")
    DONE = "done", gettext_noop("Done")
    FAILED = "failed", gettext_noop("Broken off")

    @property
    def said(self) -> str:
        """The same within a line."""
        return {
            JobState.QUEUED: gettext_noop("waiting for a worker"),
            JobState.RUNNING: gettext_noop("running"),
            JobState.DONE: gettext_noop("done"),
            JobState.FAILED: gettext_noop("broken off"),
        }[self]


class Job(models.Model):
    """A run of checks somebody asked for: theirs alone, and never part of what others see."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="%(class)ss")
    kind = models.CharField(max_length=20)
    service_name = models.CharField(max_length=MAX_SERVICE_NAME, default="")
    url = models.TextField(help_text="that is asked")
    model = models.TextField(default="")
    published = models.BooleanField(default=True, help_text="as listed on chain")
    state = models.CharField(max_length=8, choices=JobState.choices, default=JobState.QUEUED)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    @property
    def open(self) -> bool:
        return self.state in (JobState.QUEUED, JobState.RUNNING)

    @property
    def said(self) -> str:
        return JobState(self.state).said


class SetupRun(Job):
    """One pass of the setup checker; `checks` grows while it runs (`setup_checks.Result`)."""

    values = models.JSONField(default=dict, help_text="the listing or draft that is checked")
    checks = models.JSONField(default=list)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "-created_at"], name="setup_runs_of_user")
        ]

    def __str__(self) -> str:
        return f"setup of {self.url} {self.state}"


class SelfTest(Job):
    """One private run of the attestation engine: no `Verification`, no standing, no finding."""

    values = models.JSONField(default=dict, help_text="signer and declarations that are judged by")
    reports = models.JSONField(
        default=list, help_text="[{endpoint, outcome, overall, questions, rows, error}]"
    )

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "-created_at"], name="self_tests_of_user")
        ]

    def __str__(self) -> str:
        return f"self-test of {self.url} {self.state}"


class Statement(models.Model):
    """Words that a provider's wallet signed, kept with the signature so that anybody can check
    them. `nonce` is the server's, and good once."""

    provider = AddressField()
    message = models.TextField(help_text="exactly what was signed (EIP-191)")
    signature = models.TextField(help_text="0x-hex")
    nonce = models.CharField(max_length=32, unique=True)
    signed_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True


class NoteKind(models.TextChoices):
    MAINTENANCE = "maintenance", gettext_noop("Maintenance")
    INCIDENT = "incident", gettext_noop("Incident")


class Note(Statement):
    """Maintenance that is planned, or an incident; `ends_at` NULL: nobody knows yet."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=11, choices=NoteKind.choices)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)
    text = models.TextField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["provider", "-starts_at"], name="notes_of_provider")
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.provider}"

    def current(self, now: datetime) -> bool:
        """Whether it is going on at `now`."""
        return self.starts_at <= now and (self.ends_at is None or now < self.ends_at)


class DomainState(models.TextChoices):
    NONE = "", gettext_noop("No domain named")
    WAITING = "waiting", gettext_noop("Not looked at yet")
    PROVEN = "proven", gettext_noop("Proven")
    LOST = "lost", gettext_noop("No longer found")
    MISSING = "missing", gettext_noop("Not found")


class Profile(Statement):
    """Who a provider says it is, the newest signed word alone. Nothing of it is checked except the
    domain, whose file has to name the provider (`profile_domain`)."""

    provider = AddressField(unique=True)
    name = models.CharField(max_length=40)
    contact = models.CharField(max_length=200, blank=True, default="")
    links = models.JSONField(default=list)
    domain = models.CharField(max_length=253, blank=True, default="")
    domain_state = models.CharField(
        max_length=8, choices=DomainState.choices, blank=True, default=DomainState.NONE
    )
    domain_since = models.DateTimeField(null=True, help_text="proven without a gap since")
    domain_checked_at = models.DateTimeField(null=True)
    domain_note = models.CharField(max_length=200, blank=True, default="")

    def __str__(self) -> str:
        return f"{self.name} ({self.provider})"

    @property
    def proven(self) -> bool:
        return self.domain_state == DomainState.PROVEN
