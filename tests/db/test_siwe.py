"""Signing in: only the wallet that owns the address gets a session; attacks are refused by name."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models.signals import post_save
from django.test import Client
from django.utils import timezone
from eth_account import Account
from eth_account.messages import _hash_eip191_message, encode_defunct
from eth_account.signers.local import LocalAccount

from accounts import siwe
from accounts.errors import SignInFailed
from accounts.models import User
from accounts.session_store import name_of
from protocol.abi import ZERO_ADDRESS
from tests.contract_wallets import FACTORY, MAGIC, Undeployed, owned_by

pytestmark = pytest.mark.django_db
ALICE: LocalAccount = Account.from_key("0x" + "a1" * 32)
BOB: LocalAccount = Account.from_key("0x" + "b0" * 32)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
EXPECTED: dict[str, Any] = {
    "domain": "market.example",
    "uri": "https://market.example",
    "chain_id": 31337,
    "now": NOW,
}


def sign(wallet: LocalAccount, text: str) -> str:
    return "0x" + wallet.sign_message(encode_defunct(text=text)).signature.hex()


def written(**changes: Any) -> Any:
    facts = {"address": ALICE.address, **EXPECTED, **changes}
    return siwe.write(**facts)


def refused(message: Any, signature: str, **expected: Any) -> str:
    with pytest.raises(SignInFailed) as caught:
        siwe.verify(message, signature, **{**EXPECTED, "nonce": message.nonce, **expected})
    return caught.value.code


def test_the_wallet_that_owns_the_address_is_recognised() -> None:
    message = written()
    signature = sign(ALICE, message.prepare_message())
    assert siwe.verify(message, signature, nonce=message.nonce, **EXPECTED) == ALICE.address


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        ({"domain": "evil.example"}, "domain_mismatch"),
        ({"uri": "https://evil.example"}, "uri_mismatch"),
        ({"chain_id": 1}, "chain_mismatch"),
        ({"nonce": "0" * 32}, "nonce_mismatch"),
        ({"now": NOW + timedelta(minutes=5)}, "message_expired"),
    ],
)
def test_a_message_for_another_site_chain_or_time_is_refused(
    expected: dict[str, Any], code: str
) -> None:
    message = written()
    assert refused(message, sign(ALICE, message.prepare_message()), **expected) == code


def test_a_message_not_valid_yet_is_refused() -> None:
    from siwe import ISO8601Datetime  # 0.4 s that other processes need not spend on collecting

    message = written()
    later = ISO8601Datetime.from_datetime(NOW + timedelta(minutes=1))
    message = message.model_copy(update={"not_before": later})
    assert refused(message, sign(ALICE, message.prepare_message())) == "message_not_yet_valid"


def test_the_malleable_twin_of_a_good_signature_is_refused() -> None:
    message = written()
    raw = bytes.fromhex(sign(ALICE, message.prepare_message())[2:])
    high = (ORDER - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big")
    twin = raw[:32] + high + bytes([55 - raw[64]])
    assert refused(message, "0x" + twin.hex()) == "malleable_signature"


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        ("0x" + "00" * 65, "invalid_signature"),
        ("0x", "invalid_signature"),
        ("0xzz", "malformed_signature"),
        ("no hex", "malformed_signature"),
        ("0x" + "00" * 9000, "signature_too_long"),
    ],
)
def test_junk_signatures_are_refused(signature: str, code: str, devnet: Any, site: None) -> None:
    assert refused(written(), signature) == code


def test_another_wallets_signature_is_refused(devnet: Any, site: None) -> None:
    message = written()
    assert refused(message, sign(BOB, message.prepare_message())) == "invalid_signature"


def test_without_a_node_a_contract_wallet_cannot_be_checked_and_that_is_said(
    settings: Any, free_port: int
) -> None:
    settings.CHAIN_RPC_URLS = (f"http://127.0.0.1:{free_port}",)
    assert refused(written(), "0x" + "11" * 300) == "wallet_check_unavailable"


@pytest.fixture
def site(anvil: Any, settings: Any) -> None:
    settings.CHAIN_RPC_URLS = (anvil.url,)


WALLET_CONTRACT = "0x" + "5a" * 20


def contract_for(message: Any) -> str:
    """Runtime code of a wallet contract whose isValidSignature accepts exactly this message's
    digest (EIP-1271): `return (calldata[4:36] == digest) * 0x1626ba7e << 224`.
    """
    digest = _hash_eip191_message(encode_defunct(text=message.prepare_message())).hex()
    return f"0x6004357f{digest}14631626ba7e0260e01b60005260206000f3"


def test_a_contract_wallet_is_asked_and_its_answer_counts(anvil: Any, site: None) -> None:
    message, other = written(address=WALLET_CONTRACT), written(address=WALLET_CONTRACT)
    anvil.rpc.call("anvil_setCode", WALLET_CONTRACT, contract_for(message))
    signature = "0x" + "c0ffee" * 50  # what it means is the contract's business
    signer = siwe.verify(message, signature, nonce=message.nonce, **EXPECTED)
    assert signer == message.address
    assert refused(other, signature) == "invalid_signature"
    assert refused(message, signature, domain="evil.example") == "domain_mismatch"
    anvil.rpc.call("anvil_setCode", WALLET_CONTRACT, "0xfe")
    assert refused(message, signature) == "invalid_signature"
    anvil.rpc.call("anvil_setCode", WALLET_CONTRACT, "0x")


def test_a_contract_gets_no_more_of_the_node_than_any_wallet_needs(anvil: Any, site: None) -> None:
    """Anybody may name one, and have it run."""
    message = written(address=WALLET_CONTRACT)
    # Accepts everything where it has more than 12 million gas.
    code = "0x5a62b71b0010631626ba7e0260e01b60005260206000f3"
    anvil.rpc.call("anvil_setCode", WALLET_CONTRACT, code)
    assert refused(message, "0x" + "c0ffee" * 50) == "invalid_signature"
    anvil.rpc.call("anvil_setCode", WALLET_CONTRACT, code.replace("b71b00", "0f4240"))
    assert siwe.verify(message, "0x" + "c0ffee" * 50, nonce=message.nonce, **EXPECTED)
    anvil.rpc.call("anvil_setCode", WALLET_CONTRACT, "0x")


def message_and_signature(wallet: Any) -> tuple[Any, str]:
    message = written(address=wallet.address)
    signed = wallet.sign_message(encode_defunct(text=message.prepare_message()))
    return message, "0x" + signed.signature.hex()


def test_a_wallet_that_is_not_deployed_yet_proves_itself_by_its_factory(
    anvil: Any, site: None
) -> None:
    assert anvil.rpc.call("eth_getCode", FACTORY, "latest") != "0x"
    wallet = Undeployed(ALICE)
    message, signature = message_and_signature(wallet)
    accepted = siwe.verify(message, signature, nonce=message.nonce, **EXPECTED)
    assert accepted == wallet.address != ALICE.address
    # Asking created nothing, and the fields still count.
    assert anvil.rpc.call("eth_getCode", wallet.address, "latest") == "0x"
    assert refused(message, signature, chain_id=1) == "chain_mismatch"
    # Once it is deployed the same wrapped signature goes on counting.
    sent = {"from": anvil.rpc.call("eth_accounts")[0], "to": FACTORY}
    data = "0x" + wallet.deployment.hex()
    anvil.rpc.call("eth_sendTransaction", {**sent, "data": data})
    anvil.rpc.call("evm_mine")
    assert anvil.rpc.call("eth_getCode", wallet.address, "latest") == owned_by(ALICE.address)
    assert siwe.verify(message, signature, nonce=message.nonce, **EXPECTED) == wallet.address
    anvil.rpc.call("anvil_setCode", wallet.address, "0x")


def test_a_factory_that_makes_another_wallet_proves_nothing(anvil: Any, site: None) -> None:
    victim, thief = Undeployed(ALICE), Undeployed(BOB)
    message = written(address=victim.address)
    text = encode_defunct(text=message.prepare_message())
    nowhere = Undeployed(ALICE, factory="0x" + "99" * 20)
    for liar in (thief, Undeployed(BOB, salt=b"\x02" * 32), nowhere):
        assert refused(message, "0x" + liar.sign_message(text).signature.hex()) == (
            "invalid_signature"
        )
    plain = written()  # a plain account is not a wallet contract that somebody may "deploy"
    wrapped = thief.sign_message(encode_defunct(text=plain.prepare_message()))
    assert refused(plain, "0x" + wrapped.signature.hex()) == "invalid_signature"
    assert refused(message, "0x" + MAGIC.hex()) == "invalid_signature"
    assert refused(message, "0x" + "ff" * 500 + MAGIC.hex()) == "invalid_signature"


@pytest.mark.parametrize("signature", ["0x" + "00" * 64 + "1b", "0x" + "ff" * 64 + "1c"])
def test_nobody_signs_for_the_zero_address(anvil: Any, site: None, signature: str) -> None:
    """The EVM's own recover says zero where it finds no signer, and the standard's validator
    believes that."""
    message = written(address=ZERO_ADDRESS)
    assert refused(message, signature) == "invalid_signature"
    with pytest.raises(SignInFailed):
        siwe.require(ZERO_ADDRESS, "a note of an operator", signature)


# --- through HTTP -------------------------------------------------------------------------------


def prepare(client: Client, address: str = ALICE.address) -> str:
    answer = client.post(
        "/account/sign-in/prepare", {"address": address}, content_type="application/json"
    )
    assert answer.status_code == 200, answer.content
    return str(answer.json()["message"])


def verify(client: Client, signature: str) -> Any:
    return client.post(
        "/account/sign-in/verify", {"signature": signature}, content_type="application/json"
    )


def test_signing_in_makes_a_new_session_of_seven_days_and_signing_out_ends_it(
    client: Client,
) -> None:
    message = prepare(client)
    assert message.startswith("testserver wants you to sign in") and "Chain ID: 31337" in message
    before = client.session.session_key
    answer = verify(client, sign(ALICE, message))
    assert answer.json() == {"address": ALICE.address}
    assert client.session.session_key != before
    row = Session.objects.filter(pk=name_of(client.session.session_key))
    week, ends = timedelta(days=7), row.get().expire_date
    assert week - timedelta(minutes=1) < ends - timezone.now() <= week
    session = client.session
    session["since"] = "a key was asked for, and written down here"
    session.save()
    assert row.get().expire_date == ends, "seven days, however often it is used"
    assert User.objects.get().address == ALICE.address
    assert client.post("/account/sign-out").status_code == 302
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize(
    ("site_url", "host", "good"),
    [
        ("https://market.example", "market.example", True),
        ("https://market.example", "www.market.example", True),
        ("https://market.example", "market.example:8443", False),
        ("https://market.example:8443", "market.example:8443", True),
        ("https://market.example", "localhost", False),
        ("https://market.example", "127.0.0.1:3000", False),
        ("https://market.example", "[::1]:3000", False),
        ("https://market.example", "localhost.", False),
        ("https://market.example", "market.example:65536", False),
        ("https://market.example", "market.example:443", True),
        ("http://127.0.0.1:8000", "localhost:8000", True),
    ],
)
def test_no_message_is_made_in_the_name_of_another_page_of_the_same_host(
    client: Client, settings: Any, site_url: str, host: str, good: bool
) -> None:
    """A wallet compares a message with the page that shows it: a program at another port, or on the
    reader's machine, could show one of ours, and its signature would open a session here."""
    settings.SITE_URL = site_url
    settings.ALLOWED_HOSTS = ["market.example", "www.market.example", "127.0.0.1", "localhost"]
    settings.ALLOWED_HOSTS += ["[::1]"]
    given = {"address": ALICE.address}
    asked: dict[str, Any] = {"content_type": "application/json", "headers": {"host": host}}
    answer = client.post("/account/sign-in/prepare", given, **asked)
    assert answer.status_code == (200 if good else 401)
    told = answer.json()
    assert told["message"].startswith(f"{host} wants") if good else site_url in told["detail"]
    if good:  # nor does the message of one page open a session by way of another
        client.post("/account/sign-in/prepare", given, **asked)
        signed = {"signature": sign(ALICE, told["message"])}
        other: dict[str, Any] = {**asked, "headers": {"host": "127.0.0.1:3000"}}
        assert client.post("/account/sign-in/verify", signed, **other).status_code == 401


