"""Rules people made, what they were told, and every attempt to tell them elsewhere.

Where somebody is reached (mail address, webhook, the private feed's address) is kept sealed, as
whoever has it can read along or write there; what 0.1.0 stored in the clear, `alerts.places` seals.

Nothing is sent until somebody makes a rule. A rule tells each thing once: a notification is unique
by rule and `occurrence`, so a sweep that is repeated or killed tells nothing twice.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from accounts import crypto
from accounts.crypto import SealedField
from accounts.models import User
from alerts.kinds import Kind
from chain.fields import AddressField, NeuronField

#: How long a delivery belongs to whoever took it up: longer than one try can last.
CLAIM = timedelta(seconds=90)


#: Characters of a digest; a token has fewer, so that which of the two stands there shows.
NAMED = 64


def new_token() -> str:
    return secrets.token_urlsafe(32)


def named(place: str) -> str:
    """The digest by which a sealed place is found, `NAMED` characters."""
    return hashlib.sha256(place.encode()).hexdigest()


class Channels(models.Model):
    """How one person is reached outside the site; the inbox needs no row."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="alert_channels")
    email = models.EmailField(blank=True, default="", help_text="of 0.1.0: not yet sealed")
    sealed_email = SealedField(default="", db_default="", blank=True)
    email_verified_at = models.DateTimeField(null=True)
    code_digest = models.CharField(
        max_length=64, default="", blank=True, help_text="SHA-256 of the code that was mailed"
    )
    code_sent_at = models.DateTimeField(null=True)
    digest = models.BooleanField(default=False, help_text="one mail a day instead of one at once")
    feed_token = models.CharField(
        max_length=64,
        default=new_token,
        unique=True,
        help_text="`named` token; of 0.1.0, shorter than `NAMED`, the token itself",
    )
    sealed_feed = SealedField(default="", db_default="", blank=True)
    email_error = models.TextField(default="", blank=True)

    def __str__(self) -> str:
        return f"channels of {self.user_id}"

    @property
    def address(self) -> str:
        """Where mails go, "" for nowhere; where no key of today opens it, a sentence says so. In
        the clear it is the newer one: a process of 0.1.0 was asked for it while a site is updated.
        """
        return self.email or crypto.unseal_or_lost(self.sealed_email)

    def readable(self) -> bool:
        """Whether there is an address, and a key of today opens it."""
        try:
            return bool(self.email or (self.sealed_email and crypto.unseal(self.sealed_email)))
        except crypto.Unreadable:
            return False

    @property
    def feed(self) -> str:
        """The token of the private feed, "" where no key of today opens it."""
        try:
            sealed = len(self.feed_token) == NAMED
            return crypto.unseal(self.sealed_feed) if sealed else self.feed_token
        except crypto.Unreadable:
            return ""


class Format(models.TextChoices):
    """What a webhook is sent; the labels are translated where shown."""

    SIGNED = "signed", gettext_noop("Signed JSON, for a program of yours")
    SLACK = "slack", gettext_noop("A message in Slack")
    DISCORD = "discord", gettext_noop("A message in Discord")
    TELEGRAM = "telegram", gettext_noop("A message of this site’s bot on Telegram")


