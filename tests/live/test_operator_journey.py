"""An operator's way: register, be acknowledged, earn, settle in part, see why, take the books away.

What the pages say is compared with what the node says: events, receipts, the wallet's balance.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from devnet.anvil import Anvil
from devnet.deploy import connect, deploy
from ledger import services as index
from ledger.models import Service
from operators.models import BatchGas, Debt
from operators.tasks import refresh
from protocol import events
from tests.db.test_keys_lasting import sign_again
from tests.live.provider_lab import ONE, SERVICE, Broker, Lab, Person, Upstream, served
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
ASKED = [{"role": "user", "content": "plain"}]
QUESTION = {"model": "lab-model", "max_tokens": 8, "messages": ASKED}
#: 11 tokens in and 7 out cost 0.81 0G.
DEAR = {"input_price": str(ONE // 100), "output_price": str(ONE // 10)}


@pytest.fixture
def lab(settings: Any, tmp_path: Any) -> Iterator[Lab]:
    cache.clear()
    with Anvil() as node:
        settings.CHAIN_RPC_URLS = (node.url,)
        made = Lab(connect(node.url, deploy(node.url)), node.url, tmp_path)
        yield made
        made.close()


@pytest.fixture
def broker(lab: Lab) -> Iterator[Broker]:
    with served(Upstream()) as url:
        made = Broker(lab, lab.person(), url + "/v1", service=DEAR)
        with made.config.open("a") as file:
            file.write("share_unsettled: true\n")
        yield made
        if made.alive:
            made.stop()


def caught_up(lab: Lab, *, final: bool = False) -> None:
    if final:
        lab.contracts.chain.rpc.call("anvil_mine", hex(64))
    index.follow(once=True)


def banners(page: str) -> set[str]:
    return set(re.findall(r'data-testid="operator-banner" data-kind="(\w+)"', page))


def neuron(page: str, testid: str) -> int:
    found = re.search(rf'data-neuron="(\d+)"[^>]*data-testid="{testid}"', page)
    assert found, testid
    return int(found[1])


def logs(lab: Lab, event: type[Any], address: str) -> list[tuple[dict[str, Any], Any]]:
    """What the node itself has, decoded."""
    shape = next(s for s in events.SHAPES if s.event is event)
    wanted = {"fromBlock": "0x0", "toBlock": "latest", "address": address, "topics": [shape.topic]}
    found = lab.contracts.chain.rpc.call("eth_getLogs", wanted)
    return [(raw, shape.decode(raw["topics"], raw["data"])) for raw in found]


def run_short(lab: Lab, user: Person, provider: str, left: int) -> None:
    """The user takes everything back and leaves a little."""
    ledger = lab.contracts.ledger
    ledger.send(user.wallet, "retrieveFund", [provider], SERVICE)
    lab.contracts.chain.travel(int(lab.contracts.inference.view("lockTime")) + 1)
    ledger.send(user.wallet, "retrieveFund", [provider], SERVICE)
    ledger.send(user.wallet, "transferFund", provider, SERVICE, left)


def test_register_earn_settle_in_part_and_see_why(lab: Lab, broker: Broker) -> None:
    operator = Client()
    sign_again(operator, broker.owner.wallet)
    caught_up(lab)
    assert b"owns-nothing" in operator.get("/operator").content

    broker.start()  # registers with its stake
    caught_up(lab)
    assert Service.current.get(provider=broker.address).removed is False
    page = operator.get("/operator").content.decode()
    assert banners(page) == {"unacknowledged"}
    assert "Nothing was settled in this period" in page
    lab.acknowledge(broker.address)
    caught_up(lab)
    assert banners(operator.get("/operator").content.decode()) == set()

    # Two people ask; one of them takes the money back before it is collected.
    alice, bob = lab.person(), lab.person()
    for user in (alice, bob):
        lab.fund(user, broker.address, 10 * ONE)
        key = user.provider_key(broker.address)
        assert [broker.ask(key, QUESTION).status_code for _ in range(2)] == [200, 200]
    owed = {user.address: broker.owes(user) for user in (alice, bob)}
    caught_up(lab)
    refresh(broker.address)
    page = operator.get("/operator/customers").content.decode()
    assert neuron(page, "owed-fee") == sum(owed.values())
    assert neuron(page, "collectable") == 20 * ONE
    broker.stop()
    Debt.objects.all().delete()
    refresh(broker.address)  # nobody answers now: said, and no reason to fail
    page = operator.get("/operator/customers").content.decode()
    assert "it gave no usable answer" in page and "owed-fee" not in page

    left = ONE // 2
    run_short(lab, bob, broker.address, left)
    before = lab.contracts.chain.balance(broker.address)
    broker.set("settlement", interval_seconds=0.3)
    broker.start()
    eventually(lambda: broker.owes(alice) == 0, 60)
    eventually(lambda: lab.account(bob, broker.address)["balance"] == 0, 60)
    broker.stop()
    earned = lab.contracts.chain.balance(broker.address)

    caught_up(lab)
    page = operator.get("/operator/settlements?period=all").content.decode()
    assert "not final yet" in page and "not read yet" in page
    caught_up(lab, final=True)
    refresh(broker.address)

    # The node's own word: who paid how much, what was left, what the gas cost.
    paid = {e.user: e.amount for _, e in logs(lab, events.FundSpent, lab.contracts.ledger.address)}
    results = logs(lab, events.TEESettlementResult, lab.contracts.inference.address)
    assert paid == {alice.address: owed[alice.address], bob.address: left}
    hashes = {raw["transactionHash"] for raw, _ in results}
    receipts = [
        lab.contracts.chain.rpc.call("eth_getTransactionReceipt", tx_hash) for tx_hash in hashes
    ]
    gas = sum(int(r["gasUsed"], 16) * int(r["effectiveGasPrice"], 16) for r in receipts)
    assert earned - before == sum(paid.values()) - gas
    assert sum(row.gas_used * row.gas_price for row in BatchGas.objects.all()) == gas

    page = operator.get("/operator/settlements?period=all").content.decode()
    assert 'data-testid="books-agree"' in page
    for name in ("books-settled", "books-closing", "books-charged", "books-logged", "settled-sum"):
        assert neuron(page, name) == sum(paid.values()), name
    assert neuron(page, "gas-spent") == gas and 'data-testid="break-even"' in page
    assert neuron(operator.get("/operator").content.decode(), "earned-total") == sum(paid.values())
    missing = owed[bob.address] - left
    shown = re.findall(r'data-testid="unpaid" data-status="(\w+)" data-amount="(\d+)"', page)
    assert ("partial", str(missing)) in shown and "held less than the fee" in page
    for tx_hash in hashes:
        assert operator.get(f"/operator/settlements/{tx_hash}").status_code == 200
    page = operator.get("/operator/customers?only=risk").content.decode()
    assert f'data-user="{bob.address}" data-grade="2"' in page

    # The file is what the events say, line by line.
    answer = operator.get("/operator/settlements.csv?period=all")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer).decode())))
    assert {
        (row["tx_hash"], int(row["log_index"]), row["user"], int(row["unsettled"])) for row in rows
    } == {
        (raw["transactionHash"], int(raw["logIndex"], 16), e.user, e.unsettled_amount)
        for raw, e in results
    }
    for user in (alice, bob):
        mine = [row for row in rows if row["user"] == user.address]
        assert sum(int(row["settled"]) for row in mine) == paid[user.address]
    assert {row["model"] for row in rows} == {"lab-model"}
    assert {row["final"] for row in rows} == {"yes"}

    # Someone else who signs in sees none of it.
    stranger = Client()
    sign_again(stranger, alice.wallet)
    assert b"owns-nothing" in stranger.get("/operator/settlements").content
    assert stranger.get("/operator/settlements.csv").status_code == 403
