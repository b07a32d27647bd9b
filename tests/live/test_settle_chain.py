"""Settlement when the chain itself changes its mind, or its price: a lost block is paid once more
and never twice, and nobody pays more for gas than he said."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from devnet.anvil import Anvil
from devnet.deploy import connect, deploy
from provider import confirmations, settle
from provider.errors import ChainError
from provider.store import Charge, Store
from tests.live.provider_lab import (
    FEE,
    ONE,
    Broker,
    ChaosRpc,
    Lab,
    Upstream,
    buy,
    customer,
    served,
    settling,
    transactions,
)
from tests.live.test_provider_settlement import signed_by_hand
from tests.waiting import eventually

GWEI = 10**9


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Every transaction is mined at once, and otherwise no block comes."""
    with Anvil(args=("--slots-in-an-epoch", "1")) as node:
        contracts = connect(node.url, deploy(node.url))
        made = Lab(contracts, node.url, tmp_path_factory.mktemp("brokers"))
        yield made
        made.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with served(Upstream()) as url:
        yield url + "/v1"


@pytest.fixture
def broker(lab: Lab, upstream: str) -> Iterator[Broker]:
    """A trusted provider whose fees wait for the test, which settles by itself."""
    made = Broker(lab, lab.person(), upstream).start()
    lab.acknowledge(made.address)
    yield made
    if made.alive:
        made.stop()


def call(lab: Lab, method: str, *params: Any) -> Any:
    return lab.contracts.chain.rpc.call(method, *params)


def reorganise(lab: Lab, depth: int, *again: tuple[str, int]) -> None:
    """Replace the last blocks; `again` are raw transactions for the n-th new one."""
    call(lab, "anvil_reorg", depth, [[raw, number] for raw, number in again])


async def test_a_lost_block_is_paid_once_more_and_never_twice(lab: Lab, broker: Broker) -> None:
    user = customer(lab, broker)
    debt = buy(broker, user, 3)
    broker.stop()
    sent = transactions(broker)
    async with settling(broker) as (settler, store, debts):
        await settler.settle()
        assert debts.owed(user.address) == 0 and store.open_batches() == []
        (mined,) = store.mined_batches()
        reorganise(lab, 1)
        assert lab.account(user, broker.address)["balance"] == 2 * ONE  # the money is back
        assert transactions(broker) == sent
        # A round that only looks finds it, owes it again, and sends the same bytes again.
        await settler.follow()
        (again,) = store.mined_batches()
        assert again.batch.attempts == mined.batch.attempts
        assert again.block_hash != mined.block_hash
        assert debts.owed(user.address) == 0 == sum(store.owed().values())
        assert transactions(broker) == sent + 1
        for _ in range(3):
            await settler.settle(everything=True)
        assert transactions(broker) == sent + 1
        call(lab, "anvil_mine", hex(5))
        await settler.follow()
        assert store.mined_batches() == []
        assert store.rows("SELECT count(*) FROM item") == [(1,)]
    assert lab.account(user, broker.address)["balance"] == 2 * ONE - debt


