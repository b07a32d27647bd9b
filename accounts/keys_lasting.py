"""Lasting provider keys, slots 0-254 (provider-protocol.md 2.1): made for their owner's own
programs, shown once, kept by nobody here.

A slot is one bit of the sub-account's revocation bitmap, so two keys in one slot could only be
revoked together; and a revoked slot stays revoked until all keys are (contracts.md 4.1). Therefore
a slot is given out once per generation, never again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from accounts import keys
from accounts.errors import Problem
from accounts.keys import KeyRequest
from accounts.models import ProviderKey, User
from ledger.records import Position
from protocol import keys as wire

MAX_DAYS = 3650
SLOTS = wire.MAX_PERSISTENT_TOKEN_ID + 1


@dataclass(frozen=True)
class Made:
    """A finished key: `secret` is for the person's eyes now and never again."""

    row: ProviderKey
    secret: str


def prepare(user: User, provider: str, days: int) -> KeyRequest:
    """A request for a key of `days` days (0 = it never ends) in the lowest free slot.

    Raises Refused without a sub-account, Problem when no slot is left, NodeError.
    """
    if not 0 <= days <= MAX_DAYS:
        raise Problem("invalid_request", f"`days` must lie between 0 and {MAX_DAYS}.")
    account, serving = keys.account_at(user, provider)
    slot = _free_slot(user, provider, serving, account.generation, account.revoked_bitmap)
    return keys.written(
        user,
        provider,
        serving,
        generation=account.generation,
        slot=slot,
        lifetime=timedelta(days=days),
    )


def _free_slot(user: User, provider: str, serving: str, generation: int, bitmap: int) -> int:
    given = set(
        user.provider_keys.filter(
            provider=provider, serving=serving, generation=generation, token_id__lt=SLOTS
        ).values_list("token_id", flat=True)
    )
    free = (slot for slot in range(SLOTS) if slot not in given and not bitmap >> slot & 1)
    slot = next(free, None)
    if slot is None:
        raise Problem(
            "no_slot_left",
            _("All %(slots)s slots of this provider were used.") % {"slots": SLOTS},
            _("Revoke all keys of the provider: that frees every slot."),
            status=409,
        )
    return slot


def create(user: User, raw: str, signature: str, serving: str, label: str) -> Made:
    """The finished key; its row keeps slot, label and a fingerprint, not the secret.

    Raises Problem when the signature makes no key, came too late, or the slot was given out
    meanwhile.
    """
    secret, fields = keys.signed(user, raw, signature, ephemeral=False)
    try:
        with transaction.atomic():
            row = user.provider_keys.create(
                provider=fields.provider,
                serving=serving,
                label=label,
                fingerprint=hashlib.sha256(secret.encode()).hexdigest()[:16],
                token_id=fields.token_id,
                generation=fields.generation,
                created_at=keys.moment(fields.timestamp),
                expires_at=keys.moment(fields.expires_at) if fields.expires_at else None,
            )
    except IntegrityError:
        raise Problem(
            "slot_taken",
            _("This slot was given out a moment ago."),
            _("Make a new key."),
            status=409,
        ) from None
    return Made(row, secret)


# --- what the chain says about them --------------------------------------------------------------


def state(key: ProviderKey, position: Position | None, now: datetime) -> str:
    """`active`, `expired`, `revoked` (its own bit; short-lived keys have none, contracts.md 4.4) or
    `outdated` (all keys were revoked since).
    """
    if position is not None and key.generation < position.generation:
        return "outdated"
    lasting = key.token_id != wire.EPHEMERAL_TOKEN_ID
    if position is not None and lasting and position.revoked_bitmap >> key.token_id & 1:
        return "revoked"
    return "expired" if key.expired(now) else "active"


@dataclass(frozen=True)
class Slots:
    """The revocation bitmap of one sub-account: `revoked` slots, and how many we gave out in this
    generation.
    """

    position: Position
    revoked: tuple[int, ...]
    given: int


def slots(position: Position, given: int) -> Slots:
    bits = position.revoked_bitmap
    return Slots(position, tuple(slot for slot in range(256) if bits >> slot & 1), given)
