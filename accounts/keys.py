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

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import crypto, facts, services
from accounts.errors import Problem, Refused
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
    account, serving = account_at(user, provider, service)
    slot, generation = wire.EPHEMERAL_TOKEN_ID, account.generation
    return written(user, provider, serving, generation=generation, slot=slot, lifetime=LIFETIME)


def account_at(user: User, provider: str, service: str = "") -> tuple[facts.SubAccount, str]:
    """The sub-account that a key would be good for, and its contract.

    Raises Refused without one, NodeError, and Problem for a wallet that is a contract: providers
    recover the signer of a key (provider-protocol.md 2.1), and nothing that a contract accepts
    recovers to its address.
    """
    params = {"provider": provider, **({"service_name": service} if service else {})}
    found = services.facts_now("revoke_all_tokens", params, user.address)
    account = found.accounts.get(provider)
    if account is None or found.serving is None:
        raise Refused("AccountNotExists", *sentence("AccountNotExists", {}))
    if found.contract_wallet:
        raise contract_wallet()
    return account, found.serving.address


def written(
    user: User, provider: str, serving: str, *, generation: int, slot: int, lifetime: timedelta
) -> KeyRequest:
    """The request for a key in `slot`; a `lifetime` of nothing: it never ends."""
    fields = wire.build(
        address=user.address,
        provider=provider,
        now_ms=int(timezone.now().timestamp() * 1000),
        lifetime_ms=int(lifetime.total_seconds() * 1000),
        nonce=secrets.token_hex(16),
        generation=generation,
        token_id=slot,
    )
    raw = wire.raw_message(fields)
    return KeyRequest(raw, "0x" + wire.message_hash(raw).hex(), fields, serving)


def contract_wallet() -> Problem:
    return Problem(
        "contract_wallet",
        _("Your wallet is a contract, and only a plain account can sign this."),
        _("Sign in with a plain account; what a contract holds at providers can be taken back."),
        status=422,
    )


def signed(
    user: User, raw: str, signature: str, *, ephemeral: bool, provider: str = ""
) -> tuple[str, wire.KeyFields]:
    """The finished key of a request that was prepared for this person a moment ago (and for
    `provider`, where one is named), checked in every field. Raises Problem with the reason."""
    now = timezone.now()
    try:
        key = wire.encode(raw, signature)
        fields = wire.parse(key).fields
        wire.verify(
            wire.authorization(key),
            provider=provider or fields.provider,
            now=int(now.timestamp()),
            state=None,
        )
    except ValueError as error:
        raise Problem(
            "key_refused",
            _("This signature makes no key: %(error)s.") % {"error": error},
            _("Sign the request again."),
        ) from None
    recent = timedelta(minutes=-1) <= now - moment(fields.timestamp) <= PREPARED_FOR
    if fields.address != user.address or fields.ephemeral != ephemeral or not recent:
        raise Problem(
            "key_refused", _("This key was made for another wallet or time."), _("Make a new key.")
        )
    return key, fields


def moment(milliseconds: int) -> datetime:
    """A time of a key's fields."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def store(user: User, provider: str, raw: str, signature: str, serving: str = "") -> ProviderKey:
    """Check the signed request in every field and seal the key. Raises Problem with the reason."""
    key, fields = signed(user, raw, signature, ephemeral=True, provider=provider)
    # One living key per provider is enough: the older one is forgotten (it still expires by
    # itself).
    with transaction.atomic():
        forget(user, provider)
        return user.provider_keys.create(
            provider=provider,
            serving=serving,
            sealed=crypto.seal(key),
            token_id=fields.token_id,
            generation=fields.generation,
            created_at=moment(fields.timestamp),
            expires_at=moment(fields.expires_at),
        )


def usable(user: User, provider: str, now: datetime) -> ProviderKey | None:
    """A key for `provider` that outlives `now` by `MARGIN` and that the chain has not revoked, or
    None.
    """
    own = user.provider_keys.filter(provider=provider, token_id=wire.EPHEMERAL_TOKEN_ID)
    key = own.filter(expires_at__gt=now + MARGIN).order_by("-created_at").first()
    return None if key is None or _revoked(key, user) else key


def _revoked(key: ProviderKey, user: User) -> bool:
    """By the index: a later generation ends all keys; no bit ends a short-lived one (contracts.md
    4.4).
    """
    held = SubAccount.current.filter(
        user=user.address, provider=key.provider, serving=key.serving
    ).first()
    return held is not None and key.generation < held.generation


def forget(user: User, provider: str, until: datetime | None = None) -> None:
    """Drop the site's own short-lived keys for a provider; lasting ones are not the site's.

    `until`: only those that were there then: what a provider refuses may have been asked with a key
    that was replaced since.
    """
    own = user.provider_keys.filter(provider=provider, token_id=wire.EPHEMERAL_TOKEN_ID)
    (own if until is None else own.filter(created_at__lte=until)).delete()


def touch(key: ProviderKey, now: datetime) -> None:
    """Remember when the key was last used."""
    ProviderKey.objects.filter(pk=key.pk).update(last_used_at=now)