class Hook(models.Model):
    """An address of the person's own that gets a POST, signed (Standard Webhooks) or as the chat
    behind it reads it; or their chat with this site's bot, whose address `url` is then."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="hooks")
    url = models.TextField(
        help_text="`named` address; of 0.1.0, without `sealed_url`, the address itself"
    )
    sealed_url = SealedField(default="", db_default="", blank=True)
    format = models.CharField(
        max_length=10, choices=Format.choices, default=Format.SIGNED, db_default=Format.SIGNED
    )
    sealed_secret = SealedField(
        help_text="`whsec_…`, of Telegram the chat’s number: encrypted with FIELD_KEYS"
    )
    sealed_replaced = SealedField(
        default="",
        db_default="",
        blank=True,
        help_text="secrets of before, a space between: they sign as well until `replaced_until`",
    )
    replaced_until = models.DateTimeField(null=True)
    enabled = models.BooleanField(default=True)
    disabled_why = models.TextField(default="", blank=True)
    created_at = models.DateTimeField()
    failing_since = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "url"], name="hook_once")
        ]

    def __str__(self) -> str:
        return f"hook of {self.user_id}"

    @property
    def address(self) -> str:
        """Where it leads; where no key of today opens it, a sentence says so."""
        return crypto.unseal_or_lost(self.sealed_url) or self.url

    def opened(self) -> str:
        """`address`. Raises `crypto.Unreadable`."""
        return crypto.unseal(self.sealed_url) if self.sealed_url else self.url

    def overlaps(self, now: datetime) -> bool:
        """Whether replaced secrets sign, too."""
        return self.replaced_until is not None and self.replaced_until > now

    def secrets(self, now: datetime) -> list[str]:
        """What a POST is signed with, the newest first. Raises `crypto.Unreadable`."""
        sealed = (self.sealed_secret, self.sealed_replaced if self.overlaps(now) else "")
        return " ".join(crypto.unseal(text) for text in sealed if text).split()


class Rule(models.Model):
    """One thing to be told about. `provider` empty: where the person holds money, or watches."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="alert_rules")
    kind = models.CharField(max_length=20, choices=[(k.value, k.value) for k in Kind])
    provider = AddressField(blank=True, default="")
    threshold = NeuronField(null=True, help_text="neuron, of kinds that compare a balance")
    percent = models.IntegerField(null=True, help_text="of kinds that compare a price")
    by_email = models.BooleanField(default=False)
    by_hook = models.BooleanField(default=False)
    hook = models.ForeignKey(
        Hook, on_delete=models.SET_NULL, null=True, related_name="rules", help_text="null: all"
    )
    created_at = models.DateTimeField()
    snoozed_until = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True, help_text="kept for a while, for an undo")
    after_block = models.BigIntegerField(help_text="changes of final blocks above this are news")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["user", "kind", "provider"],
                name="rule_once",
                condition=Q(deleted_at__isnull=True),
            )
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["kind", "id"])]

    def __str__(self) -> str:
        return f"{self.kind} of {self.user_id}"


class Held(models.Model):
    """A condition of a rule that holds now: told when it began, told again only after it ended."""

    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, related_name="held")
    subject = models.CharField(max_length=200)
    value = models.CharField(max_length=100, default="", help_text="what it was when last looked")
    since = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["rule", "subject"], name="held_once")
        ]

    def __str__(self) -> str:
        return f"{self.subject} of rule {self.rule_id}"


class Notification(models.Model):
    """Something a person was told: kept as it was said."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="notifications")
    rule = models.ForeignKey(Rule, on_delete=models.SET_NULL, null=True)
    kind = models.CharField(max_length=20)
    occurrence = models.CharField(max_length=200)
    title = models.CharField(max_length=200)
    text = models.TextField(default="", blank=True)
    path = models.CharField(max_length=400, help_text="path of the page with the cause")
    provider = AddressField(blank=True, default="")
    at = models.DateTimeField()
    read_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["rule", "occurrence"], name="told_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "-at", "-id"]),
            models.Index(fields=["user"], name="unread", condition=Q(read_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.title


class State(models.TextChoices):
    WAITING = "waiting", gettext_noop("Waiting")
    SENT = "sent", gettext_noop("Delivered")
    FAILED = "failed", gettext_noop("Given up")


class Delivery(models.Model):
    """One notification on its way by mail (`hook` empty) or to one hook."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="deliveries")
    notification = models.ForeignKey(
        Notification, on_delete=models.CASCADE, null=True, help_text="null: a test"
    )
    hook = models.ForeignKey(Hook, on_delete=models.CASCADE, null=True, related_name="deliveries")
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField(help_text="not before this; also the claim of who sends it now")
    tried = models.IntegerField(default=0)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], name="delivery_due", condition=Q(state="waiting")),
            models.Index(fields=["hook", "-created_at"]),
            models.Index(fields=["user", "-created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.state} delivery {self.pk}"

    @property
    def can_hurry(self) -> bool:
        """Whether it waits for a try that its owner may ask for now: not the bot's, which was asked
        to wait, nor one that is under way or near."""
        open_ = self.hook is not None and self.hook.enabled and self.hook.format != Format.TELEGRAM
        waits = self.state == State.WAITING and self.due_at > timezone.now() + CLAIM
        return open_ and waits and self.tried > 0


class Attempt(models.Model):
    """What came of trying once."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts")
    at = models.DateTimeField()
    milliseconds = models.IntegerField()
    status = models.IntegerField(null=True, help_text="HTTP status, where there was an answer")
    said = models.TextField(default="", help_text="the beginning of the answer, or what failed")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["delivery", "at"])]

    def __str__(self) -> str:
        return f"attempt at {self.at}"
