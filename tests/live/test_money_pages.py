"""200 random legal and illegal actions: preview, contract, index and pages agree to the neuron."""

from __future__ import annotations

import datetime as dt
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import analytics, history, services
from accounts.errors import Problem
from accounts.models import User
from devnet import accounts as cast
from devnet import signatures
from devnet.anvil import Anvil
from devnet.deploy import Contracts, connect, deploy
from devnet.owner import acknowledge_signer
from ledger import services as index
from tests.db.test_preview import draw

pytestmark = pytest.mark.django_db(transaction=True)
NEURON = 10**18
ALICE = cast.user(1)
SELLER, SIGNER = cast.provider(1), cast.signer(1)
ITEM = ("user", "provider", "totalFee", "requestsHash", "nonce", "signature")


@pytest.fixture
def contracts(settings: Any) -> Iterator[Contracts]:
    with Anvil() as node:
        settings.CHAIN_RPC_URLS = (node.url,)
        found = connect(node.url, deploy(node.url))
        listing = ("chatbot", "http://127.0.0.1:1", "m", "TeeML", 1, 1, "{}", SIGNER.address)
        found.inference.send(SELLER, "addOrUpdateService", listing, value=100 * NEURON)
        acknowledge_signer(found, SELLER.address)
        found.ledger.send(ALICE, "depositFund", value=30 * NEURON)
        yield found


def attempt(contracts: Contracts, action: str, params: dict[str, Any]) -> bool:
    """Preview and, where it allows, send; True when it was sent."""
    try:
        checked = services.check(action, params, ALICE.address)
    except Problem as problem:
        assert problem.code != "preview_disagrees", (action, params)
        return False
    data = bytes.fromhex(checked.call.data[2:])
    sent = contracts.chain.send(
        ALICE, checked.call.to, data, value=checked.call.value, gas=checked.gas
    )
    assert sent.ok, (action, params)
    return True


def settle(contracts: Contracts, rng: random.Random, nonce: int) -> None:
    domain = signatures.Domain(contracts.chain.chain_id, contracts.inference.address)
    item = signatures.settlement(
        domain,
        SIGNER,
        user=ALICE.address,
        provider=SELLER.address,
        fee=rng.randrange(2 * NEURON),
        nonce=nonce,
        requests_hash=b"\1" * 32,
    )
    contracts.inference.send(SELLER, "settleFeesWithTEE", [tuple(item[n] for n in ITEM)])


def shown(html: str, name: str) -> int:
    found = re.search(rf'data-neuron="(\d+)"[^>]*data-testid="balance-{name}"', html)
    assert found, name
    return int(found[1])


def agree(contracts: Contracts, client: Client) -> None:
    """What the pages show is what the contracts say, and the books add up."""
    index.follow(once=True)
    html = client.get("/account").content.decode()
    try:
        ledger = contracts.ledger.view("getLedger", ALICE.address)
        available, total = ledger["availableBalance"], ledger["totalBalance"]
    except Exception as error:
        assert "LedgerNotExists" in str(error)
        available = total = 0
    held = [
        serving.view("getAccount", ALICE.address, summary["provider"])
        for serving in (contracts.inference, contracts.fine_tuning)
        for summary in serving.view("getAccountsByUser", ALICE.address, 0, 50)[0]
    ]
    refunding = sum(account["pendingRefund"] for account in held)
    assert shown(html, "available") == available
    assert shown(html, "refunding") == refunding
    assert shown(html, "locked") == total - available - refunding
    assert shown(html, "wallet") == contracts.chain.balance(ALICE.address)
    entries = [
        r["amount"] for account in held for r in account["refunds"][: account["validRefundsLength"]]
    ]
    html = client.get("/account/refunds").content.decode()
    rows = re.findall(r'data-testid="refund-row"[^>]*data-amount="(\d+)"', html)
    assert sorted(map(int, rows)) == sorted(entries)
    # The chain's clock runs ahead of ours, so its months may be later than today.
    newest = contracts.chain.timestamp()
    today = dt.datetime.fromtimestamp(newest, dt.UTC).date()
    sheets = [
        history.statement(ALICE.address, m, today) for m in history.months(ALICE.address, today)
    ]
    assert all(sheet.adds_up for sheet in sheets)
    assert (sheets[0].closing.available, sheets[0].closing.total) == (available, total)
    assert analytics.spending(ALICE.address, "all", timezone.now()).reconciles


@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_random_actions_leave_no_neuron_unexplained(
    contracts: Contracts, seed: int
) -> None:
    client = Client()
    client.force_login(User.objects.for_address(ALICE.address))
    rng, sent = random.Random(seed), 0
    for number in range(200):
        chance = rng.random()
        if chance < 0.1:
            contracts.chain.travel(rng.choice([100, 40_000, 90_000]))
        elif chance < 0.2:
            settle(contracts, rng, number + 1)
        else:
            sent += attempt(contracts, *draw(rng))
        if number % 40 == 39:
            agree(contracts, client)
    assert 40 < sent < 180
