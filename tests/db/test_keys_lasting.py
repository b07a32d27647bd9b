"""Lasting keys in slots of their own, sessions that can be ended, and how fresh a proof must be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from eth_account.messages import encode_defunct

from accounts import keyring, keys, keys_lasting, sessions
from accounts.errors import Problem
from accounts.models import ProviderKey, SignIn, User
from accounts.session_store import name_of
from devnet import accounts as cast
from devnet.anvil import Anvil
from devnet.deploy import Contracts, connect, deploy
from ledger.models import ServingContract, SubAccount
from protocol import keys as wire

pytestmark = pytest.mark.django_db
NEURON = 10**18
ALICE, BOB = cast.user(1), cast.user(2)
PETRA = cast.provider(1).address


@pytest.fixture(scope="module")
def contracts() -> Iterator[Contracts]:
    with Anvil(args=()) as node:
        found = connect(node.url, deploy(node.url))
        found.ledger.send(ALICE, "depositFund", value=10 * NEURON)
        found.ledger.send(ALICE, "transferFund", PETRA, "inference-v1.0", 2 * NEURON)
        yield found


@pytest.fixture
def user(contracts: Contracts, settings: Any) -> Iterator[User]:
    settings.CHAIN_RPC_URLS = (contracts.chain.rpc.url,)
    ServingContract.objects.create(
        address=contracts.inference.address,
        kind="inference",
        version="v1.0",
        service_name="inference-v1.0",
        recommended=True,
        registered_block=1,
        start_block=1,
        block=1,
    )
    SubAccount.objects.create(
        serving=contracts.inference.address,
        user=ALICE.address,
        provider=PETRA,
        balance=2 * NEURON,
        block=1,
    )
    with contracts.chain.rollback():
        yield User.objects.for_address(ALICE.address)


def sign(digest: str, by: Any = ALICE) -> str:
    return "0x" + bytes(by.sign_message(encode_defunct(hexstr=digest)).signature).hex()


def make(user: User, label: str = "job", days: int = 30) -> keys_lasting.Made:
    wanted = keys_lasting.prepare(user, PETRA, days)
    return keys_lasting.create(user, wanted.raw, sign(wanted.digest), wanted.serving, label)


def slot_of(user: User) -> int:
    return keys_lasting.prepare(user, PETRA, 0).fields.token_id


def signed_in(by: Any = ALICE, agent: str = "Firefox") -> Client:
    """A browser that signed in with a wallet, through the doors."""
    client = Client(headers={"user-agent": agent})
    sign_again(client, by)
    return client


def sign_again(client: Client, by: Any = ALICE) -> None:
    asked = client.post(
        "/account/sign-in/prepare", {"address": by.address}, content_type="application/json"
    ).json()
    signature = by.sign_message(encode_defunct(text=asked["message"])).signature
    answer = client.post(
        "/account/sign-in/verify",
        {"signature": "0x" + bytes(signature).hex()},
        content_type="application/json",
    )
    assert answer.status_code == 200, answer.content


def test_no_slot_is_given_out_twice_in_a_generation(user: User, contracts: Contracts) -> None:
    contracts.inference.send(ALICE, "revokeTokens", PETRA, [1, 3])
    assert [make(user).row.token_id for _ in range(3)] == [0, 2, 4]
    wanted = keys_lasting.prepare(user, PETRA, 0)
    twin = keys_lasting.prepare(user, PETRA, 0)
    assert wanted.fields.token_id == twin.fields.token_id == 5
    keys_lasting.create(user, wanted.raw, sign(wanted.digest), wanted.serving, "first")
    with pytest.raises(Problem) as caught:
        keys_lasting.create(user, twin.raw, sign(twin.digest), twin.serving, "second")
    assert caught.value.code == "slot_taken"
    ProviderKey.objects.filter(token_id=0).update(expires_at=timezone.now())
    assert slot_of(user) == 6  # an expired key's slot is not free either
    contracts.inference.send(ALICE, "revokeAllTokens", PETRA)
    assert make(user).row.token_id == 0
    rows = [
        ProviderKey(
            user=user,
            provider=PETRA,
            serving=wanted.serving,
            token_id=slot,
            generation=1,
            created_at=timezone.now(),
        )
        for slot in range(1, 255)
    ]
    ProviderKey.objects.bulk_create(rows)
    with pytest.raises(Problem) as caught:
        slot_of(user)
    assert caught.value.code == "no_slot_left"


def test_the_key_works_and_is_kept_nowhere(user: User) -> None:
    made = make(user, days=0)
    fields = wire.verify(
        wire.authorization(made.secret),
        provider=PETRA,
        now=int(time.time()) + 10**9,
        state=wire.Revocation(generation=0, revoked_bitmap=0),
    )
    assert (fields.token_id, fields.expires_at, made.row.expires_at) == (0, 0, None)
    row = ProviderKey.objects.get()
    assert row.sealed == "" and len(row.fingerprint) == 16
    assert made.secret not in str(vars(row))
    # The playground neither uses nor forgets it, and rotation leaves it alone.
    assert keys.usable(user, PETRA, timezone.now()) is None
    keys.forget(user, PETRA)
    call_command("rotate_field_keys")
    assert ProviderKey.objects.exists()


def test_a_signature_of_another_wallet_or_an_altered_slot_makes_no_key(user: User) -> None:
    wanted = keys_lasting.prepare(user, PETRA, 30)
    moved = wanted.raw.replace('"tokenId":0', '"tokenId":7')
    shared = wanted.raw.replace('"tokenId":0', '"tokenId":255')
    for raw, by in ((wanted.raw, BOB), (moved, ALICE), (shared, ALICE)):
        with pytest.raises(Problem) as caught:
            keys_lasting.create(user, raw, sign(wanted.digest, by), wanted.serving, "x")
        assert caught.value.code == "key_refused"
    assert not ProviderKey.objects.exists()


def test_the_doors_show_the_secret_once_and_want_a_fresh_signature(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = signed_in()

    def post(name: str, **body: Any) -> Any:
        return alice.post(f"/account/keys/{name}", body, content_type="application/json")

    wanted = post("new", provider=PETRA, label="<b>job</b>", days=30).json()
    said = {field["name"]: (field["value"], field["means"]) for field in wanted["fields"]}
    assert said["Slot"][0] == "0 of 255" and "it alone can be revoked" in said["Slot"][1]
    assert "keys of an earlier one are refused" in said["Generation"][1]
    assert said["For provider"] == (PETRA, "")
    # Or a clock was wrong as it was written down: by more than a busy machine takes to ask.
    for age in (601, -660):
        session = alice.session
        session["proved_at"] = int(time.time()) - age
        session.save()
        for name, body in (
            ("new", {"provider": PETRA, "label": "x", "days": 1}),
            ("create", {"signature": sign(wanted["digest"])}),
        ):
            refused = post(name, **body)
            assert (refused.status_code, refused.json()["code"]) == (403, "step_up_required")
    sign_again(alice)
    made = post("create", signature=sign(wanted["digest"]))
    assert made.status_code == 200 and made["Cache-Control"] == "no-store"
    secret = made.json()["key"]
    assert secret.startswith("app-sk-")
    assert post("create", signature=sign(wanted["digest"])).json()["code"] == "no_pending_key"
    html = alice.get("/account/keys").content.decode()
    # What is needed daily stands first, and the chain's words are explained where they stand.
    order = [html.index(f'id="{part}"') for part in ("tokens", "lasting", "slots", "own")]
    assert order == sorted(order)
    assert html.count(">Generation</strong>") == html.count(">Slot</strong>") == 1
    assert secret not in html and "&lt;b&gt;job&lt;/b&gt;" in html
    assert 'data-slot="0" data-state="active"' in html and "1 of 255" in html
    key = ProviderKey.objects.get()
    with monkeypatch.context() as short:
        # Every key has its page, those that have ended the last; slots are counted on each.
        short.setattr(keyring, "_PER_PAGE", 1)
        ended = ProviderKey.objects.create(
            **{name: getattr(key, name) for name in ("user", "provider", "serving", "created_at")},
            generation=9,
            token_id=3,
            expires_at=timezone.now() - timedelta(days=1),
            label="old",
        )
        pages = [alice.get(f"/account/keys?page={n}").content.decode() for n in (1, 2)]
        assert [html.count('data-testid="lasting-key"') for html in pages] == [1, 1]
        assert 'data-slot="0" data-state="active"' in pages[0] and 'data-slot="3"' in pages[1]
        assert all("1 of 255" in html for html in pages) and "2–2 of 2" in pages[1]
        assert alice.get("/account/keys?page=3")["Location"].endswith("?page=2#lasting")
        ended.delete()
    alice.post(f"/account/keys/{key.pk}/forget")
    assert ProviderKey.objects.exists()  # its slot stays taken
    for days in (-1, 4000, "7", True, 1.5, None):
        assert post("new", provider=PETRA, label="x", days=days).status_code == 400
    assert Client().post("/account/keys/new").status_code == 401


def test_the_page_shows_what_the_chain_has_revoked(user: User, contracts: Contracts) -> None:
    make(user)
    make(user)
    short = keys.prepare(user, PETRA)
    keys.store(user, PETRA, short.raw, sign(short.digest), short.serving)
    alice, own = signed_in(), f'data-testid="key-row" data-provider="{PETRA}" data-state='
    # The bit of the slot that short-lived keys share ends none of them (contracts.md 4.4).
    SubAccount.objects.update(revoked_bitmap=1 << 1 | 1 << 200 | 1 << 255)
    html = alice.get("/account/keys").content.decode()
    assert 'data-slot="0" data-state="active"' in html and own + '"active"' in html
    assert 'data-slot="1" data-state="revoked"' in html
    assert 'data-revoked="1 200 255"' in html
    SubAccount.objects.update(revoked_bitmap=0, generation=1)
    html = alice.get("/account/keys").content.decode()
    assert html.count('data-state="outdated"') == html.count("revoked with all") == 3
    assert own + '"outdated"' in html
    html = alice.get(
        f"/account?action=revoke_tokens&account=inference-v1.0:{PETRA}&slots=0,%207-9"
    ).content.decode()
    assert 'data-state="prechecked"' in html and html.count('data-effect="key_revoked"') == 4
    assert "inference revoke-token --provider" in html and "--token-id 9" in html


# --- sessions ------------------------------------------------------------------------------------


def opens(client: Client) -> bool:
    return b'data-testid="sign-out"' in client.get("/account/keys").content


def test_sessions_are_listed_and_ended_from_another_browser(user: User) -> None:
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
    here, there = signed_in(agent=firefox), signed_in(agent="<i>Other</i>")
    bobs, html = signed_in(BOB), here.get("/account/keys").content.decode()
    assert ">Firefox on Linux</span>" in html
    assert ">127.0.0.0/24</span>" in html
    assert html.count('data-testid="session-row"') == 2 and "&lt;i&gt;Other&lt;/i&gt;" in html
    other = SignIn.objects.get(user=user, agent="<i>Other</i>")
    bobs.post(f"/account/sessions/{other.pk}/end")
    assert opens(there)
    here.post(f"/account/sessions/{other.pk}/end")
    assert not opens(there) and opens(here) and opens(bobs)
    # Proved once more it outlives the week of its beginning; one that expired is open no more.
    SignIn.objects.filter(user=user).update(created_at=timezone.now() - timedelta(days=8))
    assert here.get("/account/keys").content.decode().count('data-testid="session-row"') == 1
    second = signed_in()
    ended = Session.objects.filter(pk=name_of(second.session.session_key))
    assert ended.update(expire_date=timezone.now())
    assert here.get("/account/keys").content.decode().count('data-testid="session-row"') == 1
    assert here.post("/account/sign-out-everywhere").status_code == 302
    assert not opens(here) and not opens(second) and opens(bobs)
    assert SignIn.objects.get().user.address == BOB.address
    assert sessions.end_everybodys() == 1 and not opens(bobs)


def test_who_reads_the_database_or_a_backup_finds_no_session_to_come_in_with(user: User) -> None:
    alice, thief = signed_in(), Client()
    key = alice.cookies["sessionid"].value
    [row], [session] = SignIn.objects.all(), Session.objects.all()
    assert row.session_key == session.pk == name_of(key) and key not in str(vars(session))
    thief.cookies["sessionid"] = session.pk
    assert opens(alice) and not opens(thief)
    signed_in(BOB).post("/account/sign-out")
    alice.post("/account/sign-out")
    assert not Session.objects.exists() and not SignIn.objects.exists()


def test_a_session_opened_while_all_are_ended_stays_in_the_list(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in()
    close = sessions._close

    def slowly(row: SignIn) -> None:
        close(row)
        signed_in(agent="Late")

    monkeypatch.setattr(sessions, "_close", slowly)
    assert sessions.end_all(user) == 1
    assert SignIn.objects.get().agent == "Late", "it lives, so it can be ended"


def test_signing_in_again_does_not_leave_a_second_session_behind(user: User) -> None:
    alice = signed_in()
    sign_again(alice)
    assert SignIn.objects.count() == 1
    alice.post("/account/sign-out")
    assert not SignIn.objects.exists()
    enforcing = Client(enforce_csrf_checks=True)
    assert enforcing.post("/account/sign-out-everywhere").status_code == 403
