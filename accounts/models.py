"""Who signed in, what they are about to send, and the keys and tokens they made."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.utils.translation import gettext_noop

from accounts import crypto
from accounts.models_personal import Erasure as Erasure
from accounts.models_personal import Export as Export
from accounts.models_personal import ExportPiece as ExportPiece
from accounts.models_personal import ExportState as ExportState
from chain.fields import AddressField, HashField, NeuronField
from protocol import keys as wire


class UserManager(BaseUserManager["User"]):
    def for_address(self, address: str) -> User:
        """The user of an EIP-55 address, created on first sight."""
        unusable = {"password": make_password(None)}
        return self.get_or_create(address=address, defaults=unusable)[0]


class User(AbstractBaseUser, PermissionsMixin):
    """A wallet that signed in with Ethereum (SIWE)."""

    address = AddressField(unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    is_active = models.BooleanField(default=True)
    language = models.CharField(
        max_length=10,
        default="",
        db_default="",
        blank=True,
        help_text="empty: unknown",
    )

    USERNAME_FIELD = "address"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    def __str__(self) -> str:
        return self.address

    @property
    def reads(self) -> str:
        """The language of what is sent to them."""
        return self.language or settings.LANGUAGE_CODE

    @property
    def is_staff(self) -> bool:
        """May look behind the scenes (`/ops`, `/admin/`); see `accounts.roles`."""
        from accounts import roles  # which needs this class

        return not roles.STAFF.isdisjoint(roles.of(self))


class State(models.TextChoices):
    """Life of a transaction (ux.md 3); the names are `tx-state` of interfaces.md."""

    DRAFT = "draft", gettext_noop("Draft")
    PRECHECKED = "prechecked", gettext_noop("Checked, not sent")
    BLOCKED = "blocked", gettext_noop("The contract would refuse")
    AWAITING_WALLET = "awaiting_wallet", gettext_noop("Waiting for your wallet")
    REJECTED = "rejected", gettext_noop("Declined")
    SUBMITTED = "submitted", gettext_noop("Sent")
    INCLUDED = "included", gettext_noop("In a block")
    REVERTED = "reverted", gettext_noop("Reverted")
    REPLACED = "replaced", gettext_noop("Replaced")
    DROPPED = "dropped", gettext_noop("Dropped")
    INDEXED = "indexed", gettext_noop("Confirmed")
    FINAL = "final", gettext_noop("Final")


#: States that the server still follows on the chain.
FOLLOWED = (State.SUBMITTED, State.INCLUDED, State.INDEXED)
#: Ends that a reorganisation or a slow node can still undo: looked at for a day.
RECONSIDERED = (State.REVERTED, State.REPLACED, State.DROPPED)
#: Codes of a rejected one that the wallet had, and did not decline each time: what became of it is
#: looked for as of one that still waits there.
UNSURE = ("wallet_error", "given_up", "asked_again")
#: States in which nothing has been sent yet and the person may go on.
RESUMABLE = (State.PRECHECKED, State.AWAITING_WALLET)


class Intent(models.Model):
    """A transaction somebody means to send, written down before the wallet opens so that a reload
    never loses it.

    Everything that was shown for review is kept as it was shown (`effects`, `warnings`). State
    changes are compare-and-swap (`accounts.intents.move`), never `save()`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="intents")
    chain_id = models.BigIntegerField()
    action = models.CharField(max_length=40)
    params = models.JSONField()
    to = AddressField()
    data = models.TextField(help_text="0x-hex calldata")
    value = NeuronField(default=0)
    gas = models.BigIntegerField(default=0, help_text="gas limit offered to the wallet")
    effects = models.JSONField(default=list, help_text="[{what, before, after, …}] as reviewed")
    warnings = models.JSONField(default=list)
    digest = models.CharField(
        max_length=64, default="", help_text="`Preview.digest` of what was reviewed"
    )

    state = models.CharField(max_length=20, choices=State.choices, default=State.DRAFT)
    code = models.CharField(
        max_length=60, default="", help_text="error name, or kind of replacement"
    )
    reason = models.TextField(
        default="", help_text="one sentence for the person, where the state needs one"
    )
    then = models.CharField(
        max_length=400, default="", help_text="path of the form that this was the first step to"
    )
    nonce_floor = models.BigIntegerField(default=0, help_text="sender's next nonce when reviewed")
    nonce = models.BigIntegerField(
        null=True, help_text="read from the transaction once the node shows it"
    )
    tx_hash = HashField(default="")
    block = models.BigIntegerField(null=True)
    block_hash = HashField(default="")
    fee = NeuronField(null=True, help_text="gas paid, neuron")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    submitted_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True, help_text="when the chain was last asked about it")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "-created_at"]),
            models.Index(fields=["state", "checked_at"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["user", "tx_hash"],
                condition=~models.Q(tx_hash=""),
                name="intent_hash_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.state}"

    @property
    def may_arrive(self) -> bool:
        """Whether it ended without a trace, and is shown should it be carried out after all."""
        unseen = self.state == State.REPLACED and self.nonce is None
        return unseen or self.state == State.DROPPED

    @property
    def unsure(self) -> bool:
        """Whether the wallet may have sent it in silence, as far as its last end says."""
        return self.code in UNSURE


class ProviderKey(models.Model):
    """An `app-sk-` key for one provider (provider-protocol.md 2.1).

    The short-lived one (slot 255) is the site's own: sealed at rest and never shown to a page. A
    lasting one (slots 0-254) belongs to its owner: shown once and not kept; its row remembers the
    slot for ever, so that no slot is given out twice.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="provider_keys")
    provider = AddressField()
    serving = AddressField(help_text="the contract whose sub-account pays")
    sealed = crypto.SealedField(
        blank=True, help_text="the key, encrypted with FIELD_KEYS; empty: not kept"
    )
    label = models.CharField(max_length=60, default="", blank=True)
    fingerprint = models.CharField(
        max_length=16, default="", blank=True, help_text="first 16 hex digits of the key's SHA-256"
    )
    token_id = models.IntegerField()
    generation = NeuronField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, help_text="null = never")
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "provider", "-expires_at"])
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["user", "provider", "serving", "generation", "token_id"],
                condition=models.Q(token_id__lt=wire.EPHEMERAL_TOKEN_ID),
                name="one_key_per_slot",
            )
        ]

    def __str__(self) -> str:
        return f"key of {self.user_id} for {self.provider}"

    def bearer(self) -> str:
        """The whole `Authorization` header value, `Bearer app-sk-…`. Raises `crypto.Unreadable`."""
        return wire.authorization(crypto.unseal(self.sealed))

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    @property
    def expires_at_unix(self) -> int:
        return int(self.expires_at.timestamp()) if self.expires_at else 0


class AccessToken(models.Model):
    """A personal token of somebody's own programs, for `/v1` and `/api/v1`.

    Shown once; kept as the SHA-256 of its 256 random bits. `spent` counts what its requests cost,
    with what the open ones may cost at most (`accounts.tokens`), never `save()`.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="access_tokens")
    label = models.CharField(max_length=60)
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256, lower-case hex")
    hint = models.CharField(max_length=12, help_text="how the secret begins, to tell it by")
    previous_digest = models.CharField(
        max_length=64, default="", blank=True, help_text="replaced, good until `previous_until`"
    )
    previous_until = models.DateTimeField(null=True)
    may_infer = models.BooleanField(default=False, help_text="scope `inference`")
    may_read = models.BooleanField(default=False, help_text="scope `read`")
    model_names = models.JSONField(default=list, help_text="it may ask; empty: all")
    providers = models.JSONField(default=list, help_text="EIP-55 addresses; empty: all")
    verified_only = models.BooleanField(default=False)
    spend_limit = NeuronField(null=True, help_text="neuron over its whole life; null = none")
    spent = NeuronField(default=0)
    per_minute = models.IntegerField(default=60)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "-created_at"]),
            models.Index(
                fields=["previous_digest"],
                condition=~models.Q(previous_digest=""),
                name="replaced_tokens",
            ),
        ]

    def __str__(self) -> str:
        return f"token of {self.user_id}"

    @property
    def scopes(self) -> tuple[str, ...]:
        held = (("inference", self.may_infer), ("read", self.may_read))
        return tuple(name for name, given in held if given)


class SignIn(models.Model):
    """One open session of a wallet, so that its owner can see it and end it from elsewhere."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_ins")
    session_key = models.CharField(max_length=40, unique=True)
    agent = models.CharField(max_length=120, default="", blank=True, help_text="the browser's word")
    #: No address: that part of it tells one's own places apart.
    network = models.CharField(max_length=45, default="", db_default="", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["user", "-seen_at"])]

    def __str__(self) -> str:
        return f"session of {self.user_id}"


class Watch(models.Model):
    """A listing that somebody keeps an eye on (`accounts.watching`)."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="watches")
    serving = AddressField()
    provider = AddressField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "serving", "provider"], name="watched_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["serving", "provider"], name="watchers")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} watches {self.provider}"
