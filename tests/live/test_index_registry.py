"""Serving contracts that come later: found, back-filled from their creation, folded in order."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from chain.models import Coverage, RawLog
from devnet import accounts
from devnet.anvil import Anvil
from devnet.client import contract
from devnet.deploy import Deployment, connect
from devnet.owner import upgrade
from ledger import services
from ledger.models import Service, ServiceChange, ServingContract
from ledger.selectors import moved_since_acknowledged, services_of
from tests.live.test_index import contracts, differences, final_rows, mine, node
from tests.live.test_index_wallets import ONE, SERVICE, catch_up

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["contracts", "node"]


@pytest.mark.parametrize("live", [True, False])
def test_a_second_inference_contract(live: bool, node: Anvil, contracts: Deployment) -> None:
    """It lists a provider before it is registered; its first logs are older than our knowing it."""
    world = connect(node.url, contracts)
    chain, owner, provider = world.chain, accounts.owner(), accounts.provider(1)
    follower = services.make_follower()
    if live:
        catch_up(follower)
    implementation = chain.deploy(owner, "InferenceServing")
    beacon = chain.deploy(owner, "UpgradeableBeacon", implementation)
    address = chain.deploy(owner, "BeaconProxy", beacon, b"")
    second = contract(chain, "InferenceServing", address)
    second.send(owner, "initialize", 7200, contracts.ledger, owner.address)
    second.send(provider, "addOrUpdateService", SERVICE, value=100 * ONE)
    if live:
        mine(node, 5)
        catch_up(follower)
        assert not ServingContract.objects.filter(address=address).exists()
    second.send(provider, "addOrUpdateService", {**SERVICE, "inputPrice": 9})
    second.send(owner, "acknowledgeTEESignerByOwner", provider.address)
    moved = {**SERVICE, "inputPrice": 9, "url": "https://moved.example"}
    second.send(provider, "addOrUpdateService", moved)
    second.send(owner, "acknowledgeTEESignerByOwner", provider.address)  # which it is already
    world.ledger.send(owner, "registerService", "inference", "v2.0", address, "the second")
    if live:
        catch_up(follower)
        assert differences() == []
    world.ledger.send(accounts.user(1), "depositFund", value=9 * ONE)
    world.ledger.send(accounts.user(1), "transferFund", provider.address, "inference-v2.0", 2 * ONE)
    world.ledger.send(owner, "setRecommendedService", "inference", "v2.0")
    catch_up(follower)
    assert differences() == []
    mine(node, 5)
    catch_up(follower)
    assert differences(final=True) == []

    serving = ServingContract.current.get(address=address)
    assert (serving.service_name, serving.lock_time_seconds) == ("inference-v2.0", 7200)
    assert serving.recommended
    assert not ServingContract.current.get(address=contracts.inference).recommended
    changes = ServiceChange.objects.filter(serving=address).order_by("block", "sequence")
    told = ["staked", "registered", "price", "acknowledged", "url", "acknowledged"]
    assert [c.change for c in changes] == told
    # What every warning of a moved endpoint hangs on: the owner has seen the new one.
    assert moved_since_acknowledged(services_of(provider.address)) == {}
    assert Service.current.get(serving=address).created_block == changes[1].block
    assert changes[1].block < serving.registered_block
    covered = Coverage.objects.get(source=address)
    assert covered.from_block <= changes[0].block
    with_logs = RawLog.objects.filter(address=address).order_by("block_number").first()
    assert with_logs is not None
    assert with_logs.block_number < changes[0].block  # initialize
    # A new key takes the owner's acknowledgement with it, which was of the one before.
    second.send(provider, "addOrUpdateService", {**moved, "teeSignerAddress": owner.address})
    mine(node, 5)
    catch_up(follower)
    key, lost = changes.all().reverse()[:2][::-1]
    assert (key.change, lost.change) == ("signer", "unacknowledged")
    assert lost.after == key.before == {"tee_signer": SERVICE["teeSignerAddress"]}
    before = final_rows()
    call_command("replay")
    assert final_rows() == before


def test_owner_decisions(node: Anvil, contracts: Deployment) -> None:
    """Lock time, penalty, ownership, and a beacon upgrade under a living account."""
    world = connect(node.url, contracts)
    owner, heir = accounts.owner(), accounts.user(3)
    follower = services.make_follower()
    catch_up(follower)
    world.fine_tuning.send(owner, "updatePenaltyPercentage", 77)
    world.inference.send(owner, "updateLockTime", 3600)
    world.fine_tuning.send(owner, "updateLockTime", 604_800)
    world.inference.send(owner, "transferOwnership", heir.address)
    catch_up(follower)
    assert differences() == []
    serving = ServingContract.current.get(address=contracts.inference)
    assert (serving.owner, serving.lock_time_seconds) == (heir.address, 3600)
    tuning = ServingContract.current.get(address=contracts.fine_tuning)
    assert (tuning.penalty_percentage, tuning.lock_time_seconds) == (77, 604_800)
    world.ledger.send(accounts.user(1), "depositFund", value=9 * ONE)
    who = accounts.provider(1).address
    world.ledger.send(accounts.user(1), "transferFund", who, "inference-v1.0", 2 * ONE)
    upgrade(world, contracts, "inference", "InferenceServing")
    world.ledger.send(accounts.user(1), "retrieveFund", [who], "inference-v1.0")
    catch_up(follower)
    assert differences() == []
    mine(node, 4)
    catch_up(follower)
    assert differences(final=True) == []
