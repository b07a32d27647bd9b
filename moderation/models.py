"""Acts of staff, appended for ever; what they amount to now; the queue; users' reports.

An act is never changed or deleted: a trigger of the database refuses it, and each act holds the
hash of the one before (`moderation.entries`). `Effect` rows are the fold of a subject's acts
(`moderation.fold`) and can be made again from them; when an effect ends is judged by the clock of
whoever reads.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy, pgettext_lazy

from accounts.models import User
from chain.fields import AddressField
from moderation import entries, phrases
from moderation.entries import Entry
from moderation.subjects import Subject

REASON, PUBLIC_TEXT = 2_000, 500


class Act(models.Model):
    """One thing that somebody of the staff did. `data`, `before`, `after` are canonical JSON."""

    number = models.BigIntegerField(primary_key=True, help_text="1, 2, 3 … without gaps")
    at = models.DateTimeField()
    area = models.CharField(max_length=20, help_text="moderation, admin, ops …")
    actor = models.CharField(max_length=150, help_text="wallet or account name; no foreign key")
    role = models.CharField(max_length=60)
    action = models.CharField(max_length=40)
    subject_kind = models.CharField(max_length=40)
    subject = models.TextField()
    public = models.BooleanField(help_text="whether the public log says it")
    public_text = models.TextField(default="", blank=True)
    until = models.DateTimeField(null=True, help_text="what it does ends by itself then")
    data = models.TextField(default="{}", help_text="label, number of the act it answers …")
    reason = models.TextField(help_text="for staff and auditors")
    before = models.TextField(default="null")
    after = models.TextField(default="null")
    address = models.CharField(max_length=32, default="", help_text="keyed hash of the address")
    request_id = models.CharField(max_length=64, default="")
    salt = models.CharField(max_length=32, help_text="so that what is sealed cannot be guessed")
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["subject_kind", "subject", "number"], name="act_of_subject"),
            models.Index(fields=["-number"], name="act_public", condition=Q(public=True)),
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.action} {self.subject_kind} {self.subject}"

    @property
    def about(self) -> Subject:
        return Subject(self.subject_kind, self.subject)

    @property
    def said(self) -> dict[str, Any]:
        """`data` as an object."""
        found: dict[str, Any] = json.loads(self.data)
        return found

    @property
    def words(self) -> str:
        """The action in words."""
        return phrases.words(self.action)

    @property
    def clause(self) -> str:
        """The action in words inside of a sentence."""
        return phrases.clause(self.action)

    @property
    def told(self) -> str:
        """The public text in the reader's language, as far as it is known."""
        return phrases.public(self.public_text)

    @property
    def fields(self) -> dict[str, Any]:
        """Everything the hash holds, as the chain spells it."""
        plain = {name: getattr(self, name) for name in (*entries.OPEN, *entries.PRIVATE)}
        return {**plain, "at": spelled(self.at), "until": spelled(self.until)}

    @property
    def entry(self) -> Entry:
        """As the export shows it, made from the row as it is now."""
        fields = self.fields
        opened, _ = entries.parts(fields, public=self.public)
        digest = entries.sealed(fields, public=self.public)
        return Entry(opened, digest, self.previous, self.hash)


def spelled(at: dt.datetime | None) -> str | None:
    """A moment in UTC with microseconds, as the database keeps it."""
    return None if at is None else at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class EffectKind(models.TextChoices):
    HIDDEN = "hidden", gettext_lazy("Hidden")
    FLAGGED = "flagged", gettext_lazy("Flagged")
    LABEL = "label", gettext_lazy("Label")
    APPROVED = "approved", gettext_lazy("Looked at")
    BLOCKED = "blocked", gettext_lazy("Blocked from reporting")
    ENDED = "ended", gettext_lazy("Link ended")
    PROPOSED = "proposed", gettext_lazy("Waits for a second person")


class Effect(models.Model):
    """What an act does as long as nothing lifted it; in force while `until` is not past."""

    subject_kind = models.CharField(max_length=40)
    subject = models.TextField()
    serving = AddressField(default="", help_text="of a service; empty: all of the provider's")
    provider = AddressField(default="")
    kind = models.CharField(max_length=10, choices=EffectKind.choices)
    label = models.CharField(max_length=40, default="", help_text="of labels and proposals")
    number = models.BigIntegerField(help_text="the act")
    at = models.DateTimeField()
    until = models.DateTimeField(null=True)
    actor = models.CharField(max_length=150)
    public_text = models.TextField(default="")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["subject_kind", "subject", "kind", "label"], name="effect_once"
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["provider", "kind"], name="effect_of_provider")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_kind} {self.subject}"

    @property
    def about(self) -> Subject:
        return Subject(self.subject_kind, self.subject)

    @property
    def told(self) -> str:
        """The public text in the reader's language, as far as it is known."""
        return phrases.public(self.public_text)


