"""The doors of a transaction, which its owner alone can use."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import intents, limits, services
from accounts.errors import Problem
from accounts.models import Intent, State
from devnet.client import Chain
from tests.db.test_transactions import (
    ALICE,
    BOB,
    FIVE,
    NEURON,
    chain,
    client_of,
    contracts,
    looked,
    opened,
    person,
    sent,
)

__all__ = ["chain", "contracts"]
pytestmark = pytest.mark.django_db


def post(client: Client, path: str, body: dict[str, Any]) -> Any:
    return client.post(path, body, content_type="application/json")


def test_only_its_owner_sees_or_moves_a_transaction(chain: Chain) -> None:
    alice, bob = client_of(ALICE), client_of(BOB)
    seen = services.check("deposit", FIVE, ALICE.address).digest
    answer = post(
        alice,
        "/account/transactions/start",
        {"action": "deposit", "params": FIVE, "seen": seen},
    )
    path = answer.json()["url"]
    assert alice.get(path).status_code == 200
    for stranger in (bob, Client()):
        for name in ("confirm", "submitted", "rejected", "discard"):
            body = {"tx_hash": "0x" + "11" * 32}
            assert post(stranger, f"{path}/{name}", body).status_code in (401, 404)
        assert stranger.get(f"{path}/status").status_code == 404
    assert bob.get(path).status_code == 404
    assert b"Deposit 5 0G" not in Client().get(path).content
    assert b"Deposit 5 0G" not in bob.get("/account/transactions").content
    assert b"Deposit 5 0G" in alice.get("/account/transactions").content
    assert Intent.objects.get().state == State.PRECHECKED


def test_the_doors_hand_out_only_reviewed_transactions(chain: Chain) -> None:
    alice = client_of(ALICE)
    seen = services.check("deposit", FIVE, ALICE.address).digest
    body = {"action": "deposit", "params": FIVE, "seen": seen}
    started = post(alice, "/account/transactions/start", body).json()
    confirmed = post(alice, started["url"] + "/confirm", {}).json()
    assert confirmed["state"] == "awaiting_wallet"
    assert confirmed["transaction"]["from"] == ALICE.address
    assert confirmed["transaction"]["value"] == hex(5 * NEURON)
    again = post(alice, started["url"] + "/confirm", {})
    assert (again.status_code, again.json()["code"]) == (409, "already_under_way")
    assert post(alice, started["url"] + "/confirm", {"again": True}).status_code == 200
    bad = post(alice, started["url"] + "/submitted", {"tx_hash": "0x12"})
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid_request")
    declined = post(alice, started["url"] + "/rejected", {"declined": True}).json()
    assert declined["state"] == "rejected"
    # Declining the second request says nothing of the first, which nobody answered.
    intent = Intent.objects.get()
    assert "earlier request is not known" in intent.reason
    assert "Nothing was sent" not in intent.reason
    shown = alice.get(started["url"] + "/status").content.decode()
    assert ">Not known<" in shown and "data-unsure" in shown
    # Only the person's own refusal says that nothing was sent: a wallet may err after it sent.
    Intent.objects.update(state="awaiting_wallet", code="")
    post(alice, started["url"] + "/rejected", {"declined": True})
    intent.refresh_from_db()
    assert intent.reason == "You declined. Nothing was sent."
    for verb, told, called in (
        ("rejected", "it may have been sent", "Error in the wallet"),
        ("discard", "decline there", "Given up"),
    ):
        Intent.objects.update(state="awaiting_wallet")
        post(alice, f"{started['url']}/{verb}", {"declined": False})
        intent.refresh_from_db()
        assert told in intent.reason and "Nothing was sent" not in intent.reason
        shown = alice.get(started["url"] + "/status").content.decode()
        assert f">{called}<" in shown and "Declined" not in shown
    Intent.objects.update(state="awaiting_wallet", code="")
    post(alice, started["url"] + "/rejected", {"declined": False, "handed": False})
    intent.refresh_from_db()
    assert intent.reason == "It did not reach your wallet. Nothing was sent."


def test_every_write_needs_the_csrf_token(chain: Chain) -> None:
    intent = opened(person(ALICE))
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person(ALICE))
    for name in ("confirm", "submitted", "rejected", "discard"):
        path = f"/account/transactions/{intent.pk}/{name}"
        assert post(strict, path, {}).status_code == 403
    assert post(strict, "/account/transactions/start", {}).status_code == 403


def test_many_wallets_of_one_network_ask_the_node_no_more_than_a_few() -> None:
    most, network = limits.CHECKS_PER_MINUTE, "2001:db8:0:1::"
    limits.spend("checks-from", f"{network}/64", limit=most, seconds=60, uses=most)
    form = "/account?action=deposit"
    for wallet in (ALICE, BOB):
        browser = client_of(wallet)
        for path, status in ((f"{form}&amount=5", 429), (form, 200), ("/account", 200)):
            assert browser.get(path, REMOTE_ADDR=f"{network}9").status_code == status, path


def test_what_waits_for_a_block_is_sent_no_second_time_however_long_it_waits(chain: Chain) -> None:
    first, later = looked(sent(chain, ALICE)), timezone.now() - 2 * intents.TWIN_FOR
    Intent.objects.filter(pk=first.pk).update(updated_at=later, submitted_at=later)
    again = opened(person(ALICE))
    with pytest.raises(Problem, match="Exactly this transaction waits"):
        intents.confirm(again)
    Intent.objects.filter(pk=first.pk).update(state=State.DROPPED)
    intents.confirm(again)


def test_a_node_that_lags_says_nothing_of_the_wallet(chain: Chain) -> None:
    """What was sent is in the other numbers already."""
    opened(person(ALICE))
    for ahead in (0, 1):
        block, told = chain.block_number() + ahead, "0x" + "ab" * 32
        Intent.objects.update(state=State.INCLUDED, tx_hash=told, block=block)
        page = client_of(ALICE).get("/account").content.decode()
        wallet = page.partition("<dt>Wallet</dt>")[2].partition("</dd>")[0]
        assert ("does not answer right now" in wallet) is bool(ahead), wallet
