"""What needs its owner, and how much a provider would really let one spend."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts import attention, crypto, signers
from accounts.models import Intent, State, User
from attestation.models import Fact, Finding, Standing
from finetune.models import Task
from ledger.models import Movement, Service, SubAccount
from ledger.selectors import account
from tests import factories
from tests.db.test_refunds import DAY, moved, pair
from tests.factories import ALICE, FINE_TUNING, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db
NAME = f"account=inference-v1.0:{PETRA}"


@pytest.fixture
def user() -> User:
    factories.contract()
    return User.objects.for_address(ALICE)


@pytest.fixture
def alice(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def kinds(user: User) -> list[str]:
    now = timezone.now()
    positions = account(ALICE).positions
    return [c.kind for c in attention.cards(user, positions, int(now.timestamp()), now)]


def test_each_card_appears_for_its_reason_and_goes_with_it(user: User, alice: Client) -> None:
    pair(PETRA, (ONE, DAY + 1), free=ONE, acknowledged=True)
    moved("transfer", "a", amount=ONE, at=timezone.now() - dt.timedelta(days=31))
    assert kinds(user) == ["refund_unlocked", "low_balance", "idle"]
    html = alice.get("/account").content.decode()
    assert "providers keep 1 0G in reserve" in html and "has not moved for 31 days" in html
    moved("settlement", "b", amount=-1)
    SubAccount.objects.update(refunds=[], pending_refund=0)
    assert kinds(user) == []


def signer(before: str, after: str, **given: Any) -> None:
    factories.change(
        change="signer", before={"tee_signer": before}, after={"tee_signer": after}, **given
    )


def test_a_changed_signer_is_told_from_the_last_acknowledgement(user: User) -> None:
    first, second, third = (factories.address(f"key {n}") for n in range(3))
    factories.service(tee_signer=second)
    pair(PETRA, free=5 * ONE, acknowledged=True)
    moved("transfer", "open", amount=5 * ONE, block=10, log_index=4)
    signer(third, first, block=10, log_index=3)  # before the transfer, in its block
    assert kinds(user) == []
    signer(first, second, block=10, log_index=5)  # right after it
    assert kinds(user) == ["signer_changed"]
    (key,) = signers.acknowledged(user.address, account(ALICE).positions).values()
    assert (key.then, key.now) == (first, second)
    # A settlement that eats a refund acknowledges nothing; a top-up that takes one back does.
    moved("refund_cancelled", "eaten", block=11, pending_change=-1)
    eaten = moved("settlement", "eaten", block=11, amount=-1)
    assert kinds(user) == ["signer_changed"]
    eaten.delete()
    assert kinds(user) == []


def test_an_acknowledgement_from_here_counts_and_a_way_back_is_no_change(user: User) -> None:
    first, second = factories.address("key 1"), factories.address("key 2")
    factories.service(tee_signer=second)
    pair(PETRA, free=5 * ONE, acknowledged=True)
    moved("transfer", "open", amount=5 * ONE, block=10)
    signer(first, second, block=20)
    assert kinds(user) == ["signer_changed"]
    intent = Intent.objects.create(
        user=user,
        chain_id=31337,
        action="acknowledge_signer",
        params={"provider": PETRA, "acknowledged": True},
        to=INFERENCE,
        state=State.FINAL,
        block=21,
    )
    assert kinds(user) == []
    Intent.objects.filter(pk=intent.pk).update(state=State.REVERTED)
    Service.objects.update(tee_signer=first)
    assert kinds(user) == []


def test_an_endpoint_that_moved_is_told_until_its_evidence_was_good(user: User) -> None:
    factories.service()
    pair(PETRA, free=5 * ONE)
    moved("transfer", "a", amount=ONE, at=timezone.now())
    long_ago, hour = timezone.now() - dt.timedelta(hours=3), dt.timedelta(hours=1)
    factories.change(change="url", before={"url": "a"}, after={"url": "b"}, at=long_ago)
    found = Finding.objects.create(
        kind=Fact.URL_CHANGED,
        provider=PETRA,
        service_kind="inference",
        service_name="inference-v1.0",
        subject="b",
        opened_at=timezone.now(),
    )
    assert kinds(user) == ["endpoint_moved"]
    (card,) = attention.cards(user, account(ALICE).positions, 0, timezone.now())
    assert card.grave and "changed 3 hours ago" in card.text and "retrieve" in card.path
    # All of it is on its way: a further retrieval would only cost gas.
    SubAccount.objects.update(pending_refund=5 * ONE)
    (card,) = attention.cards(user, account(ALICE).positions, 0, timezone.now())
    assert (card.action, card.path) == ("See refunds", "/account/refunds")
    SubAccount.objects.update(pending_refund=0)
    standing = Standing.objects.create(
        provider=PETRA,
        kind="inference",
        service_name="inference-v1.0",
        overall="pass",
        checked_at=long_ago - hour,
    )
    assert kinds(user) == ["endpoint_moved"], "what was good was the one before"
    Standing.objects.filter(pk=standing.pk).update(checked_at=long_ago + hour)
    assert kinds(user) == []
    Standing.objects.filter(pk=standing.pk).update(overall="fail")
    assert kinds(user) == ["endpoint_moved"]
    Finding.objects.filter(pk=found.pk).update(closed_at=timezone.now())
    assert kinds(user) == ["evidence_failed"]
    Service.objects.update(removed=True)
    Movement.objects.update(at=timezone.now() - dt.timedelta(days=31))
    assert kinds(user) == ["service_removed"], "nothing can be sent there, and the act is the same"


def test_a_result_to_acknowledge_is_the_first_thing_told_with_the_time_left(
    user: User, alice: Client
) -> None:
    factories.contract(kind="fine-tuning", address=FINE_TUNING)
    now = int(timezone.now().timestamp())
    names = [str(uuid4()) for _ in range(2)]
    results = [
        {"id": name, "model_root_hash": "0x00", "acknowledged": False, "settled": False,
         "timestamp": now - age}
        for name, age in zip(names, (3_000, 40_000), strict=True)
    ]  # fmt: skip
    pair(PETRA, (ONE, DAY + 1))
    factories.sub_account(serving=FINE_TUNING, deliverables=results)
    card = attention.cards(user, account(ALICE).positions, now, timezone.now())[0]
    assert (card.kind, card.grave, card.path) == ("result", True, "/fine-tuning")
    assert "Less than 1 hour is left" in card.text, "of the one with less left"
    assert "the 6 hours that brokers come with are over" in card.text
    SubAccount.objects.filter(serving=FINE_TUNING).update(deliverables=results[:1])
    card = attention.cards(user, account(ALICE).positions, now, timezone.now())[0]
    assert "5 hours are left" in card.text and "are over" not in card.text
    SubAccount.objects.filter(serving=FINE_TUNING).update(deliverables=results)
    task = Task.objects.create(
        user=user, provider=PETRA, remote_id=names[1], serving=FINE_TUNING,
        service_name="fine-tuning-v1.0", url="http://127.0.0.1:1", model="m", parameters="{}",
        price_per_token=1, nonce=1, progress="Delivered", created_at=timezone.now(),
    )  # fmt: skip
    html = alice.get("/account").content.decode()
    assert f'href="/fine-tuning/tasks/{task.pk}">See the result' in html
    factories.purse()
    for change in ({"acknowledged": True}, {"settled": True}, {"timestamp": now - DAY}):
        SubAccount.objects.update(deliverables=[{**one, **change} for one in results])
        assert "result" not in kinds(user), change
        # The keys of models go with the account: there is none of what was settled without a word.
        closing = alice.get("/account?action=delete_ledger").content.decode()
        assert ("keys to models" in closing) is ("settled" not in change), change


# --- spendable now -------------------------------------------------------------------------------


@pytest.fixture
def provider() -> Iterator[Callable[[int, bytes], list[tuple[str, str]]]]:
    """A real server that says what the test tells it; returns what it was asked."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: bytes) -> list[tuple[str, str]]:
        asked: list[tuple[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers["Authorization"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        Service.objects.update(url=f"http://127.0.0.1:{server.server_port}/")
        return asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def hold_key(user: User) -> None:
    user.provider_keys.create(
        provider=PETRA,
        serving=INFERENCE,
        sealed=crypto.seal("app-sk-test"),
        token_id=255,
        generation=0,
        created_at=timezone.now(),
        expires_at=timezone.now() + dt.timedelta(hours=1),
    )


def test_every_term_is_shown_and_they_sum_to_the_neuron(
    user: User, alice: Client, settings: Any, provider: Any
) -> None:
    settings.ALLOW_PRIVATE_PROVIDERS = True
    factories.service()
    pair(PETRA, (ONE + 1, 60), free=4 * ONE)
    hold_key(user)
    asked = provider(200, json.dumps({"unsettledFee": "123456789"}).encode())
    html = alice.get(f"/account/spendable?{NAME}").content.decode()
    assert asked == [(f"/v1/user/{ALICE}/unsettledfee", "Bearer app-sk-test")]
    for name, neuron in (
        ("term-balance", 5 * ONE + 1),
        ("term-refunding", -ONE - 1),
        ("term-unsettled", -123456789),
        ("term-reserve", -ONE),
        ("spendable-now", 3 * ONE - 123456789),
    ):
        assert f'data-neuron="{neuron}"' in html.split(f'data-testid="{name}"')[0][-200:], name
    assert "app-sk-test" not in html


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b'{"unsettledFee": "-5"}', "is not an amount"),
        (200, b'{"unsettledFee": 5.5}', "is not an amount"),
        (200, b"[" * 100, "is not an amount"),
        (200, b'{"unsettledFee": "' + b"9" * 5000 + b'"}', "is not an amount"),
        (403, b"<script>alert(1)</script>", "refused to say (status 403)"),
    ],
)
def test_what_a_provider_does_not_say_is_not_known(
    user: User, alice: Client, settings: Any, provider: Any, status: int, body: bytes, words: str
) -> None:
    settings.ALLOW_PRIVATE_PROVIDERS = True
    factories.service()
    pair(PETRA, free=ONE)
    hold_key(user)
    provider(status, body)
    html = alice.get(f"/account/spendable?{NAME}").content.decode()
    assert "term-unsettled-unknown" in html and words in html and "at most" in html
    assert "alert(1)" not in html and "answers nothing at this balance" in html
    # Nobody can spend less than nothing; what is missing is said (the reserve, less what is free).
    SubAccount.objects.update(balance=ONE // 4)
    html = alice.get(f"/account/spendable?{NAME}").content.decode()
    for name, neuron in (("spendable-now", 0), ("spendable-missing", ONE * 3 // 4)):
        assert f'data-neuron="{neuron}"' in html.split(f'data-testid="{name}"')[0][-200:], name


def test_without_a_key_or_a_public_address_nobody_is_asked(
    user: User, alice: Client, settings: Any, provider: Any
) -> None:
    factories.service()
    pair(PETRA, free=5 * ONE)
    asked = provider(200, b'{"unsettledFee": "0"}')
    html = alice.get(f"/account/spendable?{NAME}").content.decode()
    assert "Your first question to it makes a key" in html
    hold_key(user)
    settings.ALLOW_PRIVATE_PROVIDERS = False
    html = alice.get(f"/account/spendable?{NAME}").content.decode()
    assert "term-unsettled-unknown" in html and asked == []
    assert alice.get("/account/spendable?account=x:y").status_code == 404
    assert Client().get(f"/account/spendable?{NAME}").status_code == 200
    # What is printed and the foot's forms (language, times) name this very address.
    html = Client().get(f"/account/spendable?{NAME}").content.decode()
    assert PETRA not in html.partition("<main")[2].partition("</main>")[0]
