"""Settlement moves exact money, once, whatever happens to the process (provider-protocol.md 12)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_utils.crypto import keccak

from devnet import accounts
from devnet.client import Receipt
from protocol.abi import INFERENCE_SERVING, encode_call
from protocol.digests import Settlement, settlement_digest, sign
from provider import confirmations
from provider.chain import Outcome, SignedItem
from provider.store import WRITTEN_OFF, Charge, Store
from runner.processes import free_port
from tests.live.provider_lab import (
    FEE,
    MODEL,
    ONE,
    Broker,
    ChaosRpc,
    Lab,
    Person,
    Upstream,
    buy,
    customer,
    served,
    settling,
    transactions,
)
from tests.waiting import eventually

SOON = {"interval_seconds": 0.3}
NEVER = {"interval_seconds": 3600}


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with served(Upstream()) as url:
        yield url + "/v1"


@pytest.fixture
def broker(lab: Lab, upstream: str) -> Iterator[Broker]:
    """A trusted provider that does not settle by itself yet."""
    made = Broker(lab, lab.person(), upstream, settlement=NEVER).start()
    lab.acknowledge(made.address)
    yield made
    if made.alive:
        made.stop()


def rows(broker: Broker, query: str) -> list[tuple[Any, ...]]:
    """What is on disk, read while no broker runs."""
    # A reader that is not closed keeps the next broker out.
    with closing(sqlite3.connect(broker.state / "broker.sqlite3")) as db:
        return db.execute(query).fetchall()


def settle_now(broker: Broker, **options: Any) -> None:
    """Restart with a short timer."""
    if broker.alive:
        broker.stop()
    broker.set("settlement", **SOON, **options)
    broker.start()


def test_every_user_pays_exactly_what_was_answered(lab: Lab, broker: Broker) -> None:
    alice, bob = customer(lab, broker), customer(lab, broker, 3 * ONE)
    key, bodies = alice.provider_key(broker.address), []
    for number in range(3):
        question = {"model": MODEL, "messages": [{"role": "user", "content": f"plain {number}"}]}
        bodies.append(json.dumps(question).encode())
        assert broker.ask(key, bodies[-1]).status_code == 200
    owed = {alice.address: 3 * FEE, bob.address: buy(broker, bob, 1)}
    # Debts survive kill -9.
    broker.stop(signal.SIGKILL)
    broker.start()
    assert {user.address: broker.owes(user) for user in (alice, bob)} == owed
    assert lab.account(alice, broker.address)["balance"] == 2 * ONE
    before = lab.contracts.chain.balance(broker.address)
    sent = transactions(broker)
    settle_now(broker)
    eventually(lambda: broker.owes(alice) == broker.owes(bob) == 0)
    a, b = lab.account(alice, broker.address), lab.account(bob, broker.address)
    assert a["balance"] == 2 * ONE - owed[alice.address]
    assert b["balance"] == 3 * ONE - owed[bob.address]
    assert transactions(broker) == sent + 1  # one batch for both
    ledger = lab.contracts.ledger.view("getLedger", alice.address)
    assert ledger["totalBalance"] - ledger["availableBalance"] == a["balance"]
    income = lab.contracts.chain.balance(broker.address) - before
    assert 0 < sum(owed.values()) - income < 10**16  # gas is all that is missing
    # Settled stays settled, and the next answer starts a new debt.
    time.sleep(1)
    assert transactions(broker) == sent + 1
    assert buy(broker, alice, 1) == FEE
    eventually(lambda: broker.owes(alice) == 0)
    assert lab.account(alice, broker.address)["balance"] == 2 * ONE - owed[alice.address] - FEE
    broker.stop()
    # The contract was told which requests it settled.
    (told,), _ = rows(
        broker, f"SELECT requests_hash FROM item WHERE user = '{alice.address}' ORDER BY id"
    )
    assert told == keccak(b"".join(hashlib.sha256(body).digest() for body in bodies))


def test_no_nonce_is_signed_twice_even_if_the_clock_is_set_back(lab: Lab, broker: Broker) -> None:
    user = customer(lab, broker)
    debt = buy(broker, user, 1)
    settle_now(broker)
    eventually(lambda: broker.owes(user) == 0)
    broker.stop()
    future = int(time.time() * 1000) + 86_400_000
    with closing(sqlite3.connect(broker.state / "broker.sqlite3")) as db, db:
        db.execute("UPDATE item SET nonce = ?", (str(future),))
    broker.start()
    debt += buy(broker, user, 1)
    eventually(lambda: lab.account(user, broker.address)["nonce"] == future + 1)
    assert lab.account(user, broker.address)["balance"] == 2 * ONE - debt


def test_a_pair_that_can_never_be_settled_again_blocks_nobody(lab: Lab, broker: Broker) -> None:
    """The contract takes any nonce above the last; beyond the largest there is none."""
    stuck, other = customer(lab, broker), customer(lab, broker)
    debt = buy(broker, stuck, 1)
    buy(broker, other, 1)
    broker.stop()
    assert send_by_hand(broker, item_by_hand(broker, stuck, 0, 2**256 - 1)).ok
    broker.set("settlement", **SOON)
    broker.start()
    eventually(lambda: broker.owes(other) == 0)
    assert broker.owes(stuck) == debt
    assert lab.account(stuck, broker.address)["balance"] == 2 * ONE
    assert "Traceback" not in broker.log


@contextmanager
def paused(lab: Lab) -> Iterator[None]:
    """Transactions wait in the pool; afterwards each is mined at once."""
    rpc = lab.contracts.chain.rpc
    rpc.call("evm_setIntervalMining", 0)
    rpc.call("evm_setAutomine", False)
    try:
        yield
    finally:
        rpc.call("evm_setAutomine", True)
        rpc.call("evm_mine")


async def test_a_stuck_transaction_is_replaced_by_dearer_ones_and_pays_once(
    lab: Lab, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmations, "REPLACE_SECONDS", 0)
    monkeypatch.setattr(confirmations, "RECEIPT_SECONDS", 0.2)
    user = customer(lab, broker)
    debt = buy(broker, user, 2)
    broker.stop()
    sent = transactions(broker)
    async with settling(broker) as (settler, store, debts):
        with paused(lab):
            for _ in range(3):
                await settler.settle()
            (batch,) = store.open_batches()
            prices = [attempt.gas_price for attempt in batch.attempts]
            assert len({attempt.nonce for attempt in batch.attempts}) == 1
            assert len(prices) == 3
            assert all(9 * a // 8 < b for a, b in pairwise(prices)), prices
            assert debts.owed(user.address) == debt
            # One item of a user at a time: what comes later waits for its end.
            store.record(Charge(user.address, 5, b"\1" * 32), None)
            debts.charge(user.address, 5)
            store.record(Charge(Person().address, 5, b"\1" * 32), None)  # who has left since
            await settler.settle()
            assert [i.signed.item.total_fee for i in store.open_items()] == [debt]
        await settler.settle()
        assert (debts.owed(user.address), store.open_items(), store.open_batches()) == (0, [], [])
    assert transactions(broker) == sent + 2
    assert lab.account(user, broker.address)["balance"] == 2 * ONE - debt - 5


async def test_a_transaction_pushed_out_by_a_stranger_goes_out_again(
    lab: Lab, broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody used the wallet elsewhere: our nonce is gone, the items are not."""
    monkeypatch.setattr(confirmations, "RECEIPT_SECONDS", 0.2)
    user = customer(lab, broker)
    debt = buy(broker, user, 1)
    broker.stop()
    rpc = lab.contracts.chain.rpc
    async with settling(broker) as (settler, store, debts):
        with paused(lab):
            await settler.settle()
            (batch,) = store.open_batches()
            # Still in the pool: nothing else is sent for it.
            await settler.settle()
            assert store.open_batches() == [batch]
            rpc.call("anvil_dropTransaction", batch.attempts[0].hash)
            # The operator's own, cheaper than ours: it is not pushed out, however long it takes.
            monkeypatch.setattr(confirmations, "REPLACE_SECONDS", 0)
            own = signed_by_hand(broker, batch.attempts[0].nonce, batch.attempts[0].gas_price // 2)
            assert rpc.call("eth_sendRawTransaction", own) is not None
            await settler.settle()
            (waiting,) = rpc.call("txpool_content")["pending"].values()
            assert [int(one["value"], 16) for one in waiting.values()] == [3]
            assert store.open_batches() == [batch]
            # Said once an hour, as only the operator can end it.
            await settler.settle()
            monkeypatch.setattr(confirmations, "REMIND_SECONDS", 0.001)
            await settler.settle()
            told = [one for one in caplog.messages if f"of nonce {batch.attempts[0].nonce} " in one]
            assert len(told) == 2 and "waits for 0 h" in told[0]
        await settler.settle()  # the operator's own is mined
        await settler.settle()
        assert (debts.owed(user.address), store.open_batches()) == (0, [])
    account = lab.account(user, broker.address)
    assert (account["balance"], account["nonce"]) == (
        2 * ONE - debt,
        batch.items[0].signed.item.nonce,
    )


async def test_a_mined_refusal_pays_nothing_and_is_tried_again(
    lab: Lab, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the preview and the block the owner withdraws the trust in the signer."""
    monkeypatch.setattr(confirmations, "RECEIPT_SECONDS", 0.2)
    user = customer(lab, broker)
    debt = buy(broker, user, 1)
    broker.stop()
    inference = lab.contracts.inference
    revoke = encode_call(INFERENCE_SERVING, "revokeTEESignerAcknowledgement", broker.address)
    async with settling(broker) as (settler, store, debts):
        with paused(lab):
            await settler.settle()
            (batch,) = store.open_batches()
            first = {"from": accounts.owner().address, "to": inference.address, "data": revoke}
            hurry = {"gas": hex(500_000), "gasPrice": hex(10**12)}
            lab.contracts.chain.rpc.call("eth_sendTransaction", {**first, **hurry})
        await settler.settle()
        (item,) = store.open_items()
        assert item.id == batch.items[0].id  # its nonce is not used up: no other is signed
        assert item.batch is None and debts.owed(user.address) == debt
        assert lab.account(user, broker.address)["balance"] == 2 * ONE
        lab.acknowledge(broker.address)
        await settler.settle()
        assert (debts.owed(user.address), store.open_items()) == (0, [])
    account = lab.account(user, broker.address)
    assert (account["balance"], account["nonce"]) == (2 * ONE - debt, item.signed.item.nonce)


def test_what_was_judged_is_not_judged_again(tmp_path: Path) -> None:
    """Two ways lead to an item's end; whichever comes second changes nothing."""
    store = Store(tmp_path)
    user, provider = Person().address, Person().address
    for _ in range(2):
        store.record(Charge(user, 10, b"\1" * 32), None)
    settlement = Settlement(user, provider, 20, b"\2" * 32, 7)
    charges = [id_ for id_, _ in store.free_charges()[user]]
    store.add_item(SignedItem(settlement, b"\3" * 65), charges, 0)
    assert store.owed() == {user: 20} and store.free_charges() == {}
    (item,) = store.open_items()
    assert store.judge(item, Outcome(1, 15)) is True
    assert not store.judge(item, Outcome(1, 15)) and not store.judge(item, Outcome(0, 0))
    assert store.owed() == {user: 15} and store.open_items() == []
    # A charge that an item holds stays with it.
    store.add_item(SignedItem(replace(settlement, nonce=8), b"\3" * 65), charges, 0)
    held = store.rows("SELECT item FROM charge WHERE id <= 2")
    assert held == [(item.id,), (item.id,)]
    store.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_power_cut_around_the_sending_charges_once(lab: Lab, broker: Broker, when: str) -> None:
    """`before`: everything is on disk, the node never saw it. `after`: the node has it, the broker
    never heard the answer."""
    user = customer(lab, broker)
    debt = buy(broker, user, 2)
    broker.stop()
    sent = transactions(broker)
    chaos = ChaosRpc(lab.rpc)

    def cut(method: str) -> None:
        if method == "eth_sendRawTransaction":
            assert broker.process is not None
            os.kill(broker.process.pid, signal.SIGKILL)
            broker.process.wait()
            if when == "before":
                raise ConnectionError("the power is gone")

    setattr(chaos, when, cut)
    with served(chaos) as url:
        broker.set("chain", rpc=url)
        broker.set("settlement", **SOON)
        broker.start()
        broker.wait_dead()
    ((nonce, signature),) = rows(broker, "SELECT nonce, signature FROM item WHERE settled IS NULL")
    assert transactions(broker) == sent + (when == "after")
    broker.set("chain", rpc=lab.rpc)
    broker.start()
    eventually(lambda: broker.owes(user) == 0)
    broker.stop()
    account = lab.account(user, broker.address)
    assert account["balance"] == 2 * ONE - debt
    assert account["nonce"] == int(nonce)  # the very item, not a new one
    assert rows(broker, "SELECT count(*) FROM item") == [(1,)]
    assert rows(broker, "SELECT signature, settled FROM item") == [(signature, str(debt))]
    assert transactions(broker) == sent + 1
    # And once more for good measure: nothing is left to do.
    broker.start()
    time.sleep(1)
    assert transactions(broker) == sent + 1
    assert lab.account(user, broker.address) == account


def killed_with_a_signed_item(lab: Lab, broker: Broker) -> None:
    """Start the broker and kill it between signing the item and making a transaction of it."""
    chaos = ChaosRpc(lab.rpc)

    def cut(method: str) -> None:
        if method == "eth_estimateGas":
            assert broker.process is not None
            os.kill(broker.process.pid, signal.SIGKILL)

    chaos.before = cut
    with served(chaos) as url:
        broker.set("chain", rpc=url)
        broker.set("settlement", **SOON)
        broker.start()
        broker.wait_dead()
    broker.set("chain", rpc=lab.rpc)


def open_items(broker: Broker) -> dict[str, dict[str, Any]]:
    """By user: the items that are signed and were never sent, read from the disk."""
    found = rows(
        broker, "SELECT user, provider, total_fee, requests_hash, nonce, signature FROM item"
    )
    return {
        user: {
            "user": user,
            "provider": provider,
            "totalFee": int(fee),
            "requestsHash": requests_hash,
            "nonce": int(nonce),
            "signature": signature,
        }
        for user, provider, fee, requests_hash, nonce, signature in found
    }


def item_by_hand(broker: Broker, user: Person, fee: int, nonce: int) -> dict[str, Any]:
    """An item the broker's own signer might have signed elsewhere."""
    settlement = Settlement(user.address, broker.address, fee, b"\1" * 32, nonce)
    contracts = broker.lab.contracts
    digest = settlement_digest(
        settlement, chain_id=contracts.chain.chain_id, contract=contracts.inference.address
    )
    signer = bytes.fromhex((broker.state / "development-signer.key").read_text())
    return {
        "user": user.address,
        "provider": broker.address,
        "totalFee": fee,
        "requestsHash": settlement.requests_hash,
        "nonce": nonce,
        "signature": sign(digest, signer),
    }


def signed_by_hand(broker: Broker, nonce: int, gas_price: int) -> str:
    """Three neuron from the broker's wallet to itself, signed and not sent."""
    call: dict[str, Any] = {"to": broker.address, "value": 3, "gas": 21_000, "gasPrice": gas_price}
    call |= {"nonce": nonce, "chainId": broker.lab.contracts.chain.chain_id}
    signed = broker.owner.wallet.sign_transaction(call)
    return "0x" + bytes(signed.raw_transaction).hex()


def send_by_hand(broker: Broker, item: dict[str, Any]) -> Receipt:
    return broker.lab.contracts.inference.send(broker.owner.wallet, "settleFeesWithTEE", [item])


def final(lab: Lab) -> None:
    """Enough blocks for `settlement.confirmations`."""
    lab.contracts.chain.rpc.call("anvil_mine", hex(5))


def test_power_cut_before_the_transaction_is_written(lab: Lab, broker: Broker) -> None:
    """The items are signed and on disk, no transaction exists. One goes out later; one was settled
    meanwhile by a transaction that the broker knows nothing of (status 4 with the nonce used up:
    its log tells how much was paid); one's nonce was used up without a trace: better to lose a fee
    than to ask twice for what may have been paid."""
    later, paid, lost = (customer(lab, broker) for _ in range(3))
    debts = {user.address: buy(broker, user, n) for user, n in ((later, 1), (paid, 2), (lost, 2))}
    broker.stop()
    killed_with_a_signed_item(lab, broker)
    assert rows(broker, "SELECT count(*) FROM batch") == [(0,)]
    items = open_items(broker)
    assert {user: item["totalFee"] for user, item in items.items()} == debts
    assert send_by_hand(broker, items[paid.address]).ok
    rival = item_by_hand(broker, lost, 0, items[lost.address]["nonce"] + 86_400_000)
    assert send_by_hand(broker, rival).ok
    final(lab)
    sent = transactions(broker)
    # A node that gives no logs, or not of so long ago, keeps nobody else's fees back.
    blind = ChaosRpc(lab.rpc)
    blind.refused = ("eth_getLogs",)
    with served(blind) as url:
        broker.set("chain", rpc=url)
        broker.start()
        eventually(lambda: broker.owes(later) == 0)
        assert (broker.owes(paid), broker.owes(lost)) == (2 * FEE, 2 * FEE)
        broker.stop()
    port = free_port()
    broker.set("chain", rpc=lab.rpc)
    broker.set("admin", port=port)
    broker.start()
    eventually(lambda: broker.owes(paid) == broker.owes(lost) == 0)
    account = lab.account(later, broker.address)
    assert account["balance"] == 2 * ONE - debts[later.address]
    assert account["nonce"] == items[later.address]["nonce"]  # the very item, not a new one
    assert lab.account(paid, broker.address)["balance"] == 2 * ONE - debts[paid.address]
    assert lab.account(lost, broker.address)["balance"] == 2 * ONE
    assert transactions(broker) == sent + 1
    # A loss is not counted as income, in the log, the store or the metrics.
    assert f"{2 * FEE} neuron written off" in broker.log
    metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    counted = dict(re.findall(r"^zg_broker_(\w+)_neuron_total (\S+)$", metrics, re.MULTILINE))
    # What came later was paid under the blind node, by the process before.
    assert (float(counted["written_off"]), float(counted["settled"])) == (2 * FEE, 2 * FEE)
    # New debts take nonces above the rival's and are paid.
    buy(broker, lost, 1)
    eventually(lambda: broker.owes(lost) == 0)
    account = lab.account(lost, broker.address)
    assert (account["balance"], account["nonce"]) == (2 * ONE - FEE, rival["nonce"] + 1)
    assert transactions(broker) == sent + 2
    broker.stop()
    judged = {
        user: rows(broker, f"SELECT status, settled FROM item WHERE user = '{user}' ORDER BY id")
        for user in debts
    }
    assert judged == {
        later.address: [(0, str(FEE))],
        paid.address: [(0, str(2 * FEE))],
        lost.address: [(WRITTEN_OFF, "0"), (0, str(FEE))],
    }


def test_an_old_copy_of_the_state_asks_for_nothing_twice(lab: Lab, broker: Broker) -> None:
    """A disk is lost and a backup restored: what was settled since is not in it."""
    paid, later = customer(lab, broker), customer(lab, broker)
    debt = buy(broker, paid, 2)
    broker.stop()
    copy = broker.folder / "copy"
    shutil.copytree(broker.state, copy)
    broker.start()
    debt += buy(broker, paid, 1)
    settle_now(broker)
    eventually(lambda: broker.owes(paid) == 0)
    broker.stop()
    final(lab)
    shutil.rmtree(broker.state)
    copy.rename(broker.state)
    broker.start()
    eventually(lambda: broker.owes(paid) == 0)
    assert "from before it written off" in broker.log
    assert lab.account(paid, broker.address)["balance"] == 2 * ONE - debt
    # What is new is paid as ever, by whom it is known and by whom not.
    debt += buy(broker, paid, 1)
    buy(broker, later, 1)
    eventually(lambda: broker.owes(paid) == broker.owes(later) == 0)
    assert lab.account(paid, broker.address)["balance"] == 2 * ONE - debt
    assert lab.account(later, broker.address)["balance"] == 2 * ONE - FEE


def test_what_a_small_balance_cannot_pay_stays_owed(lab: Lab, upstream: str) -> None:
    """Partial settlement: the remainder is a new debt under a new nonce, paid after a top-up."""
    price = 10**17  # seven words cost 0.7 0G
    broker = Broker(
        lab,
        lab.person(),
        upstream,
        settlement=NEVER,
        service={"output_price": price, "input_price": 0},
    ).start()
    lab.acknowledge(broker.address)
    user = customer(lab, broker, 5 * ONE)
    body = {
        "model": "lab-model",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "plain"}],
    }
    key = user.provider_key(broker.address)
    for _ in range(3):
        assert broker.ask(key, body).status_code == 200
    broker.stop()
    # Another settlement, done by hand, leaves 1 0G where 2.1 0G are owed.
    assert send_by_hand(broker, item_by_hand(broker, user, 4 * ONE, 1)).ok
    final(lab)
    sent = transactions(broker)
    broker.set("settlement", **SOON)
    broker.start()
    eventually(lambda: broker.owes(user) == 11 * 10**17)
    assert lab.account(user, broker.address)["balance"] == 0
    time.sleep(1)
    assert transactions(broker) == sent + 1  # an empty account is not worth more gas
    lab.fund(user, broker.address, 5 * ONE)
    final(lab)  # the remainder waits for its block
    eventually(lambda: broker.owes(user) == 0)
    assert lab.account(user, broker.address)["balance"] == 39 * 10**17
    broker.stop()


