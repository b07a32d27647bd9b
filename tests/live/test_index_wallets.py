"""Contract wallets: nobody sees their calldata, so views and the balance detector must do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command

from accounts import reading
from chain.rpc import Rpc
from chain.sync import Follower
from devnet import accounts, signatures
from devnet.anvil import Anvil
from devnet.client import Chain, Contract, contract
from devnet.deploy import Contracts, Deployment, connect
from ledger import sample, services
from ledger.models import (
    Movement,
    Service,
    ServiceChange,
    ServiceTotal,
    Settlement,
    SubAccount,
)
from protocol.abi import CODEC
from tests.live.chaos import demands
from tests.live.test_index import (
    ask,
    assert_movements_add_up,
    contracts,
    differences,
    final_rows,
    mine,
    node,
)

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["contracts", "node"]

ONE = 10**18
DAY = 86_400
NAME = "inference-v1.0"
SERVICE = {
    "serviceType": "chatbot",
    "url": "http://127.0.0.1:1",
    "model": "m",
    "verifiability": "TeeML",
    "inputPrice": 1,
    "outputPrice": 2,
    "additionalInfo": "{}",
    "teeSignerAddress": accounts.signer(1).address,
}


class Wallet:
    """A contract that does what its keeper tells it."""

    def __init__(self, chain: Chain, keeper: int) -> None:
        self.keeper = accounts.account(keeper)
        self.puppet = contract(chain, "Puppet", chain.deploy(self.keeper, "Puppet"))
        self.address = self.puppet.address

    def does(self, to: Contract, function: str, *args: Any, value: int = 0) -> None:
        data = to.encode(function, *args)
        receipt = self.puppet.send(self.keeper, "execute", to.address, value, data, value=value)
        assert receipt.ok


def settle(world: Contracts, provider: Wallet, users: list[tuple[str, int, int]]) -> None:
    domain = signatures.Domain(world.chain.chain_id, world.inference.address)
    items = [
        signatures.settlement(
            domain,
            accounts.signer(1),
            user=user,
            provider=provider.address,
            fee=fee,
            nonce=nonce,
            requests_hash=bytes(32),
        )
        for user, fee, nonce in users
    ]
    provider.does(world.inference, "settleFeesWithTEE", items)


def test_contract_wallets_are_followed_exactly(node: Anvil, contracts: Deployment) -> None:
    world = connect(node.url, contracts)
    chain, ledger, inference = world.chain, world.ledger, world.inference
    user, provider = Wallet(chain, 1), Wallet(chain, 2)
    eoa = accounts.user(2)
    follower = services.make_follower()
    projector: Any = follower.projection

    def after(step: Callable[[], object]) -> None:
        step()
        catch_up(follower)
        assert differences() == []

    catch_up(follower)
    after(lambda: user.does(ledger, "addLedger", "of a contract", value=6 * ONE))
    after(lambda: user.does(ledger, "depositFundFor", eoa.address, value=5 * ONE))
    stake = 100 * ONE + 7
    provider.does(inference, "addOrUpdateService", SERVICE, value=stake)
    follower.step()
    assert projector.touched == (set(), {provider.address}, {provider.address})
    made: dict[str, Any] = {row.change: row.after for row in ServiceChange.objects.all()}
    assert set(made) == {"staked", "registered"}, "what logs leave out has not changed since"
    assert made["registered"]["tee_signer"] == SERVICE["teeSignerAddress"]
    after(lambda: inference.send(accounts.owner(), "acknowledgeTEESignerByOwner", provider.address))
    user.does(ledger, "transferFund", provider.address, NAME, 2 * ONE)
    follower.step()
    # Whoever holds money at a provider changes no listing.
    assert projector.touched == ({user.address}, {provider.address}, set())
    after(lambda: ledger.send(eoa, "transferFund", provider.address, NAME, ONE))
    after(
        lambda: settle(
            world,
            provider,
            [(user.address, ONE // 2, 5), (eoa.address, 0, 6), (eoa.address, 1, 6)],
        )
    )
    after(lambda: user.does(inference, "revokeToken", provider.address, 3))
    after(lambda: user.does(ledger, "retrieveFund", [provider.address], NAME))
    after(lambda: settle(world, provider, [(user.address, ONE // 4, 9)]))
    changed = {**SERVICE, "additionalInfo": "changed", "model": "n"}
    after(lambda: provider.does(inference, "addOrUpdateService", changed))
    chain.travel(DAY + 1)
    after(lambda: user.does(ledger, "retrieveFund", [provider.address], NAME))
    left = ledger.view("getLedger", user.address)["availableBalance"]
    after(lambda: user.does(ledger, "refund", left))
    after(lambda: provider.does(inference, "removeService"))

    rows = Settlement.objects.order_by("block", "sequence")
    assert [(r.status, r.user, r.settled) for r in rows] == [
        ("success", user.address, ONE // 2),
        ("success", eoa.address, 0),
        ("invalid_nonce", eoa.address, 0),
        ("success", user.address, ONE // 4),
    ]
    assert {r.provider for r in rows} == {provider.address}
    assert not SubAccount.current.get(user=user.address).live
    deposits = Movement.objects.filter(kind="deposit", source="view")
    assert {(m.user, m.amount) for m in deposits} == {
        (user.address, 6 * ONE),
        (eoa.address, 5 * ONE),
    }
    assert_movements_add_up()
    mine(node, 3)
    catch_up(follower)
    assert differences(final=True) == []
    before = final_rows()
    call_command("replay")
    assert final_rows() == before


def catch_up(follower: Follower) -> None:
    while follower.step().more:
        pass


def test_money_forced_into_the_ledger_contract_is_nobodys(
    node: Anvil, contracts: Deployment
) -> None:
    """A surplus of native money (selfdestruct, block rewards) neither stops nor fools us."""
    world = connect(node.url, contracts)
    world.ledger.send(accounts.user(1), "depositFund", value=5 * ONE)
    services.follow(once=True)
    held = world.chain.balance(contracts.ledger)
    world.chain.rpc.call("anvil_setBalance", contracts.ledger, hex(held + 123))
    mine(node, 1)
    services.follow(once=True)
    assert differences() == [], "nor is it drift while its block is not final"
    world.ledger.send(accounts.user(2), "depositFund", value=4 * ONE)
    mine(node, 4)
    services.follow(once=True)
    assert differences() == []
    assert differences(final=True) == []
    assert_movements_add_up()


HOSTILE = (
    b"\x00\xff\xfe",
    b"\x00\xff\xfd",
    "\u202eevil\u2066".encode(),
    b"'; DROP TABLE ledger_service; --",
    "\ud83d".encode("utf-16-le", "surrogatepass") + b"x" * 4000,
    b"\xed\xa0\x80\\u0000\\",
)


def send(node: Anvil, sender: str, to: str, data: bytes, value: int) -> None:
    """A transaction of any bytes, signed by nobody (anvil)."""
    ask(node, "anvil_impersonateAccount", sender)
    call = {"from": sender, "to": to, "data": "0x" + data.hex(), "value": hex(value)}
    tx_hash = ask(node, "eth_sendTransaction", {**call, "gas": hex(25_000_000)})
    while (receipt := ask(node, "eth_getTransactionReceipt", tx_hash)) is None:
        time.sleep(0.01)
    assert receipt["status"] == "0x1"


def test_strings_that_are_no_text_are_followed(node: Anvil, contracts: Deployment) -> None:
    """Providers may write any bytes; two that print alike still withdraw the acknowledgement."""
    world = connect(node.url, contracts)
    provider = accounts.provider(1)
    shape = world.inference.artifact.functions["addOrUpdateService"]
    follower = services.make_follower()
    for number, raw in enumerate(HOSTILE):
        params = (b"chatbot", raw, raw, raw, 1, 2, raw[:4096], accounts.signer(1).address)
        data = CODEC.encode(["(bytes,bytes,bytes,bytes,uint256,uint256,bytes,address)"], [params])
        value = 0 if number else 100 * ONE
        send(node, provider.address, contracts.inference, shape.selector + data, value)
        catch_up(follower)
        assert differences() == []
        world.inference.send(accounts.owner(), "acknowledgeTEESignerByOwner", provider.address)
        info = CODEC.encode(["bytes"], [raw[:4096]])
        method = "addLedger" if number == 0 else "updateAdditionalInfo"
        selector = world.ledger.artifact.functions[method].selector
        money = 0 if number else 9 * ONE
        send(node, accounts.user(1).address, contracts.ledger, selector + info, money)
        catch_up(follower)
        assert differences() == []
    mine(node, 4)
    catch_up(follower)
    assert differences(final=True) == []
    before = final_rows()
    call_command("replay")
    assert final_rows() == before


def test_numbers_of_256_bits_are_followed(node: Anvil, contracts: Deployment) -> None:
    """What a provider may state in a quota or a price, no matter how absurd."""
    world = connect(node.url, contracts)
    most = 2**256 - 1
    quota = {
        "cpuCount": most, "nodeMemory": 2**64, "gpuCount": 2**53 + 1, "nodeStorage": 0,
        "gpuType": "H100",
    }  # fmt: skip
    signer = accounts.signer(1).address
    provider = accounts.provider(1)
    for price in (most, most - 1):
        args = ("http://127.0.0.1:1", quota, price, False, ["m"], signer)
        value = 100 * ONE if price == most else 0
        world.fine_tuning.send(provider, "addOrUpdateService", *args, value=value)
        quota |= {"gpuCount": most}
    listing = {**SERVICE, "inputPrice": most, "outputPrice": most}
    world.inference.send(provider, "addOrUpdateService", listing, value=100 * ONE)
    # Refused, each of them; together more than 78 digits. The contract does not read the padding.
    item = {"provider": provider.address, "totalFee": most, "nonce": most, "signature": b"\1" * 65}
    items = [{**item, "user": accounts.user(1).address, "requestsHash": bytes(32)}] * 10
    data = world.inference.encode("settleFeesWithTEE", items)
    send(node, provider.address, contracts.inference, data[:-1] + b"\1", 0)
    mine(node, 4)
    services.follow(once=True)
    assert differences() == []
    assert differences(final=True) == []
    listed = Service.current.get(kind="fine-tuning")
    assert listed.quota is not None
    assert listed.quota["cpu_count"] == most
    assert listed.price_per_token == most - 1
    changed: Any = ServiceChange.objects.get(change="quota")
    assert changed.before["quota"]["gpu_count"] == 2**53 + 1
    assert changed.after["quota"]["gpu_count"] == most
    total = ServiceTotal.objects.get(provider=provider.address, serving=contracts.inference)
    assert (total.refused, total.refused_amount) == (10, 10 * most)
    before = final_rows()
    call_command("replay")
    assert final_rows() == before


def test_a_sub_account_that_costs_too_much_to_read_keeps_what_its_logs_said(
    node: Anvil, contracts: Deployment, settings: Any
) -> None:
    """A provider's deliverables, or the texts of many users, may be so long that no node has the
    gas to read them: the proxy reverts without a word, which does not say that nothing is there.
    """
    world = connect(node.url, contracts)
    user, provider = accounts.user(2), Wallet(world.chain, 2)
    world.ledger.send(user, "addLedger", "", value=5 * ONE)
    world.ledger.send(user, "transferFund", provider.address, "fine-tuning-v1.0", 2 * ONE)
    long = b"\x01" * 24_000
    provider.does(world.fine_tuning, "addDeliverable", user.address, "long", long)
    for number in range(12, 16):
        world.ledger.send(accounts.account(number), "addLedger", "x" * 4096, value=3 * ONE)
    ask(node, "evm_setBlockGasLimit", hex(1_000_000))
    mine(node, 1)
    provider.does(world.fine_tuning, "abandonDeliverable", user.address, "long")
    provider.does(world.ledger, "depositFund", value=4 * ONE)  # every ledger is asked
    services.follow(once=True)
    assert Movement.objects.filter(user=provider.address, kind="deposit", amount=4 * ONE).exists()
    account = SubAccount.current.get(user=user.address)
    assert (account.live, account.balance) == (True, 2 * ONE)
    what = {"providers": [provider.address], "service_name": "fine-tuning-v1.0"}
    at_provider = reading.facts("retrieve", what, user.address).accounts[provider.address]
    assert at_provider is not None and at_provider.free == 2 * ONE  # its owner can still retrieve
    assert differences() == []
    assert sample.compare(Rpc([node.url], 31337)).differences == []
    settings.START_BLOCK = world.chain.block_number() + 1
    ask(node, "evm_setBlockGasLimit", hex(30_000_000))
    mine(node, 1)
    services.follow(once=True)
    assert differences() == []
    assert_movements_add_up()

    demands.empty_index()  # and where the index begins after all that
    mine(node, 4)
    services.follow(once=True)
    account = SubAccount.current.get(user=user.address)
    assert (account.live, account.balance) == (True, 2 * ONE)
    assert_movements_add_up()
