"""Personal access tokens: made behind a fresh signature, kept as a hash, limited, ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import keyring, tokens
from accounts.errors import Problem
from accounts.models import AccessToken, User
from devnet import accounts as cast
from inference.models import Turn
from inference.openai import choose
from tests import factories
from tests.db.test_keys_lasting import signed_in

ALICE, BOB = cast.user(1), cast.user(2)
DOOR = "/account/tokens/create"


def wanted(**given: Any) -> tokens.Wanted:
    return tokens.Wanted.of({"label": "job", "scopes": ["inference"], **given})


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.for_address(ALICE.address)


def refusal(secret: str, scope: str = "") -> str:
    with pytest.raises(Problem) as caught:
        tokens.find(secret, scope)
    return caught.value.code


def test_the_doors_show_a_secret_once_and_want_a_fresh_signature(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(ALICE)
    body = {"label": " report\0 script ", "scopes": ["read", "inference"], "spend_limit": "0.5"}
    made = client.post(DOOR, body, content_type="application/json")
    assert made.status_code == 201 and made["Cache-Control"] == "no-store"
    secret = made.json()["token"]
    row = AccessToken.objects.get()
    assert (row.label, row.scopes) == ("report script", ("inference", "read"))
    assert (row.spend_limit, row.per_minute) == (5 * 10**17, 60)
    assert abs(row.expires_at - timezone.now() - timedelta(days=90)) < timedelta(minutes=1)
    kept = " ".join(str(value) for value in vars(row).values())
    assert secret not in kept and secret[4:20] not in kept
    page = client.get("/account/keys").content.decode()
    assert secret not in page and 'data-testid="token-row"' in page
    assert tokens.find(secret, "read").user == alice
    # somebody else's browser can neither replace nor end it
    other = signed_in(BOB)
    path = f"/account/tokens/{row.pk}"
    assert other.post(f"{path}/rotate", {}, content_type="application/json").status_code == 404
    other.post(f"{path}/revoke")
    again = client.post(f"{path}/rotate", {}, content_type="application/json").json()["token"]
    assert tokens.find(secret) == tokens.find(again) == row
    monkeypatch.setattr("accounts.sessions.FRESH_SECONDS", -1)
    for door in (DOOR, f"{path}/rotate"):
        old = client.post(door, body, content_type="application/json")
        assert (old.status_code, old.json()["code"]) == (403, "step_up_required")
    client.post(f"{path}/revoke")  # ending one is always possible
    assert refusal(again) == "token_revoked"
    assert refusal(secret) == "token_unknown"


def test_what_holds_a_token_is_changed_by_its_owner_alone(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tokens.create(alice, wanted(models="a\nb", spend_limit="1"))
    AccessToken.objects.update(spent=10**18)
    client, other, asked = signed_in(ALICE), signed_in(BOB), f"/account/keys?token={made.row.pk}"
    page = client.get(asked).content.decode()
    assert "a\nb</textarea>" in page and "data-token-change" in page and 'value="1"' in page
    assert 'data-state="spent"' in page
    assert "data-token-change" not in other.get(asked).content.decode()
    path = f"/account/tokens/{made.row.pk}/change"
    body = {"label": "night", "spend_limit": "2", "per_minute": 5, "models": "", "providers": ""}

    def changed(client: Client, **given: Any) -> Any:
        return client.post(path, {**body, **given}, content_type="application/json")

    assert changed(other).status_code == 404 and changed(client, per_minute=0).status_code == 400
    assert changed(client).status_code == 200
    row = tokens.find(made.secret)  # the same secret, and what it has spent stays counted
    assert (row.label, row.spend_limit, row.per_minute) == ("night", 2 * 10**18, 5)
    assert (row.model_names, row.spent, row.scopes) == ([], 10**18, ("inference",))
    assert tokens.state(row, timezone.now()) == "active"
    tokens.revoke(alice, row.pk)
    assert changed(client).status_code == 404
    monkeypatch.setattr("accounts.sessions.FRESH_SECONDS", -1)
    assert changed(client).json()["code"] == "step_up_required"


def test_settings_are_checked(alice: User) -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"label": ""}, {"label": "x" * 61}, {"scopes": []}, {"scopes": ["x"]}, {"scopes": "read"},
        {"days": 91}, {"days": True}, {"per_minute": 0}, {"per_minute": 601}, {"per_minute": "5"},
        {"spend_limit": "-1"}, {"spend_limit": "0"}, {"spend_limit": "1,5"}, {"spend_limit": 5},
        {"models": "m\n" * 3 + "\0"}, {"providers": "0x12"},
        {"models": "\n".join(map(str, range(21)))},
    )  # fmt: skip
    for given in wrong:
        with pytest.raises(Problem) as caught:
            wanted(**given)
        assert caught.value.code == "invalid_request", given
    with pytest.raises(Problem) as caught:
        wanted(spend_limit="some")
    assert caught.value.title.endswith("for example 2.5.")
    good = wanted(models="a\nb\na", providers=factories.PETRA.lower(), verified_only=True)
    assert (good.model_names, good.providers) == (("a", "b"), (factories.PETRA,))


def test_a_token_ends_by_time_by_hand_and_by_being_replaced(alice: User) -> None:
    made = tokens.create(alice, wanted())
    assert refusal("zgm_" + "A" * 43) == "token_unknown"
    assert refusal(made.secret, "read") == "insufficient_scope"
    with pytest.raises(Problem, match="not a token"):
        tokens.secret_of("Bearer app-sk-abc")
    # whoever reads a program's log is not on the site
    with pytest.raises(Problem) as caught:
        tokens.secret_of("Bearer sk-abc")
    assert f"{settings.SITE_URL}/account/keys" in caught.value.fix
    assert tokens.secret_of(f"bearer  {made.secret} ") == made.secret
    now = timezone.now()
    newer = tokens.rotate(alice, made.row.pk)
    assert tokens.find(made.secret, now=now + timedelta(hours=23)) == made.row
    with pytest.raises(Problem):
        tokens.find(made.secret, now=now + timedelta(hours=25))
    newest = tokens.rotate(alice, made.row.pk)
    assert refusal(made.secret) == "token_unknown"
    assert tokens.find(newer.secret) == tokens.find(newest.secret)
    with pytest.raises(Problem, match="expired"):
        tokens.find(newest.secret, now=now + timedelta(days=91))
    AccessToken.objects.update(expires_at=now)
    with pytest.raises(Problem):
        tokens.rotate(alice, made.row.pk)


def test_a_person_has_a_bounded_number_of_tokens(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MOST_TOKENS", 2)
    first = tokens.create(alice, wanted()).row
    tokens.create(alice, wanted())
    with pytest.raises(Problem, match="You have 2"):
        tokens.create(alice, wanted())
    tokens.revoke(alice, first.pk)
    last = tokens.create(alice, wanted()).row
    tokens.revoke(alice, last.pk)
    # The page shows so many, and first those that can still be revoked.
    monkeypatch.setattr(keyring, "_SHOWN", 1)
    assert [row.state for row in keyring.page(alice, "").tokens] == ["active"]


def reserved(token: int, digest: str, most: int) -> bool:
    """Whether `most` neuron could be set aside, as the relay does it."""
    with connection.cursor() as cursor:
        given: dict[str, Any] = {
            "token": token,
            "digest": digest,
            "most": most,
            "now": timezone.now(),
            "bounded": True,
        }
        cursor.execute(tokens.RESERVE, given)
        return cursor.fetchone() is not None


def corrected(token: int, before: int, fee: int) -> None:
    with connection.cursor() as cursor:
        given = {"token": token, "more": fee - before}
        cursor.execute(f"{tokens.CORRECT} WHERE id = %(token)s", given)


@pytest.mark.django_db(transaction=True)
def test_requests_at_the_same_time_cannot_pass_the_limit_together() -> None:
    alice = User.objects.for_address(ALICE.address)
    made = tokens.create(alice, wanted(spend_limit="0.000000000000001"))  # 1,000 neuron
    digest = tokens.digest_of(made.secret)

    def take(_: int) -> bool:
        try:
            return reserved(made.row.pk, digest, 300)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 3
    corrected(made.row.pk, 300, 120)
    corrected(made.row.pk, 300, 300)
    made.row.refresh_from_db()
    assert made.row.spent == 720
    assert tokens.state(made.row, timezone.now()) == "active"
    assert not reserved(made.row.pk, digest, 281)
    assert reserved(made.row.pk, digest, 280)
    made.row.refresh_from_db()
    assert tokens.state(made.row, timezone.now()) == "spent"
    tokens.revoke(alice, made.row.pk)
    assert not reserved(made.row.pk, digest, 0)


def test_what_is_ones_own_is_read_with_a_token_and_by_nobody_else(alice: User) -> None:
    chat = choose.relay_chat(alice)
    token = tokens.create(alice, wanted(scopes=["read"], label="reader"))
    turn = Turn.objects.create(
        chat=chat, token=token.row, prompt_key=uuid4(), process="p", state="answered",
        provider=factories.PETRA, serving=factories.INFERENCE, url="", model="m", input_price=1,
        output_price=1, max_tokens=1, fee=10**20, fee_kind="known", endpoint="chat/completions",
    )  # fmt: skip

    def get(path: str, secret: str) -> Any:
        header = {"authorization": f"Bearer {secret}"} if secret else {}
        return Client(headers=header).get(f"/api/v1/me{path}")

    me = get("", token.secret)
    assert me.json()["address"] == alice.address and me.json()["scopes"] == ["read"]
    assert me["Cache-Control"] == "private, no-store"
    listed = get("/requests?state=answered", token.secret).json()
    assert listed["count"] == 1
    assert listed["items"][0] | {"id": str(turn.pk), "token": "reader"} == listed["items"][0]
    assert listed["items"][0]["fee"] == "1" + "0" * 20
    assert get("/requests?state=failed", token.secret).json()["count"] == 0
    assert get("/requests?sort=cost&cost=100", token.secret).json()["count"] == 1
    assert get("/requests?cost=100.1", token.secret).json()["count"] == 0
    assert get("/requests?until=9999-12-31", token.secret).json()["count"] == listed["count"]
    # nobody waited for a first token here, and a form's empty fields ask for nothing
    assert listed["items"][0]["first_token_ms"] is None
    words = [
        "provider", "model", "state", "verdict", "since", "until", "token", "cost", "tokens",
        "first", "sort", "cursor",
    ]  # fmt: skip
    every = "&".join(f"{word}=" for word in words)
    assert get(f"/requests?{every}", token.secret).json()["count"] == 1
    # a wrong word is refused, where leaving the filter out would answer another question
    for word in words:
        bad = get(f"/requests?{word}=verifed-%00", token.secret)
        assert bad.status_code == 422, word
        assert bad.json()["errors"][0]["field"] == word
    # requests that arrive meanwhile neither shift nor repeat anything
    fields = {name: getattr(turn, name) for name in ("serving", "url", "model", "provider")}
    for _ in range(4):
        Turn.objects.create(
            chat=chat, prompt_key=uuid4(), process="p", state="answered", input_price=1,
            output_price=1, max_tokens=1, **fields,
        )  # fmt: skip
    for order in ("", "&sort=cost"):
        page = get(f"/requests?page_size=2{order}", token.secret).json()
        if not order:
            Turn.objects.create(
                chat=chat, prompt_key=uuid4(), process="p", state="answered", input_price=1,
                output_price=1, max_tokens=1, **fields,
            )  # fmt: skip
        seen = [one["id"] for one in page["items"]]
        while page["next"]:
            page = get(page["next"].split("/api/v1/me")[1], token.secret).json()
            seen += [one["id"] for one in page["items"]]
        assert len(seen) == len(set(seen)) == (6 if order else 5)
    bob = User.objects.for_address(BOB.address)
    theirs = tokens.create(bob, wanted(scopes=["read"]))
    assert get("/requests", theirs.secret).json()["count"] == 0
    asking = tokens.create(alice, wanted())
    for secret, status, code in (
        ("", 401, "unauthorized"),
        ("zgm_wrong", 401, "unauthorized"),
        (asking.secret, 403, "forbidden"),
    ):
        refused = get("/requests", secret)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert refused["WWW-Authenticate"] == "Bearer"
        made = f"{settings.SITE_URL}/account/keys"
        assert status != 401 or made in refused.json()["detail"]
    # the same in the person's browser, with the program's name
    page = signed_in(ALICE)
    assert 'data-testid="request-row"' in page.get("/playground/requests").content.decode()
    inspected = page.get(f"/playground/chat/turns/{turn.pk}/inspect").content.decode()
    assert "reader" in inspected and "/v1/proxy/chat/completions" in inspected
    other = signed_in(BOB).get(f"/playground/chat/turns/{turn.pk}/inspect")
    assert other.status_code == 404
    assert page.get(f"/playground/chat/{chat.pk}").status_code == 404