async def test_killed_while_it_writes_down_a_block_that_is_lost_then(
    lab: Lab, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a block paid is believed with the block, in one step: else nobody would take it back."""
    user = customer(lab, broker)
    debt = buy(broker, user, 1)
    broker.stop()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as fault:
        fault.setattr(Store, "close_batch", killed)
        async with settling(broker) as (settler, store, _):
            with pytest.raises(KeyboardInterrupt):
                await settler.settle()
            (batch,) = store.open_batches()
    # In the lost transaction's place the chain takes another one of the operator's.
    own = signed_by_hand(broker, batch.attempts[0].nonce, batch.attempts[0].gas_price)
    reorganise(lab, 1, (own, 0))
    async with settling(broker) as (settler, store, debts):
        assert debts.owed(user.address) == debt
        for _ in range(2):
            await settler.settle(everything=True)
        assert debts.debtors() == {} == store.owed()
    assert lab.account(user, broker.address)["balance"] == 2 * ONE - debt


async def test_a_transaction_that_moved_to_another_block_is_judged_anew(
    lab: Lab, broker: Broker
) -> None:
    user = customer(lab, broker)
    debt = buy(broker, user, 1)
    broker.stop()
    sent = transactions(broker)
    async with settling(broker) as (settler, store, debts):
        await settler.settle()
        (mined,) = store.mined_batches()
        reorganise(lab, 1, (mined.batch.attempts[0].raw, 0))
        await settler.settle()
        (moved,) = store.mined_batches()
        assert moved.block_hash != mined.block_hash
        assert (debts.owed(user.address), transactions(broker)) == (0, sent + 1)
    assert lab.account(user, broker.address)["balance"] == 2 * ONE - debt


async def test_what_remains_of_a_lost_item_is_not_asked_for_beside_it(
    lab: Lab, broker: Broker
) -> None:
    """A partial payment leaves a remainder; if its block is lost, remainder and payment are one
    debt again."""
    user = customer(lab, broker, ONE)
    broker.stop()
    async with settling(broker) as (settler, store, debts):
        store.record(Charge(user.address, 3 * ONE, b"\1" * 32), None)
        debts.charge(user.address, 3 * ONE)
        await settler.settle()
        assert store.owed() == {user.address: 2 * ONE} == debts.debtors()
        # Topped up, the remainder could be paid; but its block may still be lost.
        lab.fund(user, broker.address, 5 * ONE)
        await settler.settle()
        assert store.rows("SELECT count(*) FROM item") == [(1,)]
        head = int(call(lab, "eth_blockNumber"), 16)
        (mined,) = store.mined_batches()
        reorganise(lab, head - mined.block_number + 1)
        lab.fund(user, broker.address, 5 * ONE)
        await settler.settle()
        assert store.owed() == {} == debts.debtors()
        assert lab.account(user, broker.address)["balance"] == 3 * ONE  # 1 and 5, less the debt
        call(lab, "anvil_mine", hex(5))
        await settler.settle()
        assert store.rows("SELECT settled FROM item") == [(str(3 * ONE),)]
    assert lab.account(user, broker.address)["balance"] == 3 * ONE


async def test_a_node_that_is_behind_takes_nothing_back(lab: Lab, broker: Broker) -> None:
    """Of two nodes behind one name, one may not know the block yet, nor the receipt."""
    user = customer(lab, broker)
    buy(broker, user, 1)
    broker.stop()
    chaos = ChaosRpc(lab.rpc)
    with served(chaos) as url:
        broker.set("chain", rpc=url)
        async with settling(broker) as (settler, store, debts):
            await settler.settle()
            chaos.lies = {"eth_getBlockByNumber": None, "eth_getTransactionReceipt": None}
            await settler.follow()
            assert debts.owed(user.address) == 0 and len(store.mined_batches()) == 1


@pytest.mark.parametrize("signed", [True, False])
async def test_nothing_is_written_off_by_a_block_that_may_be_lost(
    lab: Lab, broker: Broker, signed: bool
) -> None:
    """Another store with our keys has settled; its block disappears, and we are owed again."""
    user = customer(lab, broker)
    debt = buy(broker, user, 1)
    broker.stop()
    copy = broker.folder / "copy"
    chaos = ChaosRpc(lab.rpc)
    with served(chaos) as url:
        broker.set("chain", rpc=url)
        async with settling(broker) as (settler, store, _):
            if signed:
                chaos.lies = {"eth_estimateGas": "many"}
                with pytest.raises(ChainError):
                    await settler.settle()
                chaos.lies = {}
            store.rows("VACUUM INTO ?", str(copy))
            await settler.settle()
            assert store.open_items() == []
        copy.replace(broker.state / "broker.sqlite3")  # closed, it has no journal beside it
        async with settling(broker) as (settler, store, debts):
            with store.transaction() as db:
                db.execute("UPDATE item SET nonce = CAST(nonce AS INTEGER) - 1")
            await settler.settle()
            assert store.owed() == {user.address: debt} == debts.debtors()
            reorganise(lab, 1)
            await settler.settle()
            assert store.owed() == {} == debts.debtors()
    assert lab.account(user, broker.address)["balance"] == 2 * ONE - debt


async def test_settlements_wait_for_gas_the_operator_wants_to_pay(
    lab: Lab, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    user, calm = customer(lab, broker), customer(lab, broker)
    debt = buy(broker, user, 1)
    broker.stop()
    sent = transactions(broker)
    chaos = ChaosRpc(lab.rpc)
    limits = {"max_gas_price": 20 * GWEI, "urgent_gas_price": 50 * GWEI}
    with served(chaos) as url:
        broker.set("chain", rpc=url)
        broker.set("settlement", **limits)
        async with settling(broker) as (settler, store, debts):
            chaos.lies = {"eth_gasPrice": hex(30 * GWEI)}
            await settler.settle(everything=True)
            assert (debts.owed(user.address), transactions(broker)) == (debt, sent)
            assert settler.waiting == (
                f"{debt} neuron of 1 users wait: gas costs {30 * GWEI} neuron, more than the "
                f"limit of {20 * GWEI}"
            )
            assert settler.waiting in caplog.text
            # With money at risk it pays more, and even then not everything.
            chaos.lies = {"eth_gasPrice": hex(51 * GWEI)}
            settler.kick(user.address)
            await settler.settle(everything=True)
            assert transactions(broker) == sent and str(50 * GWEI) in settler.waiting
            # Others do not travel along at that price.
            chaos.lies = {"eth_gasPrice": hex(45 * GWEI)}
            store.record(Charge(calm.address, FEE, b"\1" * 32), None)
            debts.charge(calm.address, FEE)
            settler.kick(user.address)
            await settler.settle(everything=True)
            assert debts.debtors() == {calm.address: FEE} and "1 users wait" in settler.waiting
            # A rise of a quarter is allowed for, within the limit.
            ((price,),) = store.rows("SELECT gas_price FROM attempt")
            assert int(price) == 50 * GWEI
            chaos.lies = {"eth_gasPrice": hex(19 * GWEI)}
            await settler.settle()
            assert (debts.debtors(), settler.waiting) == ({}, "")


async def test_a_stuck_transaction_is_not_bumped_beyond_the_limit(
    lab: Lab, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmations, "REPLACE_SECONDS", 0)
    monkeypatch.setattr(confirmations, "RECEIPT_SECONDS", 0.1)
    user, other = customer(lab, broker), customer(lab, broker)
    debt = buy(broker, user, 1)
    broker.stop()
    price = int(call(lab, "eth_gasPrice"), 16)
    broker.set("settlement", max_gas_price=price * 3 // 2)
    call(lab, "evm_setAutomine", False)
    async with settling(broker) as (settler, store, _):
        try:
            for _ in range(6):
                await settler.settle()
            (batch,) = store.open_batches()
            assert len(batch.attempts) == 2  # a quarter above, and one eighth on top of that
            assert all(attempt.gas_price <= price * 3 // 2 for attempt in batch.attempts)
            # A second batch takes the next nonce, also where the node forgets what waits.
            store.record(Charge(other.address, FEE, b"\1" * 32), None)
            call(lab, "anvil_dropTransaction", batch.attempts[-1].hash)
            monkeypatch.setattr(confirmations.Confirmations, "follow", _nothing)
            await settler.settle()
            first, second = store.open_batches()
            assert second.attempts[0].nonce == first.attempts[0].nonce + 1
        finally:
            call(lab, "evm_setAutomine", True)
        monkeypatch.undo()
        await settler.settle()
        await settler.settle()
        assert store.owed() == {}
    assert lab.account(user, broker.address)["balance"] == 2 * ONE - debt
    assert lab.account(other, broker.address)["balance"] == 2 * ONE - FEE


async def _nothing(self: confirmations.Confirmations, urgent: set[str]) -> None:
    """A round that does not look back."""


def test_a_running_broker_finds_a_lost_block_by_itself(lab: Lab, broker: Broker) -> None:
    user = customer(lab, broker)
    debt = buy(broker, user, 2)
    broker.stop()
    broker.set("settlement", interval_seconds=0.3)
    broker.start()
    eventually(lambda: broker.owes(user) == 0)
    reorganise(lab, 1)
    eventually(lambda: "took back block" in broker.log)
    eventually(lambda: lab.account(user, broker.address)["balance"] == 2 * ONE - debt)
    eventually(lambda: broker.owes(user) == 0)


async def test_an_urgent_debt_takes_no_small_ones_along_unless_all_are_asked_for(
    lab: Lab, broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else whoever keeps being at risk could have everybody's dust settled at our cost."""
    urgent, small = customer(lab, broker), customer(lab, broker)
    broker.stop()
    chaos = ChaosRpc(lab.rpc)
    monkeypatch.setattr(settle, "RETRY_SECONDS", 0.1)
    with served(chaos) as url:
        broker.set("chain", rpc=url)
        broker.set("settlement", minimum=100 * FEE)
        async with settling(broker) as (settler, store, debts), asyncio.timeout(60):
            for user in (urgent, small):
                store.record(Charge(user.address, FEE, b"\1" * 32), None)
                debts.charge(user.address, FEE)
            settler.kick(urgent.address)
            await settler.settle(only_urgent=True)
            assert debts.debtors() == {small.address: FEE}
            await settler.settle()
            assert debts.debtors() == {small.address: FEE}
            # What the operator asks for outlives a node that is away for a moment.
            chaos.lies = {"eth_blockNumber": "nonsense"}
            settler.settle_soon()
            running = asyncio.create_task(settler.run())
            while "settlement postponed" not in caplog.text:
                await asyncio.sleep(0.05)
            chaos.lies = {}
            while debts.debtors():
                await asyncio.sleep(0.05)
            running.cancel()