def test_a_signature_is_good_for_one_try(client: Client) -> None:
    signature = sign(ALICE, prepare(client))
    assert verify(client, signature).status_code == 200
    again = verify(client, signature)
    assert again.status_code == 401 and again.json()["code"] == "no_pending_message"
    # A second message has another nonce: the first signature does not fit it.
    prepare(client)
    assert verify(client, signature).status_code == 401


def test_a_message_is_used_once_by_two_requests_that_read_the_session_together(
    client: Client,
) -> None:
    signature = sign(ALICE, prepare(client))
    pending = client.session["siwe"]
    assert verify(client, signature).status_code == 200
    # What a parallel request had read before the first one wrote.
    other = Client()
    prepare(other)
    session = other.session
    session["siwe"] = pending
    session.save()
    answer = verify(other, signature)
    assert (answer.status_code, answer.json()["code"]) == (401, "no_pending_message")
    assert "_auth_user_id" not in other.session


def test_a_wallet_never_has_a_password_not_even_for_a_moment() -> None:
    """Who signs in meanwhile would be signed out by it, and who dies there could never step up."""
    seen: list[bool] = []

    def made(instance: User, created: bool, **_: Any) -> None:
        seen.append(instance.has_usable_password())

    post_save.connect(made, sender=User)
    try:
        User.objects.for_address(ALICE.address)
    finally:
        post_save.disconnect(made, sender=User)
    assert seen == [False]


