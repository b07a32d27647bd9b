"""The contracts do what our second reading of the specification says, call after call."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from devnet import accounts, scenario, signatures
from devnet.abi import decoded, load
from devnet.anvil import Anvil
from devnet.deploy import Contracts, Deployment, connect, deploy
from devnet.scenario import Call, Step
from devnet.scenario.base import NAMES
from devnet.scenario.world import World
from tests.live.oracle import KINDS, ONE, Oracle, Pair, Refusal, Side

STAKE_SLOTS = {  # ERC-7201 base plus the member's offset (contracts.md 2)
    "inference": 0xDFD123095CDEDB1CECBC229B30F7CF8745FB3D3951645AC4A8FA4C0895F89500 + 11,
    "fine_tuning": 0x5DCAAA00D1D3FAE8CD5D66ACECA789AEC54970049AC35CB62A7ADEFCA50A6800 + 12,
}


COMMON = (
    *(f"status {number}" for number in range(6)),
    "MinimumDepositRequired",
    "InsufficientStake",
    "InvalidVerifierInput",
    "LedgerNotExists",
    "AccountNotExists",
    "refund 2",  # three requests of different ages at once
)
RARE = ("CannotAddStakeWhenUpdating", "PreviousDeliverableNotAcknowledged")


@pytest.fixture
def node() -> Iterator[Anvil]:
    """A chain of its own: the oracle must know everything that ever happened on it."""
    with Anvil(args=("--slots-in-an-epoch", "1")) as running:
        yield running


@pytest.mark.parametrize(
    ("variant", "seed", "steps", "must_happen"),
    [
        ("LedgerManager", 11, 1000, COMMON + RARE),
        ("LedgerManagerTestnet", 12, 400, COMMON),
    ],
)
def test_every_call_does_what_the_oracle_says(
    node: Anvil, variant: str, seed: int, steps: int, must_happen: tuple[str, ...]
) -> None:
    url = node.url
    deployment = deploy(url, ledger_artifact=variant)
    addresses = {
        "ledger": deployment.ledger,
        "inference": deployment.inference,
        "fine_tuning": deployment.fine_tuning,
    }
    mainnet = variant == "LedgerManager"
    oracle = Oracle(
        accounts.owner().address,
        addresses,
        deployment.chain_id,
        minimum=3 * ONE if mainnet else ONE // 10,
        first_transfer=ONE if mainnet else ONE // 100,
    )
    seen: Counter[str] = Counter()

    def check(step: Step) -> None:
        where = f"step {step.number}: {step.contract}.{step.function} from {step.sender}"
        try:
            expected = oracle.perform(*plain(step, deployment), step.timestamp)
        except Refusal as refusal:
            assert (step.error, step.error_args) == (refusal.error, refusal.arguments), where
            assert step.logs == (), where
            seen[refusal.error] += 1
            return
        assert step.error is None, f"{where}: {step.error}{step.error_args}"
        names = {address: name for name, address in addresses.items()}
        actual = [(names[log.address], log.name, log.args) for log in step.logs]
        assert actual == expected, where
        seen.update(f"status {a['status']}" for _, n, a in actual if n == "TEESettlementResult")
        seen.update(f"refund {a['index']}" for _, n, a in actual if n == "RefundRequested")
        if step.number % 100 == 0:
            compare(connect(url, deployment), oracle)

    scenario.run(seed, steps, deployment, url, on_step=check)
    world = World(random.Random(seed), connect(url, deployment))
    for number, call in enumerate(at_the_edges(world), steps):
        world.perform(number, call, check)
    compare(connect(url, deployment), oracle)
    # The run must have visited the interesting rules, or the comparison proves little.
    assert not [rule for rule in must_happen if not seen[rule]]


def at_the_edges(world: World) -> Iterator[Call]:
    """Where chance hardly comes to: the last task's nonce again, and a request that is collected a
    second before it is due and in the very second. By two whom the scenario leaves alone.
    """
    user, provider, signer = accounts.account(17), accounts.provider(9), accounts.signer(9)
    quota = dict.fromkeys(("cpuCount", "nodeMemory", "gpuCount", "nodeStorage"), 1)
    offer: tuple[Any, ...] = (
        "http://127.0.0.1:9",
        {**quota, "gpuType": "H100"},
        1,
        False,
        [],
        signer.address,
    )
    yield Call(provider, "fine_tuning", "addOrUpdateService", offer, 100 * ONE)
    known = (provider.address,)
    yield Call(accounts.owner(), "fine_tuning", "acknowledgeTEESignerByOwner", known)
    yield Call(user, "ledger", "depositFund", (), 9 * ONE)
    for name in NAMES.values():
        yield Call(user, "ledger", "transferFund", (provider.address, name, 2 * ONE))

    for task, nonces in (("first", (7,)), ("second", (7, 6, 8))):
        yield Call(provider, "fine_tuning", "addDeliverable", (user.address, task, b"root"))
        yield Call(user, "fine_tuning", "acknowledgeDeliverable", (provider.address, task))
        for nonce in nonces:
            signed = signatures.verifier_input(
                world.domains["fine_tuning"],
                signer,
                user=user.address,
                deliverable=task,
                root=b"root",
                secret=b"secret",
                fee=ONE // 10,
                nonce=nonce,
            )
            yield Call(provider, "fine_tuning", "settleFees", (signed,))

    chain = world.contracts.chain
    for kind, name in NAMES.items():
        collect = Call(user, "ledger", "retrieveFund", ([provider.address], name))
        yield collect
        due = chain.timestamp() + world.contract(kind).view("lockTime")
        for moment in (due - 1, due):
            chain.rpc.call("evm_setNextBlockTimestamp", hex(moment))
            yield collect
            assert chain.timestamp() == moment


def plain(step: Step, deployment: Deployment) -> tuple[str, str, str, int, Any]:
    """A call through the contract wallet as the ledger sees it."""
    if step.contract != "puppet":
        return step.contract, step.function, step.sender, step.value, step.args
    target, value, data = step.args
    assert target == deployment.ledger
    function = next(f for f in load("LedgerManager").functions.values() if f.selector == data[:4])
    args = list(decoded(function.inputs, data[4:]))
    return "ledger", function.name, "a contract", value, args


def compare(contracts: Contracts, oracle: Oracle) -> None:
    """Every view, list order, stake slot and native balance equals the oracle's state."""
    chain, state = contracts.chain, oracle.state
    ledgers, total = contracts.ledger.view("getAllLedgers", 0, 10**6)
    assert total == len(state.ledgers)
    assert [ledger["user"] for ledger in ledgers] == state.ledger_order
    for ledger in ledgers:
        known = state.ledgers[ledger["user"]]
        assert ledger["availableBalance"] == known["available"]
        assert ledger["totalBalance"] == known["total"]
        assert ledger["additionalInfo"] == known["info"]
        inside = sum(
            pair.balance
            for side in state.sides.values()
            for pair in side.pairs.values()
            if pair.user == ledger["user"]
        )
        assert known["total"] - known["available"] == inside
    available = sum(ledger["availableBalance"] for ledger in ledgers)
    assert chain.balance(contracts.ledger.address) == available
    for (user, kind), providers in state.paired.items():
        name = next(name for name, known in KINDS.items() if known == kind)
        assert contracts.ledger.view("getLedgerProviders", user, name) == providers
    for side in state.sides.values():
        compare_serving(contracts, side)
    assert contracts.fine_tuning.view("penaltyPercentage") == state.penalty