def test_waits_while_the_owner_does_not_trust_the_signer(lab: Lab, broker: Broker) -> None:
    user = customer(lab, broker)
    debt = buy(broker, user, 1)
    revoke = "revokeTEESignerAcknowledgement"
    lab.contracts.inference.send(accounts.owner(), revoke, broker.address)
    sent = transactions(broker)
    settle_now(broker)
    eventually(lambda: "would answer status 3" in broker.log)
    assert (broker.owes(user), transactions(broker)) == (debt, sent)
    lab.acknowledge(broker.address)
    eventually(lambda: broker.owes(user) == 0)
    assert lab.account(user, broker.address)["balance"] == 2 * ONE - debt


def test_more_than_fifty_users_take_two_transactions(lab: Lab, broker: Broker) -> None:
    users = [customer(lab, broker) for _ in range(51)]
    assert sum(buy(broker, user, 1) for user in users) == 51 * FEE
    sent = transactions(broker)
    settle_now(broker)
    eventually(lambda: all(broker.owes(user) == 0 for user in users), 40)
    assert transactions(broker) == sent + 2
    assert {lab.account(user, broker.address)["balance"] for user in users} == {2 * ONE - FEE}


def test_a_low_balance_settles_early_and_stopping_settles_where_asked_to(
    lab: Lab, broker: Broker
) -> None:
    low, other = customer(lab, broker, ONE + 10**16), customer(lab, broker)
    broker.stop()
    broker.set("settlement", at_shutdown=True)
    broker.start()
    for _ in range(2):
        buy(broker, low, 1)  # below the margin of 0.1 0G from the start
    eventually(lambda: lab.account(low, broker.address)["nonce"] > 0)
    debt = buy(broker, other, 1)
    broker.stop()
    assert lab.account(other, broker.address)["balance"] == 2 * ONE - debt


