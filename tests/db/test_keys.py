"""Keys of providers, and what is sealed with the site's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import models
from django.test import Client
from django.utils import timezone

from accounts import crypto, keys
from accounts.errors import Problem, Refused
from accounts.models import ProviderKey, User
from alerts import hooks
from alerts.models import Hook
from devnet import accounts as cast
from devnet.deploy import Contracts
from finetune.models import Dataset
from ledger.models import SubAccount
from ops import staff
from ops.models import PasswordAccount
from protocol import keys as wire
from tests.db.test_funds import (
    ALICE,
    BOB,
    NEURON,
    PETRA,
    alice,
    contracts,
    site,
)

__all__ = ["alice", "contracts", "site"]

pytestmark = pytest.mark.django_db


def signed(wanted: keys.KeyRequest, by: Any = ALICE) -> str:
    from eth_account.messages import encode_defunct

    message = encode_defunct(hexstr=wanted.digest)
    return "0x" + bytes(by.sign_message(message).signature).hex()


@pytest.fixture
def funded(contracts: Contracts, site: None) -> User:
    contracts.ledger.send(ALICE, "depositFund", value=10 * NEURON)
    contracts.ledger.send(ALICE, "transferFund", PETRA, "inference-v1.0", 2 * NEURON)
    return User.objects.for_address(ALICE.address)


def test_a_key_is_what_a_provider_accepts_and_is_sealed_at_rest(
    funded: User, contracts: Contracts
) -> None:
    wanted = keys.prepare(funded, PETRA)
    assert (wanted.fields.token_id, wanted.fields.generation) == (255, 0)
    key = keys.store(funded, PETRA, wanted.raw, signed(wanted), wanted.serving)
    now = timezone.now()
    read = wire.verify(
        key.bearer(),
        provider=PETRA,
        now=int(now.timestamp()),
        state=wire.Revocation(generation=0, revoked_bitmap=0),
    )
    assert read.address == ALICE.address and read.ephemeral
    stored = ProviderKey.objects.get()
    assert "app-sk" not in stored.sealed and wanted.raw not in stored.sealed
    assert keys.usable(funded, PETRA, now) == key
    assert keys.usable(funded, PETRA, now + timedelta(hours=24)) is None
    assert keys.usable(funded, cast.provider(2).address, now) is None
    assert keys.usable(User.objects.for_address(BOB.address), PETRA, now) is None


def test_a_key_signed_by_another_or_altered_is_refused(funded: User) -> None:
    wanted = keys.prepare(funded, PETRA)
    forever = wanted.raw.replace('"tokenId":255', '"tokenId":3')
    for raw, signature in (
        (wanted.raw, signed(wanted, BOB)),
        (wanted.raw + " ", signed(wanted)),
        (forever, signed(wanted)),
        (wanted.raw, "0x12"),
    ):
        with pytest.raises(Problem):
            keys.store(funded, PETRA, raw, signature)
    with pytest.raises(Problem):
        keys.store(funded, cast.provider(2).address, wanted.raw, signed(wanted))
    bob = User.objects.for_address(BOB.address)
    with pytest.raises(Problem):
        keys.store(bob, PETRA, wanted.raw, signed(wanted))
    assert not ProviderKey.objects.exists()


def test_a_key_of_an_older_generation_counts_no_more(funded: User, contracts: Contracts) -> None:
    contracts.inference.send(ALICE, "revokeAllTokens", PETRA)
    wanted = keys.prepare(funded, PETRA)
    assert wanted.fields.generation == 1
    keys.store(funded, PETRA, wanted.raw, signed(wanted), wanted.serving)
    SubAccount.objects.create(
        serving=wanted.serving, user=ALICE.address, provider=PETRA, generation=1, block=3
    )
    assert keys.usable(funded, PETRA, timezone.now()) is not None
    SubAccount.objects.update(generation=2)
    assert keys.usable(funded, PETRA, timezone.now()) is None


def test_no_key_without_an_account_at_the_provider(site: None) -> None:
    with pytest.raises(Refused) as caught:
        keys.prepare(User.objects.for_address(BOB.address), PETRA)
    assert caught.value.code == "AccountNotExists"


def test_the_doors_never_return_the_key(funded: User, alice: Client) -> None:
    def post(name: str, **body: str) -> Any:
        return alice.post(f"/account/keys/{name}", body, content_type="application/json")

    wanted = post("prepare", provider=PETRA).json()
    assert wanted["ready"] is False and "whole sub-account" in wanted["scope"]
    raw = alice.session["provider_key"]["raw"]
    request = keys.KeyRequest(raw, wanted["digest"], wire.parse(_empty(raw)).fields, "")
    stored = post("store", provider=PETRA, signature=signed(request))
    assert stored.status_code == 200 and set(stored.json()) == {"ready", "expires_at"}
    assert post("prepare", provider=PETRA).json()["ready"] is True
    assert post("store", provider=PETRA, signature=signed(request)).status_code == 400
    html = alice.get("/account/keys").content.decode()
    assert 'data-testid="key-row"' in html and "app-sk" not in html
    key = ProviderKey.objects.get()
    bob = Client()
    bob.force_login(User.objects.for_address(BOB.address))
    bob.post(f"/account/keys/{key.pk}/forget")
    assert ProviderKey.objects.exists()
    alice.post(f"/account/keys/{key.pk}/forget")
    assert not ProviderKey.objects.exists()


def _empty(raw: str) -> str:
    return wire.encode(raw, b"\0" * 65)


def test_sealed_fields_survive_a_new_key_and_not_the_loss_of_the_old(settings: Any) -> None:
    from cryptography.fernet import Fernet

    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_KEYS = [old]
    sealed = crypto.seal("secret")
    settings.FIELD_KEYS = [new, old]
    assert crypto.unseal(sealed) == "secret"
    user = User.objects.for_address(ALICE.address)
    row = user.provider_keys.create(
        provider=PETRA, sealed=sealed, token_id=255, generation=0, created_at=timezone.now()
    )
    call_command("rotate_field_keys")
    row.refresh_from_db()
    settings.FIELD_KEYS = [new]
    assert row.bearer() == "Bearer secret"
    with pytest.raises(crypto.Unreadable):
        crypto.unseal(sealed)
    settings.FIELD_KEYS = [old]  # whoever lets a script go on by the exit code keeps the old key
    with pytest.raises(CommandError, match="not among FIELD_KEYS"):
        call_command("rotate_field_keys")
    settings.FIELD_KEYS = [new, "short"]
    with pytest.raises(ImproperlyConfigured, match="FIELD_KEYS: key 2"):
        crypto.require_keys()


class _Meanwhile(list[str]):
    """FIELD_KEYS during whose first use something else happens."""

    def __init__(self, found: list[str], other: Callable[[], object]) -> None:
        super().__init__(found)
        self._others = [other]

    def __iter__(self) -> Iterator[str]:
        if self._others:
            self._others.pop()()
        return super().__iter__()


@pytest.mark.django_db
def test_what_is_replaced_while_keys_are_turned_over_stays_replaced(settings: Any) -> None:
    user = User.objects.for_address(ALICE.address)
    now, old = timezone.now(), crypto.seal("old")
    hook = Hook.objects.create(user=user, url="https://a", sealed_secret=old, created_at=now)

    def rotated(other: Callable[[], object]) -> tuple[int, int]:
        settings.FIELD_KEYS = _Meanwhile(list(settings.FIELD_KEYS), other)
        return crypto.rotate()

    new: list[str] = []
    assert rotated(lambda: new.append(hooks.renew_secret(hook))) == (1, 0), "the one it replaced"
    hook.refresh_from_db()
    assert crypto.unseal(hook.sealed_replaced) == "old"
    assert crypto.unseal(hook.sealed_secret) == new[0]
    hook.delete()
    account = PasswordAccount.objects.create(user=user, name="rosa", secret_sealed=old)
    assert rotated(lambda: staff.forget_authenticator(account)) == (0, 0)
    account.refresh_from_db()
    assert account.secret_sealed == ""


def test_every_text_under_the_keys_of_the_site_is_found() -> None:
    """What is sealed under a key of its own is bytes; what is under FIELD_KEYS is text."""
    named = {
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.local_concrete_fields
        if "sealed" in field.name and isinstance(field, models.TextField)
    }
    assert named == set(crypto.fields())
    assert (Dataset, "preview_sealed") in named