class ItemKind(models.TextChoices):
    PROPOSAL = "proposal", gettext_lazy("Waits for a second person")
    APPEAL = "appeal", gettext_lazy("Appeal")
    URL = "url", gettext_lazy("Moved without a new acknowledgement")
    SIGNER = "signer", gettext_lazy("Signing key changed")
    HARDWARE = "hardware", gettext_lazy("Shared or reused evidence")
    REGRESSION = "regression", gettext_lazy("Verification became worse")
    REPORT = "report", pgettext_lazy("of a user", "Report")
    WORDS = "words", gettext_lazy("A provider’s own words")
    NEW = "new", gettext_lazy("New listing")


class Item(models.Model):
    """Something that waits for a moderator; `occurrence` tells this time from other times."""

    kind = models.CharField(max_length=10, choices=ItemKind.choices)
    subject_kind = models.CharField(max_length=40)
    subject = models.TextField()
    occurrence = models.CharField(max_length=200, unique=True)
    about = models.JSONField(default=dict, help_text="what was found, as it was found")
    opened_at = models.DateTimeField()
    risk = models.IntegerField(default=0, help_text="`moderation.risk`: 0 to 100")
    why = models.JSONField(default=list, help_text="the points of the risk, in words")
    claimed_by = models.CharField(max_length=150, default="", blank=True)
    claimed_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    closed_by = models.BigIntegerField(null=True, help_text="the act; null: it no longer holds")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["-risk", "opened_at"], name="item_open", condition=Q(closed_at__isnull=True)
            ),
            models.Index(fields=["subject_kind", "subject"], name="item_of_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_kind} {self.subject}"

    @property
    def concerns(self) -> Subject:
        return Subject(self.subject_kind, self.subject)


class Anyway(models.Model):
    """Somebody read why a listing is hidden and wants to ask it all the same; `number`: the act
    that hid it, so that another decision asks anew."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="asks_anyway")
    number = models.BigIntegerField()
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "number"], name="anyway_once")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} asks in spite of {self.number}"


class Category(models.TextChoices):
    WRONG_ANSWERS = "wrong_answers", gettext_lazy("Answers are wrong, cut or somebody else’s")
    NOT_THE_MODEL = "not_the_model", gettext_lazy("It is not the model it claims")
    PRIVACY = "privacy", gettext_lazy("It leaks or keeps what I sent")
    MONEY = "money", gettext_lazy("It charges more than it says")
    HARM = "harm", gettext_lazy("Malware, phishing or other harm")
    NAME = "name", gettext_lazy("It pretends to be somebody else")
    OTHER = "other", gettext_lazy("Something else")
    SECRETS = "secrets", gettext_lazy("It shows a person’s secrets or private data")
    ABUSE = "abuse", gettext_lazy("Threats, hatred or harassment")
    ILLEGAL = "illegal", gettext_lazy("It is against the law")
    APPEAL = "appeal", gettext_lazy("Appeal: the decision about what is mine is wrong")


class Outcome(models.TextChoices):
    UPHELD = "upheld", gettext_lazy("Acted on")
    DECLINED = "declined", gettext_lazy("Looked at, nothing to do")
    SPAM = "spam", gettext_lazy("Not a report")
    GONE = "gone", gettext_lazy("The link had ended before")


class Report(models.Model):
    """What a user says about a listing or a shared conversation. Its text is seen by its author and
    by staff only."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    reporter = models.ForeignKey(User, on_delete=models.CASCADE, related_name="reports")
    subject_kind = models.CharField(max_length=40)
    subject = models.TextField()
    category = models.CharField(max_length=20, choices=Category.choices)
    text = models.TextField()
    evidence = models.TextField(default="", blank=True, help_text="link, or number of a message")
    at = models.DateTimeField()
    item = models.ForeignKey(Item, null=True, on_delete=models.SET_NULL, related_name="reports")
    outcome = models.CharField(max_length=10, choices=Outcome.choices, default="", blank=True)
    answer = models.TextField(default="", blank=True, help_text="what the reporter is told")
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["reporter", "subject_kind", "subject", "category"],
                name="report_open_once",
                condition=Q(closed_at__isnull=True),
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["reporter", "-at"], name="report_of_user")
        ]

    def __str__(self) -> str:
        return f"{self.category} about {self.subject_kind} {self.subject}"

    @property
    def told(self) -> str:
        """The answer in the reader's language, as far as it is known."""
        return phrases.public(self.answer)

    @property
    def about(self) -> Subject:
        return Subject(self.subject_kind, self.subject)