LIES: dict[str, dict[str, Any]] = {
    "no log": {"eth_getTransactionReceipt": {"status": "0x1", "logs": [{}]}},
    "reverted": {"eth_getTransactionReceipt": {"status": "0x0", "logs": []}},
    "no number": {"eth_estimateGas": "many"},
    "no result": {"eth_call": "0x"},
}


def test_a_node_that_fails_or_talks_nonsense_only_delays(lab: Lab, broker: Broker) -> None:
    user = customer(lab, broker)
    debt = buy(broker, user, 1)
    broker.stop()
    chaos = ChaosRpc(lab.rpc)
    failing = {"eth_sendRawTransaction"}

    def fail(method: str) -> None:
        if method in failing:
            raise ConnectionError("out of order")

    chaos.before = fail
    with served(chaos) as url:
        broker.set("chain", rpc=url)
        broker.set("settlement", **SOON)
        broker.start()
        eventually(lambda: chaos.calls.count("eth_sendRawTransaction") >= 2)
        assert broker.owes(user) == debt
        failing.clear()
        eventually(lambda: broker.owes(user) == 0)
        for name, lies in LIES.items():
            (method,) = lies
            chaos.lies = lies
            debt += buy(broker, user, 1)
            heard = chaos.calls.count(method)
            eventually(lambda m=method, h=heard: chaos.calls.count(m) >= h + 2)  # type: ignore[misc]
            chaos.lies = {}
            eventually(lambda: broker.owes(user) == 0)
            assert lab.account(user, broker.address)["balance"] == 2 * ONE - debt, name
        broker.stop()
    # Each debt is one item, however often it was tried.
    assert rows(broker, "SELECT count(*) FROM item") == [(1 + len(LIES),)]