def test_a_blocked_wallet_may_not_sign_in(client: Client) -> None:
    verify(client, sign(ALICE, prepare(client)))
    User.objects.update(is_active=False)
    assert client.get("/account").context["user"].is_anonymous, "an open session ends at once"
    again = Client()
    answer = verify(again, sign(ALICE, prepare(again)))
    assert answer.json()["code"] == "wallet_blocked"
    assert "_auth_user_id" not in again.session


def test_a_failed_try_uses_the_message_up(client: Client, devnet: Any, site: None) -> None:
    message = prepare(client)
    assert verify(client, sign(BOB, message)).json()["code"] == "invalid_signature"
    assert verify(client, sign(ALICE, message)).json()["code"] == "no_pending_message"


def test_two_people_in_one_browser_never_share_a_session(client: Client) -> None:
    verify(client, sign(ALICE, prepare(client)))
    first = client.session.session_key
    session = client.session
    session["of_alice"] = "secret"
    session.save()
    verify(client, sign(BOB, prepare(client, BOB.address)))
    assert client.session.session_key != first
    assert "of_alice" not in client.session


def test_a_form_in_another_tab_outlives_a_fresh_signature_but_not_another_wallet() -> None:
    browser = Client(enforce_csrf_checks=True)

    def shown() -> str:
        found = re.search(r'data-csrf="(\w+)"', browser.get("/account").content.decode())
        assert found is not None
        return found[1]

    def as_wallet(account: Any) -> None:
        def post(path: str, body: dict[str, str]) -> Any:
            headers = {"X-CSRFToken": shown()}
            url = f"/account/sign-in/{path}"
            return browser.post(url, body, content_type="application/json", headers=headers)

        message = post("prepare", {"address": account.address}).json()["message"]
        assert post("verify", {"signature": sign(account, message)}).status_code == 200

    def other_tab() -> int:
        form = {"csrfmiddlewaretoken": token}
        return browser.post("/account/inbox/read", form).status_code

    as_wallet(ALICE)
    token, key = shown(), browser.session.session_key
    User.objects.update(last_login=None)
    as_wallet(ALICE)
    assert (other_tab(), browser.session.session_key) == (302, key)
    assert User.objects.get().last_login
    as_wallet(BOB)
    assert other_tab() == 403, "what one person had open is not done by the next"


