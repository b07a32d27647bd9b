"""Provider keys for chat: one wallet signature, good for the whole sub-account
(provider-protocol.md 2.1).

The keys made here are short-lived (slot 255, at most 24 h). The message is written by the server
and kept in the session; the wallet returns only a signature; the finished key is sealed in the
database and never goes back to a page. Lasting keys are `accounts.keys_lasting`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import crypto, reading
from accounts.errors import Problem, Refused
from accounts.facts import Facts
from accounts.models import ProviderKey, User
from accounts.refusals import sentence
from ledger.models import SubAccount
from protocol import keys as wire

#: A little under the 24 h the protocol allows.
LIFETIME = timedelta(hours=24) - timedelta(minutes=1)
#: A key that ends this soon is not started with any more.
MARGIN = timedelta(minutes=2)
#: A prepared message must be signed within this time.
PREPARED_FOR = timedelta(minutes=10)


@dataclass(frozen=True)
class KeyRequest:
    """What the wallet is asked to sign: `digest` are 32 bytes (0x-hex) for `personal_sign`, made
    from `raw`.
    """

    raw: str
    digest: str
    fields: wire.KeyFields
    serving: str


def prepare(user: User, provider: str, service: str = "") -> KeyRequest:
    """A key request for the sub-account at `provider` (EIP-55).

    `service` is the exact service name; without it the recommended inference contract is meant.
    Raises Refused when there is no sub-account yet, NodeError when the chain does not answer.
    """
    params = {"provider": provider, **({"service_name": service} if service else {})}
    facts = reading.facts("revoke_all_tokens", params, user.address)
    account = facts.accounts.get(provider)
    if account is None or facts.serving is None:
        raise Refused("AccountNotExists", *sentence("AccountNotExists", {}))
    require_plain(facts)
    now = timezone.now()
    fields = wire.build(
        address=user.address,
        provider=provider,
        now_ms=int(now.timestamp() * 1000),
        lifetime_ms=int(LIFETIME.total_seconds() * 1000),
        nonce=secrets.token_hex(16),
        generation=account.generation,
        token_id=wire.EPHEMERAL_TOKEN_ID,
    )
    raw = wire.raw_message(fields)
    return KeyRequest(raw, "0x" + wire.message_hash(raw).hex(), fields, facts.serving.address)


def require_plain(facts: Facts) -> None:
    """Raises Problem for a wallet that is a contract: providers recover the signer of a key
    (provider-protocol.md 2.1), and nothing that a contract accepts recovers to its address."""
    if facts.contract_wallet:
        raise contract_wallet()


def contract_wallet() -> Problem:
    return Problem(
        "contract_wallet",
        _("Your wallet is a contract, and only a plain account can sign this."),
        _("Sign in with a plain account; what a contract holds at providers can be taken back."),
        status=422,
    )


def store(user: User, provider: str, raw: str, signature: str, serving: str = "") -> ProviderKey:
    """Check the signed request in every field and seal the key. Raises Problem with the reason."""
    now = timezone.now()
    try:
        key = wire.encode(raw, signature)
        fields = wire.verify(
            wire.authorization(key), provider=provider, now=int(now.timestamp()), state=None
        )
    except ValueError as error:
        raise Problem(
            "key_refused",
            _("This signature makes no key: %(error)s.") % {"error": error},
            _("Sign the request again."),
        ) from None
    age = now - datetime.fromtimestamp(fields.timestamp / 1000, UTC)
    if fields.address != user.address or not fields.ephemeral or not _recent(age):
        raise Problem(
            "key_refused", _("This key was made for another wallet or time."), _("Make a new key.")
        )
    # One living key per provider is enough: the older one is forgotten (it still expires by
    # itself).
    forget(user, provider)
    return user.provider_keys.create(
        provider=provider,
        serving=serving,
        sealed=crypto.seal(key),
        token_id=fields.token_id,
        generation=fields.generation,
        created_at=datetime.fromtimestamp(fields.timestamp / 1000, UTC),
        expires_at=datetime.fromtimestamp(fields.expires_at / 1000, UTC),
    )


def _recent(age: timedelta) -> bool:
    return timedelta(minutes=-1) <= age <= PREPARED_FOR


def usable(user: User, provider: str, now: datetime) -> ProviderKey | None:
    """A key for `provider` that outlives `now` by `MARGIN` and that the chain has not revoked, or
    None.
    """
    living = Q(expires_at__isnull=True) | Q(expires_at__gt=now + MARGIN)
    own = user.provider_keys.filter(living, provider=provider, token_id=wire.EPHEMERAL_TOKEN_ID)
    key = own.order_by("-created_at").first()
    if key is None or _revoked(key, user):
        return None
    return key


def _revoked(key: ProviderKey, user: User) -> bool:
    """By the index: a later generation kills all keys, a bit of the bitmap one (slot 255 never,
    contracts.md 4.4).
    """
    account = SubAccount.current.filter(
        user=user.address, provider=key.provider, serving=key.serving
    ).first()
    if account is None:
        return False
    if key.generation < account.generation:
        return True
    ephemeral = key.token_id == wire.EPHEMERAL_TOKEN_ID
    return not ephemeral and bool(account.revoked_bitmap >> key.token_id & 1)


def forget(user: User, provider: str) -> None:
    """Drop the site's own short-lived keys for a provider; lasting ones are not the site's."""
    user.provider_keys.filter(provider=provider, token_id=wire.EPHEMERAL_TOKEN_ID).delete()


def touch(key: ProviderKey, now: datetime) -> None:
    """Remember when the key was last used."""
    ProviderKey.objects.filter(pk=key.pk).update(last_used_at=now)


def rotate() -> tuple[int, int]:
    """Seal every key with the newest of FIELD_KEYS: (done, unreadable with any of them)."""
    return crypto.reseal_all(ProviderKey.objects.all(), "sealed")