def test_a_new_signer_takes_over_what_the_old_one_signed(lab: Lab, broker: Broker) -> None:
    user = customer(lab, broker)
    debt = buy(broker, user, 1)
    broker.stop()
    killed_with_a_signed_item(lab, broker)
    item = open_items(broker)[user.address]
    (broker.state / "development-signer.key").unlink()
    broker.start()
    lab.acknowledge(broker.address)
    eventually(lambda: broker.owes(user) == 0)
    account = lab.account(user, broker.address)
    assert (account["balance"], account["nonce"]) == (2 * ONE - debt, item["nonce"])


def test_small_debts_wait_for_the_minimum_but_not_for_ever(lab: Lab, broker: Broker) -> None:
    small, big = customer(lab, broker), customer(lab, broker)
    buy(broker, small, 1)
    buy(broker, big, 2)
    settle_now(broker, minimum=2 * FEE)
    eventually(lambda: broker.owes(big) == 0)
    time.sleep(1)
    assert broker.owes(small) == FEE
    buy(broker, small, 1)
    eventually(lambda: broker.owes(small) == 0)


def test_a_state_folder_is_one_brokers_and_one_chains(
    lab: Lab, broker: Broker, upstream: str
) -> None:
    twin = Broker(lab, broker.owner, upstream)
    with pytest.raises(RuntimeError, match=r"state: .* cannot be used"):
        twin.start()
    twin.wait_dead()
    broker.stop()
    other = Broker(lab, lab.person(), upstream)
    other.folder.joinpath("state").symlink_to(broker.state)
    with pytest.raises(RuntimeError, match="holds the debts of another chain"):
        other.start()
    other.wait_dead()
