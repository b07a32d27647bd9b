"""What the owner of the contracts and beacons does on the devnet."""

from __future__ import annotations

from typing import Literal

from devnet import accounts
from devnet.client import Contract, Receipt, contract
from devnet.deploy import Contracts, Deployment

Kind = Literal["inference", "fine-tuning"]
Upgradeable = Literal["ledger", "inference", "fine_tuning"]
KINDS: tuple[Kind, ...] = ("inference", "fine-tuning")


def serving(contracts: Contracts, kind: Kind) -> Contract:
    return contracts.inference if kind == "inference" else contracts.fine_tuning


def acknowledge_signer(contracts: Contracts, provider: str, kind: Kind = "inference") -> Receipt:
    """Accepts the TEE signer on file. Raises Reverted (ServiceNotExist)."""
    return serving(contracts, kind).send(accounts.owner(), "acknowledgeTEESignerByOwner", provider)


def revoke_signer(contracts: Contracts, provider: str, kind: Kind = "inference") -> Receipt:
    """Withdraws the acknowledgement. Raises Reverted (ServiceNotExist)."""
    return serving(contracts, kind).send(
        accounts.owner(), "revokeTEESignerAcknowledgement", provider
    )


def set_lock_time(contracts: Contracts, seconds: int, kind: Kind = "inference") -> Receipt:
    """3600..604800 s; applies at once to pending refunds. Raises Reverted (LockTimeOutOfRange)."""
    return serving(contracts, kind).send(accounts.owner(), "updateLockTime", seconds)


def set_penalty(contracts: Contracts, percentage: int) -> Receipt:
    """Fine-tuning's fee for an unacknowledged result. Raises Reverted
    (PenaltyPercentageTooHigh)."""
    return contracts.fine_tuning.send(accounts.owner(), "updatePenaltyPercentage", percentage)


def upgrade(contracts: Contracts, deployment: Deployment, which: Upgradeable, artifact: str) -> str:
    """Deploys `artifact` and points the beacon at it; returns the new implementation. The proxy,
    its state and its log address stay."""
    by = accounts.owner()
    implementation = contracts.chain.deploy(by, artifact)
    beacon = contract(contracts.chain, "UpgradeableBeacon", getattr(deployment.beacons, which))
    beacon.send(by, "upgradeTo", implementation)
    return implementation
