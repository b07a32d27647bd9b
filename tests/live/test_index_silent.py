"""Deposits that nobody logs, far from the head: shown where they happened, however it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

from chain.models import Head
from devnet import accounts
from devnet.anvil import Anvil
from devnet.deploy import Deployment, connect
from ledger import services
from ledger.models import Movement
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
        self.wallet = Wallet(self.world.chain, 1)

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

    def together(self, deposit: int, transfer: int) -> int:
        """A deposit and a transfer that needs it, in one block."""
        ledger, puppet = self.world.ledger, self.wallet.puppet
        data = ledger.encode("transferFund", self.provider.address, NAME, transfer)
        ask(self.node, "evm_setAutomine", False)
        sent = []
        for inner, value in ((ledger.encode("depositFund"), deposit), (data, 0)):
            encoded = puppet.encode("execute", ledger.address, value, inner)
            call = {"from": self.wallet.keeper.address, "to": puppet.address, "value": hex(value)}
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
    both = world.together(20 * ONE, 25 * ONE)
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
