"""What nobody logs: deposits far from the head, shown where they happened, however it is read; and
what does not even change a sum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

from chain import sync
from chain.models import Head, RawCall
from devnet import accounts
from devnet.anvil import Anvil
from devnet.deploy import Deployment, connect
from ledger import project, services
from ledger.models import Movement, ServingContract
from protocol import abi
from tests.live.chaos import demands
from tests.live.test_index import (
    ask,
    assert_movements_add_up,
    contracts,
    differences,
    final_rows,
    mine,
)
from tests.live.test_index_wallets import NAME, ONE, SERVICE, Wallet

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["contracts"]


@pytest.fixture
def node(settings: Any) -> Iterator[Anvil]:
    """A chain whose blocks come only when they are asked for."""
    with Anvil(args=("--slots-in-an-epoch", "1")) as anvil:
        settings.CHAIN_RPC_URLS = (anvil.url,)
        yield anvil


class Silent:
    """A contract wallet with money in the ledger, and a provider to send it to."""

    def __init__(self, node: Anvil, deployment: Deployment) -> None:
        self.node, self.world = node, connect(node.url, deployment)
        self.provider = accounts.provider(1)
        self.world.inference.send(self.provider, "addOrUpdateService", SERVICE, value=100 * ONE)
        self.world.inference.send(
            accounts.owner(), "acknowledgeTEESignerByOwner", self.provider.address
        )
        self.wallet, self.other = Wallet(self.world.chain, 1), Wallet(self.world.chain, 2)

    def head(self) -> int:
        return self.world.chain.block_number()

    def does(self, function: str, *args: Any, value: int = 0) -> int:
        """The block in which the wallet did it."""
        ledger = self.world.ledger
        inner = ledger.encode(function, *args)
        receipt = self.wallet.puppet.send(
            self.wallet.keeper, "execute", ledger.address, value, inner, value=value
        )
        assert receipt.ok
        return receipt.block

    def deposit(self, amount: int) -> int:
        return self.does("depositFund", value=amount)

    def transfer(self, amount: int) -> int:
        return self.does("transferFund", self.provider.address, NAME, amount)

    def together(self, *calls: tuple[Wallet, bytes, int]) -> int:
        """The block in which wallets made these calls of the ledger, all in one."""
        ledger = self.world.ledger
        ask(self.node, "evm_setAutomine", False)
        sent = []
        for wallet, inner, value in calls:
            encoded = wallet.puppet.encode("execute", ledger.address, value, inner)
            call = {"from": wallet.keeper.address, "to": wallet.address, "value": hex(value)}
            call |= {"data": "0x" + encoded.hex(), "gas": hex(3_000_000)}
            sent.append(ask(self.node, "eth_sendTransaction", call))
        mine(self.node, 1)
        ask(self.node, "evm_setAutomine", True)
        receipts = [ask(self.node, "eth_getTransactionReceipt", tx) for tx in sent]
        assert {receipt["status"] for receipt in receipts} == {"0x1"}
        assert len({receipt["blockNumber"] for receipt in receipts}) == 1
        return int(receipts[0]["blockNumber"], 16)


def follow_to(blocks: list[int]) -> None:
    for block in blocks:
        services.follow(once=True, to_block=block)
    assert Head.objects.get().indexed_block == blocks[-1]


def test_a_deposit_through_a_contract_stands_before_what_it_paid_for(
    node: Anvil, contracts: Deployment
) -> None:
    world = Silent(node, contracts)
    first = world.deposit(10 * ONE)
    mine(node, 7)
    world.transfer(4 * ONE)
    mine(node, 3)
    second = world.deposit(2 * ONE)  # not needed by anything, and older than the next view
    mine(node, 3)
    world.transfer(ONE)
    deposit, encode = world.world.ledger.encode("depositFund"), world.world.ledger.encode
    both = world.together(  # a deposit and a transfer that needs it
        (world.wallet, deposit, 20 * ONE),
        (world.wallet, encode("transferFund", world.provider.address, NAME, 25 * ONE), 0),
    )
    mine(node, 5)
    last = world.head() - 4

    follow_to([last])  # all of it as one range
    user = world.wallet.address
    made = Movement.objects.filter(user=user, kind="deposit").order_by("block")
    assert [(m.block, m.amount, m.source) for m in made] == [
        (first, 10 * ONE, "view"),
        (second, 2 * ONE, "view"),
        (both, 20 * ONE, "view"),
    ]
    assert not Movement.objects.filter(balance_after__lt=0).exists()
    assert differences() == []
    assert_movements_add_up()
    at_once = final_rows()
    call_command("replay")
    assert final_rows() == at_once

    demands.empty_index()
    follow_to(list(range(1, last + 1)))  # and block by block
    one_by_one = final_rows()
    for name, rows in at_once.items():
        assert one_by_one[name] == rows, name


@pytest.mark.parametrize("way", ["block by block", "sparsely"])
def test_what_changes_no_sum_is_seen_a_little_later(
    way: str, node: Anvil, contracts: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Money that contracts move from one ledger to another, and the penalty that an owner sets who
    is a contract: in no log, no transaction to ours, and no balance."""
    monkeypatch.setattr(project, "LOOK_BLOCKS", 8)
    world = Silent(node, contracts)
    world.deposit(10 * ONE)
    world.other.does(world.world.ledger, "depositFund", value=9 * ONE)
    tuning = world.world.fine_tuning
    tuning.send(accounts.owner(), "transferOwnership", world.other.address)
    mine(node, 3)
    begun = world.head() - 3
    if way == "block by block":
        follow_to([begun])
    encode = world.world.ledger.encode
    world.together(
        (world.wallet, encode("refund", 2 * ONE), 0),
        (world.other, encode("depositFund"), 2 * ONE),
    )
    world.other.does(tuning, "updatePenaltyPercentage", 77)
    mine(node, 12)
    last = world.head() - 4
    if way == "sparsely":
        monkeypatch.setattr(sync, "DENSE", 0)
        follow_to([last])
    else:
        follow_to(list(range(begun + 1, last + 1)))
    assert differences() == []
    assert ServingContract.current.get(address=contracts.fine_tuning).penalty_percentage == 77
    assert_movements_add_up()
    asked = [abi.decode_call(abi.LEDGER_MANAGER, call.data) for call in RawCall.objects.all()]
    assert "getAllLedgers" not in {name for name, _ in filter(None, asked)}, "facts of everybody"
    before = final_rows()
    call_command("replay")
    assert final_rows() == before