def compare_serving(contracts: Contracts, side: Side) -> None:
    serving = contracts.inference if side.kind == "inference" else contracts.fine_tuning
    listed: list[dict[str, Any]] = []
    while True:
        page, total = serving.view("getAllAccounts", len(listed), 0)
        listed += page
        if len(listed) >= total:
            break
    assert [(one["user"], one["provider"]) for one in listed] == side.order
    for key in side.order:
        compare_pair(serving.view("getAccount", *key), side.pairs[key], side.kind)
    services = (
        serving.view("getAllServices", 0, 50)[0]
        if side.kind == "inference"
        else serving.view("getAllServices")
    )
    assert services == [side.services[provider] for provider in side.service_order]
    for provider in [accounts.provider(n + 1).address for n in range(accounts.PROVIDERS)]:
        slot = keccak(encode(["address", "uint256"], [provider, STAKE_SLOTS[side.kind]]))
        stake = contracts.chain.storage(serving.address, int.from_bytes(slot, "big"))
        assert stake == side.stakes.get(provider, 0)
    assert serving.view("lockTime") == side.lock_time
    held = sum(pair.balance for pair in side.pairs.values()) + sum(side.stakes.values())
    assert contracts.chain.balance(serving.address) == held


def compare_pair(view: dict[str, Any], pair: Pair, kind: str) -> None:
    assert view["nonce"] == pair.nonce
    assert view["balance"] == pair.balance
    assert view["pendingRefund"] == pair.pending <= pair.balance
    assert view["acknowledged"] == pair.acknowledged
    assert view["additionalInfo"] == pair.info
    active = view["refunds"][: view["validRefundsLength"]]
    assert [(one["amount"], one["createdAt"]) for one in active] == pair.refunds
    assert [one["index"] for one in active] == list(range(len(active)))
    if kind == "inference":
        assert (view["generation"], view["revokedBitmap"]) == (pair.generation, pair.bitmap)
    else:
        assert view["deliverables"] == pair.deliverables
        assert view["deliverablesCount"] == len(pair.deliverables)
