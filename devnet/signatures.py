"""What a TEE signer signs for the contracts, by eth_account's own EIP-712 encoder (7.1, 7.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount

_SETTLEMENT = {
    "TEESettlement": [
        {"name": "requestsHash", "type": "bytes32"},
        {"name": "nonce", "type": "uint256"},
        {"name": "provider", "type": "address"},
        {"name": "user", "type": "address"},
        {"name": "totalFee", "type": "uint256"},
    ]
}
_VERIFIER = {
    "VerifierMessage": [
        {"name": "id", "type": "string"},
        {"name": "encryptedSecret", "type": "bytes"},
        {"name": "modelRootHash", "type": "bytes"},
        {"name": "nonce", "type": "uint256"},
        {"name": "taskFee", "type": "uint256"},
        {"name": "user", "type": "address"},
    ]
}


@dataclass(frozen=True, slots=True)
class Domain:
    """Chain id and the proxy that verifies."""

    chain_id: int
    verifying_contract: str

    def sign(
        self,
        signer: LocalAccount,
        name: str,
        types: dict[str, list[dict[str, str]]],
        message: dict[str, Any],
    ) -> bytes:
        domain = {
            "name": name,
            "version": "1",
            "chainId": self.chain_id,
            "verifyingContract": self.verifying_contract,
        }
        signed = signer.sign_message(encode_typed_data(domain, types, message))
        return bytes(signed.signature)


def settlement(
    domain: Domain,
    signer: LocalAccount,
    *,
    user: str,
    provider: str,
    fee: int,
    nonce: int,
    requests_hash: bytes,
) -> dict[str, Any]:
    """A signed item for `InferenceServing.settleFeesWithTEE`; `fee` in neuron."""
    item = {
        "user": user,
        "provider": provider,
        "totalFee": fee,
        "requestsHash": requests_hash,
        "nonce": nonce,
    }
    return {**item, "signature": domain.sign(signer, "0G Inference Serving", _SETTLEMENT, item)}


def verifier_input(
    domain: Domain,
    signer: LocalAccount,
    *,
    user: str,
    deliverable: str,
    root: bytes,
    secret: bytes,
    fee: int,
    nonce: int,
) -> dict[str, Any]:
    """A signed input for `FineTuningServing.settleFees`; `fee` in neuron."""
    message = {
        "id": deliverable,
        "encryptedSecret": secret,
        "modelRootHash": root,
        "nonce": nonce,
        "taskFee": fee,
        "user": user,
    }
    return {
        **message,
        "signature": domain.sign(signer, "0G Fine-Tuning Serving", _VERIFIER, message),
    }
