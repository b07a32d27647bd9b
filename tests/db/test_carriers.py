"""Transactions of contract wallets: found inside their carrier, and nothing else taken for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from eth_utils.address import to_checksum_address

from accounts import carriers, follow, intents, services
from accounts.models import Intent, State, User
from chain.rpc import Failure
from devnet import accounts as cast
from devnet.client import Chain
from devnet.deploy import Contracts, connect
from tests.db.test_transactions import looked
from tests.live.test_index_nodes import Front

pytestmark = pytest.mark.django_db
NEURON = 10**18
OWNER, BOB = cast.user(1), cast.user(2)
SAFE = str(to_checksum_address("0x" + "5afe" * 10))
#: A wallet contract of 40 bytes: calldata is to ‖ value ‖ data, and it makes that call.
FORWARDER = (
    "0x60403603" "8060406000" "37" "60006000" "82" "6000" "602035" "600035" "5a" "f1"
    "6021" "57" "60006000fd" "5b00"
)  # fmt: skip
FIVE = {"amount": str(5 * NEURON)}


@pytest.fixture
def contracts(anvil: Any, devnet: Any, settings: Any) -> Iterator[Contracts]:
    settings.CHAIN_RPC_URLS = (anvil.url,)
    found = connect(anvil.url, devnet)
    with found.chain.rollback():
        found.chain.rpc.call("anvil_setCode", SAFE, FORWARDER)
        found.chain.rpc.call("anvil_setBalance", SAFE, hex(100 * NEURON))
        yield found


OWN_HASH = "5a" * 32
#: What it logs after the call: as a Safe since 1.4, and as one before.
LOGS = (
    f"7f{OWN_HASH}7f{carriers._SAFE_DONE[2:]}60206000a2",
    f"7f{OWN_HASH}6000527f{carriers._SAFE_DONE[2:]}60406000a1",
)


def opened() -> Intent:
    user = User.objects.for_address(SAFE)
    seen = services.check("deposit", FIVE, SAFE).digest
    return intents.confirm(intents.start(user, "deposit", FIVE, seen))


def carry(chain: Chain, intent: Intent, *, value: int | None = None, to: str = "") -> str:
    target = bytes.fromhex((to or intent.to)[2:]).rjust(32, b"\0")
    amount = (int(intent.value) if value is None else value).to_bytes(32, "big")
    data = target + amount + bytes.fromhex(intent.data[2:])
    return str(chain.send(OWNER, SAFE, data, gas=500_000).tx_hash)


def test_a_call_that_the_wallet_contract_carried_out_is_its_own(contracts: Contracts) -> None:
    intent = opened()
    intents.submitted(intent, carry(contracts.chain, intent))
    assert looked(intent).state == State.INCLUDED and intent.fee and intent.nonce is None
    assert contracts.ledger.view("getLedger", SAFE)["availableBalance"] == 5 * NEURON


@pytest.mark.parametrize("changes", [{"value": 4 * NEURON}, {"to": BOB.address}])
def test_a_carrier_of_another_call_is_another_transaction(
    contracts: Contracts, changes: dict[str, Any]
) -> None:
    intent = opened()
    intents.submitted(intent, carry(contracts.chain, intent, **changes))
    assert (looked(intent).state, intent.code) == (State.REPLACED, "other")


def test_without_code_at_the_address_nobody_carries_anything(contracts: Contracts) -> None:
    intent = opened()
    tx_hash = carry(contracts.chain, intent)
    contracts.chain.rpc.call("anvil_setCode", SAFE, "0x")
    intents.submitted(intent, tx_hash)
    assert (looked(intent).state, intent.code) == (State.REPLACED, "other")


def test_a_hash_that_only_the_wallet_knows_waits_for_its_owners(contracts: Contracts) -> None:
    intent = opened()
    intents.submitted(intent, "0x" + "5a" * 32)
    for age, state, words in (
        (timedelta(minutes=30), State.SUBMITTED, "its other owners may have to sign first"),
        (timedelta(hours=25), State.DROPPED, "did not carry it out within a day"),
    ):
        Intent.objects.filter(pk=intent.pk).update(submitted_at=timezone.now() - age)
        assert looked(intent).state == state
        assert words in Intent.objects.get().reason


@pytest.fixture
def narrow(anvil: Any) -> Iterator[Front]:
    """A node that answers for logs of 500 blocks at once, and says so."""
    made = Front(anvil)

    def tamper(method: str, params: list[Any], answer: Any) -> Any:
        if method != "eth_getLogs":
            return answer
        first, last = (int(params[0][end], 16) for end in ("fromBlock", "toBlock"))
        wide = last - first + 1 > 500
        return Failure(-32000, "exceed maximum block range: 500") if wide else answer

    made.tamper = tamper
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize("log", LOGS)
def test_what_the_owners_signed_later_is_found_by_the_wallets_own_hash(
    contracts: Contracts, narrow: Front, log: str, settings: Any
) -> None:
    contracts.chain.rpc.call("anvil_mine", hex(1_000))
    settings.CHAIN_RPC_URLS = (narrow.url,)
    contracts.chain.rpc.call("anvil_setCode", SAFE, FORWARDER.removesuffix("00") + log + "00")
    intent = opened()
    intents.submitted(intent, f"0x{OWN_HASH}")
    Intent.objects.update(submitted_at=timezone.now() - timedelta(hours=2))
    assert looked(intent).state == State.SUBMITTED
    assert "other owners" in Intent.objects.get().reason
    carrier = carry(contracts.chain, intent)
    # It is looked for twice a minute, and by the worker as by the page.
    follow.look_at_all()
    assert Intent.objects.get().tx_hash == f"0x{OWN_HASH}"
    Intent.objects.update(checked_at=timezone.now() - follow.SELDOM)
    follow.look_at_all()
    follow.look_at_all()
    found = Intent.objects.get()
    assert (found.state, found.tx_hash, found.reason) == (State.INCLUDED, carrier, "")


def test_a_plain_account_with_borrowed_code_waits_for_nobody(contracts: Contracts) -> None:
    """EIP-7702: it has a key and nonces of its own, and no other owners."""
    intent = opened()
    contracts.chain.rpc.call("anvil_setCode", SAFE, "0xef0100" + BOB.address[2:])
    intents.submitted(intent, "0x" + "5a" * 32)
    Intent.objects.filter(pk=intent.pk).update(submitted_at=timezone.now() - follow.LOST_AFTER * 2)
    assert looked(intent).state == State.DROPPED
    assert "no longer knows this transaction" in Intent.objects.get().reason


@pytest.mark.parametrize("before", [State.SUBMITTED, State.DROPPED, State.REPLACED])
def test_a_user_operation_of_borrowed_code_is_found_by_its_hash(
    contracts: Contracts, before: State
) -> None:
    """However late its bundler is, and whatever was said of it meanwhile."""
    entry = str(to_checksum_address(carriers._ENTRY_POINTS[1]))
    logs = f"6001602052600073{SAFE[2:]}7f{OWN_HASH}7f{carriers._USER_OPERATION[2:]}60806000a400"
    contracts.chain.rpc.call("anvil_setCode", entry, f"0x{logs}")
    intent = opened()
    contracts.chain.rpc.call("anvil_setCode", SAFE, "0xef0100" + BOB.address[2:])
    intents.submitted(intent, f"0x{OWN_HASH}")
    if before != State.SUBMITTED:
        Intent.objects.update(submitted_at=timezone.now() - follow.LOST_AFTER * 2)
    if before == State.REPLACED:
        contracts.chain.rpc.call("anvil_setNonce", SAFE, "0x1")
    assert looked(intent).state == before
    # As an execution of ERC-7579: its target is packed.
    inside = word(SAFE) + intent.to[2:] + word(f"{int(intent.value):x}") + intent.data[2:]
    bundle = contracts.chain.send(OWNER, entry, bytes.fromhex(inside), gas=200_000)
    Intent.objects.update(submitted_at=timezone.now() - follow.LOST_AFTER * 2)
    looked(intent)
    assert (intent.state, intent.code, intent.reason) == (State.SUBMITTED, "", "")
    assert (looked(intent).state, intent.tx_hash) == (State.INCLUDED, bundle.tx_hash)


def word(text: str) -> str:
    return text.removeprefix("0x").lower().rjust(64, "0")


def test_calls_that_are_executed_at_once_name_wallet_and_target_unpadded() -> None:
    call: Any = {"wallet": SAFE, "to": BOB.address, "data": "0xabcdef12", "value": 5}
    for wallet, target, carried in (
        (SAFE, word(BOB.address), True),
        (SAFE, BOB.address[2:], True),
        (SAFE, OWNER.address[2:], False),
        (BOB.address, word(BOB.address), False),
    ):
        inside = "6a761202" + target + word("5") + "abcdef12"
        packed = f"0x8d80ff0a{word('20')}{word('264')}00{wallet[2:]}{word('0')}{inside}"
        assert carriers.carries({"to": OWNER.address, "input": packed}, **call) is carried


def test_a_failure_inside_the_carrier_is_read_from_its_logs() -> None:
    safe = {"address": SAFE, "topics": [carriers._SAFE_FAILED], "data": "0x" + "00" * 64}
    assert carriers.failed_inside({"logs": [safe]}, SAFE)
    assert not carriers.failed_inside({"logs": [{**safe, "address": BOB.address}]}, SAFE)
    for success, failed in (("0", True), ("1", False)):
        operation = {
            "address": BOB.address,
            "topics": [carriers._USER_OPERATION, "0x" + "11" * 32, "0x" + word(SAFE)],
            "data": "0x" + word("7") + word(success) + "00" * 64,
        }
        bundle = {"logs": [operation], "to": BOB.address}
        assert carriers.failed_inside(bundle, SAFE) is failed
        # Another's call in the bundle logs the same of this wallet.
        entry = carriers._ENTRY_POINTS[0]
        assert not carriers.failed_inside({**bundle, "to": entry}, SAFE)
        bundle = {"logs": [{**operation, "address": entry}], "to": SAFE}
        assert carriers.failed_inside(bundle, SAFE) is failed
    assert not carriers.failed_inside({"logs": None}, SAFE)
    assert not carriers.failed_inside({}, SAFE)
