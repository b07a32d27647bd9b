"""Claims of contracts.md that need a moment, a contract wallet or an upgrade to show themselves.

What any call does to balances, logs and errors is in test_contract_rules.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eth_account.signers.local import LocalAccount

from devnet import accounts, owner
from devnet.abi import decode_error
from devnet.anvil import Anvil
from devnet.client import Contract, Receipt, Reverted, contract
from devnet.deploy import Contracts, Deployment, connect, deploy

ONE = 10**18
ZERO = "0x" + "00" * 20
LOCK = 86_400
ALICE, BOB = accounts.user(1), accounts.user(2)
PROVIDER = accounts.provider(1)
INFERENCE, TUNING = "inference-v1.0", "fine-tuning-v1.0"


@pytest.fixture(scope="module")
def chain() -> Iterator[tuple[Contracts, Deployment]]:
    with Anvil(args=()) as node:
        deployment = deploy(node.url)
        yield connect(node.url, deployment), deployment


@pytest.fixture
def stage(chain: tuple[Contracts, Deployment]) -> Iterator[Contracts]:
    """Alice has 20 0G in the ledger, of which 10 are with the provider; undone afterwards."""
    contracts, _ = chain
    with contracts.chain.rollback():
        contracts.ledger.send(ALICE, "depositFund", value=20 * ONE)
        transfer(contracts, ALICE, PROVIDER.address, 10 * ONE)
        yield contracts


def transfer(
    contracts: Contracts, by: LocalAccount, provider: str, amount: int, name: str = INFERENCE
) -> Receipt:
    return contracts.ledger.send(by, "transferFund", provider, name, amount)


def retrieve(contracts: Contracts, *providers: str, name: str = INFERENCE) -> Receipt:
    return contracts.ledger.send(ALICE, "retrieveFund", list(providers), name)


def refused(error: str, *arguments: object) -> pytest.RaisesExc[Reverted]:
    return pytest.RaisesExc(
        Reverted, check=lambda e: e.error == error and (not arguments or e.args_ == arguments)
    )


def at(contracts: Contracts, timestamp: int) -> None:
    """The next block gets exactly this time."""
    contracts.chain.rpc.call("evm_setNextBlockTimestamp", hex(timestamp))


def test_a_refund_matures_at_the_very_second_its_lock_ends(stage: Contracts) -> None:
    """6.2: `now >= createdAt + lockTime`, one second earlier nothing is paid."""
    requested = retrieve(stage, PROVIDER.address)
    assert [log.name for log in requested.logs] == ["RefundRequested"]
    created = requested.logs[0].args["timestamp"]
    data = stage.ledger.encode("retrieveFund", [PROVIDER.address], INFERENCE)

    at(stage, created + LOCK - 1)
    early = stage.chain.send(ALICE, stage.ledger.address, data, gas=500_000)
    # Nothing was free and nothing matured, yet RefundRequested comes again, with a newer time.
    assert [(log.name, log.args["index"]) for log in early.logs] == [("RefundRequested", 0)]
    assert early.logs[0].args["timestamp"] == created + LOCK - 1
    refunds = stage.inference.view("getAccount", ALICE.address, PROVIDER.address)["refunds"]
    assert refunds[0]["createdAt"] == created

    at(stage, created + LOCK)
    due = stage.chain.send(ALICE, stage.ledger.address, data, gas=500_000)
    assert [log.name for log in due.logs] == ["BalanceUpdated"]
    assert stage.ledger.view("getLedger", ALICE.address)["availableBalance"] == 20 * ONE


def test_a_new_lock_time_re_dates_refunds_that_are_already_pending(stage: Contracts) -> None:
    """[C23]; and the refund request of an earlier hour is then due at once."""
    retrieve(stage, PROVIDER.address)
    stage.chain.travel(3600)
    logs = owner.set_lock_time(stage, 3600).logs
    assert logs[0].args == {"oldLockTime": LOCK, "newLockTime": 3600}
    assert [log.name for log in retrieve(stage, PROVIDER.address).logs] == ["BalanceUpdated"]
    owner.set_lock_time(stage, 3600)  # unchanged values are logged in inference ...
    assert owner.set_lock_time(stage, LOCK, "fine-tuning").logs == ()  # ... not in fine-tuning


def test_requests_split_newest_first_and_a_sixth_reverts_the_batch(stage: Contracts) -> None:
    """[B19] [B21] [B33]: a transfer of no more than is pending moves nothing and cancels LIFO."""

    def active() -> list[int]:
        view = stage.inference.view("getAccount", ALICE.address, PROVIDER.address)
        entries = view["refunds"][: view["validRefundsLength"]]
        return [entry["amount"] // ONE for entry in entries]

    transfer(stage, ALICE, BOB.address, ONE)
    retrieve(stage, PROVIDER.address)
    for amount, expected in (
        (5, [5, 5]),
        (4, [5, 1, 4]),
        (3, [5, 1, 1, 3]),
        (2, [5, 1, 1, 1, 2]),
    ):
        available = stage.ledger.view("getLedger", ALICE.address)["availableBalance"]
        transfer(stage, ALICE, PROVIDER.address, amount * ONE)
        after = stage.ledger.view("getLedger", ALICE.address)["availableBalance"]
        assert after == available
        retrieve(stage, PROVIDER.address)
        assert active() == expected
    retrieve(stage, PROVIDER.address)  # nothing is free, so the limit does not matter

    transfer(stage, ALICE, PROVIDER.address, ONE)
    assert active() == [5, 1, 1, 1, 1]
    with refused("TooManyRefunds", ALICE.address, PROVIDER.address):
        retrieve(stage, BOB.address, PROVIDER.address)
    assert stage.inference.view("getPendingRefund", ALICE.address, BOB.address) == 0
    stage.chain.travel(LOCK)
    retrieve(stage, BOB.address, PROVIDER.address)
    assert active() == [1]
    assert stage.ledger.view("getLedger", ALICE.address)["availableBalance"] == 18 * ONE


def test_fifty_pairs_are_the_limit_and_empty_ones_count(stage: Contracts) -> None:
    """[B24]: a pair is only freed by deleting the ledger."""
    stage.ledger.send(ALICE, "depositFund", value=60 * ONE)
    providers = [f"0x{number:040x}" for number in range(1, 50)]
    for provider in providers:
        transfer(stage, ALICE, provider, ONE)
    with refused("TooManyProvidersForService", 50, 50):
        transfer(stage, ALICE, "0x" + "99" * 20, ONE)
    transfer(stage, ALICE, "0x" + "99" * 20, ONE, TUNING)  # counted per serving contract

    for start in range(0, 49, 20):
        retrieve(stage, *providers[start : start + 20])
    with refused("TooManyProviders", 21, 20):
        retrieve(stage, *providers[:21])
    listed = stage.ledger.view("getLedgerProviders", ALICE.address, INFERENCE)
    assert len(listed) == 50
    page, total = stage.inference.view("getAccountsByUser", ALICE.address, 40, 0)
    assert (len(page), total) == (10, 50)
    with refused("LimitTooLarge", 51, 50):
        stage.inference.view("getAllAccounts", 0, 51)
    with refused("LimitTooLarge", 51):
        stage.fine_tuning.view("getAllAccounts", 0, 51)
    assert stage.inference.view("getAllAccounts", 50, 1) == ([], 50)


def test_re_entrance_into_the_same_ledger_is_refused(stage: Contracts) -> None:
    """[B36]: a contract wallet that deposits again while it is being paid."""
    puppet = contract(stage.chain, "Puppet", stage.chain.deploy(BOB, "Puppet"))
    ledger = stage.ledger

    def through(function: str, *args: object, value: int = 0) -> Receipt:
        data = ledger.encode(function, *args)
        return puppet.send(BOB, "execute", ledger.address, value, data, value=value)

    through("depositFund", value=9 * ONE)
    puppet.send(BOB, "setCallback", ledger.address, ledger.encode("deleteLedger"))
    through("refund", 2 * ONE)
    assert decode_error(puppet.view("callbackResult")) == ("LedgerLocked", ())
    # Another user's ledger is not locked by it.
    puppet.send(BOB, "setCallback", ledger.address, ledger.encode("getLedger", ALICE.address))
    through("refund", 2 * ONE)
    assert len(puppet.view("callbackResult")) > 100

    puppet.send(BOB, "setRefuses", True)
    with refused("TransferFailed"):
        through("refund", 5 * ONE)
    assert ledger.view("getLedger", puppet.address)["totalBalance"] == 5 * ONE


def test_money_cannot_arrive_by_accident(stage: Contracts) -> None:
    """[B5] and the functions that only the other contracts may call."""
    for target in (stage.ledger, stage.inference, stage.fine_tuning):
        with refused("DirectDepositsDisabled"):
            stage.chain.send(ALICE, target.address, value=1)
    with refused("CallerNotRegisteredService", ALICE.address):
        stage.ledger.send(ALICE, "spendFund", ALICE.address, 1)
    with refused("CallerNotLedger", ALICE.address):
        stage.inference.send(ALICE, "addAccount", ALICE.address, PROVIDER.address, "")
    with refused("CallerNotLedger"):
        stage.fine_tuning.send(ALICE, "processRefund", ALICE.address, PROVIDER.address)


def test_pairs_that_only_fine_tuning_accepts(stage: Contracts) -> None:
    """[B12]: oneself and the zero address; the ledger hides the reason behind CallFailed."""
    for odd in (ALICE.address, ZERO):
        with refused("CallFailed"):
            transfer(stage, ALICE, odd, ONE)
        transfer(stage, ALICE, odd, ONE, TUNING)
        assert stage.fine_tuning.view("accountExists", ALICE.address, odd)
    with refused("ServiceNotFound", ZERO):
        transfer(stage, ALICE, PROVIDER.address, ONE, "inference")


def test_information_is_copied_when_a_pair_is_opened(stage: Contracts) -> None:
    """[B29]: later changes do not reach it; the limit is in bytes [B2]."""
    stage.ledger.send(ALICE, "updateAdditionalInfo", "é" * 2048)
    with refused("AdditionalInfoTooLong", 4097, 4096):
        stage.ledger.send(ALICE, "updateAdditionalInfo", "é" * 2048 + "x")
    transfer(stage, ALICE, BOB.address, ONE)
    stage.ledger.send(ALICE, "updateAdditionalInfo", "later")
    view = stage.inference.view("getAccount", ALICE.address, BOB.address)
    assert view["additionalInfo"] == "é" * 2048


def test_tokens_are_revoked_by_bit_and_by_generation(stage: Contracts) -> None:
    """4.4: ids 0-255, the bitmap is of the current generation, deletion keeps the generation."""
    pair = (ALICE.address, PROVIDER.address)
    stage.inference.send(ALICE, "revokeTokens", PROVIDER.address, [0, 0, 255])
    assert [stage.inference.view("isTokenRevoked", *pair, n) for n in (0, 1, 255)] == [
        True,
        False,
        True,
    ]
    stage.inference.send(ALICE, "revokeAllTokens", PROVIDER.address)
    assert not stage.inference.view("isTokenRevoked", *pair, 0)
    retrieve(stage, PROVIDER.address)
    stage.chain.travel(LOCK)
    retrieve(stage, PROVIDER.address)
    stage.ledger.send(ALICE, "refund", 20 * ONE)
    with refused("AccountNotExists", *pair):
        stage.inference.view("isTokenRevoked", *pair, 0)
    stage.ledger.send(ALICE, "depositFund", value=5 * ONE)
    transfer(stage, ALICE, PROVIDER.address, ONE)
    view = stage.inference.view("getAccount", *pair)
    assert (view["generation"], view["revokedBitmap"]) == (1, 0)


def test_some_views_depend_on_who_asks(stage: Contracts) -> None:
    """[C17] [C21]: without `from` a provider sees zeros."""
    users = [ALICE.address, BOB.address]
    anonymous = stage.inference.view("getBatchAccountsByUsers", users)
    assert [one["balance"] for one in anonymous] == [0, 0]
    own = stage.inference.view("getBatchAccountsByUsers", users, sender=PROVIDER.address)
    assert [one["balance"] for one in own] == [10 * ONE, 0]
    with refused("BatchSizeTooLarge", 501, 500):
        stage.inference.view("getBatchAccountsByUsers", users * 250 + [ALICE.address])
    with refused("BatchSizeTooLarge", 51, 50):
        stage.fine_tuning.view("getBatchAccountsByUsers", users * 25 + [ALICE.address])
    item = (ALICE.address, PROVIDER.address, 5, b"\0" * 32, 1, b"")
    preview = stage.inference.view("previewSettlementResults", [item])
    assert preview == ([ALICE.address], [2], [], [])


def test_the_registry_only_grows(stage: Contracts) -> None:
    """[B25] [B26] [B35]: names are final, recommendations move inside their type."""
    by, ledger = accounts.owner(), stage.ledger
    implementation = stage.chain.deploy(by, "InferenceServing")
    with refused("ServiceNameExists", INFERENCE):
        ledger.send(by, "registerService", "inference", "v1.0", implementation, "")
    with refused("ServiceAlreadyRegistered", stage.inference.address):
        ledger.send(by, "registerService", "inference", "v9", stage.inference.address, "")
    for stranger in (ALICE.address, stage.ledger.address):
        with refused("ServiceMustImplementIServing", stranger):
            ledger.send(by, "registerService", "inference", "v9", stranger, "")
    with refused("ServiceTypeRequired"):
        ledger.send(by, "registerService", "", "v9", implementation, "")
    with refused("VersionRequired"):
        ledger.send(by, "registerService", "inference", "", implementation, "")
    with refused("InvalidServiceAddress", ZERO):
        ledger.send(by, "registerService", "inference", "v9", ZERO, "")
    with refused("Error", "Ownable: caller is not the owner"):
        ledger.send(ALICE, "registerService", "inference", "v9", implementation, "")

    ledger.send(by, "registerService", "inference", "v1.1", implementation, "next")
    done = ledger.send(by, "setRecommendedService", "inference", "v1.1")
    assert done.logs[0].args == {
        "serviceType": "inference",
        "version": "v1.1",
        "serviceAddress": implementation,
    }
    assert ledger.view("getRecommendedService", "inference") == ("v1.1", implementation)
    assert ledger.view("getAllVersions", "inference") == (
        ["v1.0", "v1.1"],
        [stage.inference.address, implementation],
        [False, True],
    )
    assert ledger.view("isRecommendedVersion", "fine-tuning", "v1.0") is True
    with refused("ServiceNotFound", ZERO):
        ledger.send(by, "setRecommendedService", "inference", "v2")
    with refused("NoRecommendedService", "storage"):
        ledger.view("getRecommendedService", "storage")
    unknown = ledger.view("getServiceInfo", ALICE.address)
    assert unknown["fullName"] == "" and unknown["registeredAt"] == 0


def test_an_upgrade_changes_code_and_keeps_everything_else(
    stage: Contracts, chain: tuple[Contracts, Deployment]
) -> None:
    """[A5]: Upgraded comes from the beacon; state, addresses and locks stay [A1] [A4]."""
    _, deployment = chain
    before = stage.ledger.view("getLedger", ALICE.address)
    assert stage.ledger.view("MIN_ACCOUNT_BALANCE") == 3 * ONE
    block = stage.chain.block_number() + 1
    implementation = owner.upgrade(stage, deployment, "ledger", "LedgerManagerTestnet")
    logs = stage.chain.rpc.call("eth_getLogs", {"fromBlock": hex(block), "toBlock": "latest"})
    emitters = {log["address"] for log in logs if log["address"] != implementation.lower()}
    assert emitters == {deployment.beacons.ledger.lower()}
    assert stage.ledger.view("getLedger", ALICE.address) == before
    assert stage.ledger.view("MIN_ACCOUNT_BALANCE") == ONE // 10
    assert stage.ledger.view("MIN_TRANSFER_AMOUNT") == ONE // 100

    behind = contract(stage.chain, "LedgerManager", implementation)
    for locked in (stage.ledger, behind):
        with refused("AlreadyInitialized"):
            locked.send(ALICE, "initialize", ALICE.address)
    with refused("Error", "Ownable: caller is not the owner"):
        beacon = contract(stage.chain, "UpgradeableBeacon", deployment.beacons.ledger)
        beacon.send(ALICE, "upgradeTo", implementation)


def test_initialisation_checks(stage: Contracts) -> None:
    """[A6]: fine-tuning checks its ledger, inference does not."""
    by = accounts.owner()

    def proxy(name: str) -> Contract:
        implementation = stage.chain.deploy(by, name)
        beacon = stage.chain.deploy(by, "UpgradeableBeacon", implementation)
        return contract(stage.chain, name, stage.chain.deploy(by, "BeaconProxy", beacon, b""))

    inference, tuning = proxy("InferenceServing"), proxy("FineTuningServing")
    with refused("LockTimeOutOfRange", 3599, 3600, 604_800):
        inference.send(by, "initialize", 3599, ZERO, by.address)
    inference.send(by, "initialize", 3600, ZERO, by.address)
    for ledger in (ZERO, ALICE.address):
        with refused("InvalidLedgerAddress"):
            tuning.send(by, "initialize", 3600, ledger, by.address, 30)
    with refused("PenaltyPercentageTooHigh", 101):
        tuning.send(by, "initialize", 1, stage.ledger.address, by.address, 101)
    with refused("LockTimeOutOfRange", 604_801):
        tuning.send(by, "initialize", 604_801, stage.ledger.address, by.address, 30)
    tuning.send(by, "initialize", 604_800, stage.ledger.address, by.address, 100)
    for serving in (inference, tuning):
        assert serving.view("supportsInterface", bytes.fromhex("01ffc9a7"))
        assert serving.view("supportsInterface", bytes.fromhex("160841b1"))
        assert not serving.view("supportsInterface", bytes.fromhex("ffffffff"))
