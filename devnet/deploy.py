"""Deploys the contracts so that the proxies land where the official SDK expects them.

The order is contracts.md 13.2: every address follows from the deployer's nonce.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils.address import to_checksum_address

from devnet import accounts
from devnet.client import Chain, Contract, Reverted, contract

# The built-in addresses of the official SDK for chain 31337.
LEDGER = "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0"
INFERENCE = "0x0165878A594ca255338adfa4d48449f69242Eb8F"
FINE_TUNING = "0xA51c1fc2f0D1a1b8494Ed1FE312d7C3a78Ed91C0"

LOCK_TIME = 86_400  # seconds
PENALTY_PERCENTAGE = 30
# EIP-1967: keccak256("eip1967.proxy.beacon") - 1
BEACON_SLOT = 0xA3F0AD74E5423AEBFD80D3EF4346578335A9A72AEAEE59FF6CB3582B35133D50
BEACON_UPGRADED = "0x1cf3b03a6cf19fa2baba4df148e9dcabedea7f8a5c07840e207e5c089be95d3e"


class DeployError(Exception):
    """The chain cannot take a deployment; the message says why."""


@dataclass(frozen=True, slots=True)
class Trio:
    """One address per contract."""

    ledger: str
    inference: str
    fine_tuning: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contracts are. `block` is the ledger proxy's, before which nothing is logged."""

    ledger: str
    inference: str
    fine_tuning: str
    beacons: Trio
    chain_id: int
    block: int


@dataclass(frozen=True, slots=True)
class Contracts:
    """The three proxies of a deployment, ready to call."""

    chain: Chain
    ledger: Contract
    inference: Contract
    fine_tuning: Contract


def connect(url: str, deployment: Deployment) -> Contracts:
    """The deployed contracts on the node at `url`."""
    chain = Chain(url)
    return Contracts(
        chain,
        contract(chain, "LedgerManager", deployment.ledger),
        contract(chain, "InferenceServing", deployment.inference),
        contract(chain, "FineTuningServing", deployment.fine_tuning),
    )


def deploy(url: str, *, ledger_artifact: str = "LedgerManager") -> Deployment:
    """Deploys all contracts, or returns the deployment that is already there.

    `ledger_artifact` may be "LedgerManagerTestnet" (0.1 / 0.01 0G minimums). Raises DeployError on
    a chain where the owner has sent something else before: the addresses would differ.
    """
    chain = Chain(url)
    found = find(chain)
    if found is not None:
        return found
    by = accounts.owner()
    if int(chain.rpc.call("eth_getTransactionCount", by.address, "latest"), 16):
        raise DeployError(
            f"account {by.address} has already been used on {url} and the contracts are not there: "
            "start a fresh chain"
        )
    ledger_beacon, ledger = _proxied(chain, ledger_artifact)
    manager = contract(chain, "LedgerManager", ledger)
    manager.send(by, "initialize", by.address)

    inference_beacon, inference = _proxied(chain, "InferenceServing")
    serving = contract(chain, "InferenceServing", inference)
    serving.send(by, "initialize", LOCK_TIME, ledger, by.address)
    _register(manager, "inference", inference, "Inference with TEE-signed settlement")

    tuning_beacon, tuning = _proxied(chain, "FineTuningServing")
    serving = contract(chain, "FineTuningServing", tuning)
    serving.send(by, "initialize", LOCK_TIME, ledger, by.address, PENALTY_PERCENTAGE)
    _register(manager, "fine-tuning", tuning, "Fine-tuning with TEE-signed settlement")

    return Deployment(
        ledger=ledger,
        inference=inference,
        fine_tuning=tuning,
        beacons=Trio(ledger_beacon, inference_beacon, tuning_beacon),
        chain_id=chain.chain_id,
        block=_proxy_block(chain, ledger),
    )


def find(chain: Chain) -> Deployment | None:
    """The deployment at the SDK's addresses, or None. Raises DeployError for half of one."""
    proxies = (LEDGER, INFERENCE, FINE_TUNING)
    present = [bool(chain.code(address)) for address in proxies]
    if not any(present):
        return None
    if not all(present) or not _registered(chain):
        raise DeployError("an earlier deployment was interrupted: start a fresh chain")
    beacons = [to_checksum_address(f"{chain.storage(a, BEACON_SLOT):#042x}") for a in proxies]
    return Deployment(
        ledger=LEDGER,
        inference=INFERENCE,
        fine_tuning=FINE_TUNING,
        beacons=Trio(*beacons),
        chain_id=chain.chain_id,
        block=_proxy_block(chain, LEDGER),
    )


def _proxy_block(chain: Chain, proxy: str) -> int:
    """The block of a proxy's creation, from the one log it writes then."""
    query = {"fromBlock": "0x0", "toBlock": "latest", "address": proxy, "topics": [BEACON_UPGRADED]}
    return int(chain.rpc.call("eth_getLogs", query)[0]["blockNumber"], 16)


def _registered(chain: Chain) -> bool:
    manager = contract(chain, "LedgerManager", LEDGER)
    try:
        names = {service["fullName"] for service in manager.view("getAllActiveServices")}
        manager.view("getRecommendedService", "fine-tuning")
    except Reverted:
        return False
    return {"inference-v1.0", "fine-tuning-v1.0"} <= names


def _proxied(chain: Chain, name: str) -> tuple[str, str]:
    """A beacon and its proxy, made in this order behind the implementation; initialised later, as
    on the networks.
    """
    by = accounts.owner()
    implementation = chain.deploy(by, name)
    beacon = chain.deploy(by, "UpgradeableBeacon", implementation)
    return beacon, chain.deploy(by, "BeaconProxy", beacon, b"")


def _register(manager: Contract, kind: str, address: str, description: str) -> None:
    by = accounts.owner()
    manager.send(by, "registerService", kind, "v1.0", address, description)
    manager.send(by, "setRecommendedService", kind, "v1.0")