def test_a_page_of_before_takes_nobody_out_of_the_new_session(client: Client) -> None:
    """A page may be asking for something with the session that a sign-in has just replaced."""
    verify(client, sign(ALICE, prepare(client)))
    late = Client()
    late.cookies.update(client.cookies)
    verify(client, sign(BOB, prepare(client, BOB.address)))
    answer = late.get("/account")
    assert answer.context["user"].is_anonymous
    assert settings.SESSION_COOKIE_NAME not in answer.cookies  # it would be Bob's by now
    ended = client.post("/account/sign-out")
    assert ended.cookies[settings.SESSION_COOKIE_NAME]["max-age"] == 0


@pytest.mark.parametrize("body", [{}, {"address": 5}, {"address": "0x12"}, {"address": "x" * 5000}])
def test_a_bad_address_is_a_problem_document(client: Client, body: dict[str, Any]) -> None:
    answer = client.post("/account/sign-in/prepare", body, content_type="application/json")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] in ("invalid_request", "invalid_address")


def test_signing_in_needs_the_csrf_token() -> None:
    strict = Client(enforce_csrf_checks=True)
    for path in ("prepare", "verify"):
        answer = strict.post(f"/account/sign-in/{path}", {}, content_type="application/json")
        assert answer.status_code == 403


def test_too_many_tries_are_slowed_down(client: Client) -> None:
    """Of one network address, also with many wallets that are signed in."""
    signed_in = [Client(), Client()]
    for browser, wallet in zip(signed_in, (ALICE, BOB), strict=True):
        browser.force_login(User.objects.for_address(wallet.address))
    answers = [
        (client, *signed_in)[turn % 3].post(
            "/account/sign-in/prepare",
            {"address": ALICE.address},
            content_type="application/json",
            REMOTE_ADDR="203.0.113.9",
        )
        for turn in range(62)
    ]
    assert [answer.status_code for answer in answers] == [200] * 60 + [429] * 2
    assert 0 < int(answers[-1]["Retry-After"]) <= 60


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example/x", "\\\\evil", "/\\evil", "//[", "http:///x", "x"],
)
def test_signing_out_never_leaves_the_site(client: Client, target: str) -> None:
    answer = client.post("/account/sign-out", {"next": target})
    assert answer["Location"] == "/"


def test_a_phone_is_offered_the_page_inside_its_wallet_where_it_can_reach_us(
    client: Client, settings: Any
) -> None:
    assert b"metamask.app.link" not in client.get("/account").content  # a devnet of this machine
    settings.SITE_URL = "https://market.example"
    link = b'href="https://metamask.app.link/dapp/market.example/account/keys"'
    assert link in client.get("/account/keys").content
