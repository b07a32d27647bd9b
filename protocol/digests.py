"""Digests that 0G parties sign, and who signed them: EIP-191 personal messages and the two EIP-712
settlement types.

Everything is pure: bytes in, bytes or an address out. Only canonical signatures count (65 bytes
r||s||v, v 27 or 28, low s), because that is all the contracts accept (contracts.md 7) and all a
wallet produces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from coincurve import PrivateKey, PublicKey
from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SIGNATURE_BYTES = 65

EIP712_DOMAIN_TYPE = (
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
SETTLEMENT_TYPE = (
    "TEESettlement(bytes32 requestsHash,uint256 nonce,address provider,address user,"
    "uint256 totalFee)"
)
VERIFIER_TYPE = (
    "VerifierMessage(string id,bytes encryptedSecret,bytes modelRootHash,uint256 nonce,"
    "uint256 taskFee,address user)"
)
INFERENCE_DOMAIN_NAME = "0G Inference Serving"
FINE_TUNING_DOMAIN_NAME = "0G Fine-Tuning Serving"
DOMAIN_VERSION = "1"

_HEX = re.compile(r"0x[0-9a-fA-F]*\Z")


class BadSignature(ValueError):
    """The signature is malformed, not canonical, or recovers to no key; the text says which."""


@dataclass(frozen=True)
class Settlement:
    """One item of `settleFeesWithTEE`: what a provider asks one user to pay (contracts.md 7.1).

    `total_fee` is in neuron; `nonce` must exceed the pair's nonce on chain; `requests_hash` is 32
    bytes, opaque to the contract.
    """

    user: str
    provider: str
    total_fee: int
    requests_hash: bytes
    nonce: int


@dataclass(frozen=True)
class VerifierMessage:
    """What a fine-tuning provider's signer confirms about one delivered task (contracts.md 7.2).

    `task_fee` in neuron.
    """

    task_id: str
    encrypted_secret: bytes
    model_root_hash: bytes
    nonce: int
    task_fee: int
    user: str


def signature_bytes(signature: bytes | str) -> bytes:
    """The 65 bytes of a signature given as bytes or as 0x-hex text.

    Raises BadSignature with the reference server's words for the two ways it can be malformed.
    """
    if isinstance(signature, str):
        if not _HEX.match(signature) or len(signature) % 2:
            raise BadSignature("invalid signature format")
        signature = bytes.fromhex(signature[2:])
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature("invalid signature length")
    return signature


def recover(digest: bytes, signature: bytes | str) -> str:
    """The EIP-55 address whose key signed the 32-byte `digest`. Raises BadSignature."""
    return _address_of(recover_key(digest, signature))


def recover_key(digest: bytes, signature: bytes | str) -> bytes:
    """The uncompressed public key (65 bytes) that signed the 32-byte `digest`.

    Raises BadSignature for anything but a canonical signature: v must be 27 or 28 and s in the
    lower half.
    """
    raw = signature_bytes(signature)
    r, s, v = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), raw[64]
    if v not in (27, 28):
        raise BadSignature("invalid signature recovery id, v must be 27 or 28")
    if not 0 < r < SECP256K1_ORDER or not 0 < s <= SECP256K1_ORDER // 2:
        raise BadSignature("signature is not canonical")
    try:
        key = PublicKey.from_signature_and_message(raw[:64] + bytes([v - 27]), digest, hasher=None)
    except Exception as error:  # coincurve raises a bare Exception when no point fits
        raise BadSignature("failed to recover public key from signature") from error
    return bytes(key.format(compressed=False))


def sign(digest: bytes, private_key: bytes) -> bytes:
    """The canonical 65-byte signature of a 32-byte `digest` (deterministic, RFC 6979)."""
    raw: bytes = PrivateKey(private_key).sign_recoverable(digest, hasher=None)
    return raw[:64] + bytes([raw[64] + 27])


def address_of_key(private_key: bytes) -> str:
    """The EIP-55 address of a 32-byte private key. Raises ValueError for an impossible key."""
    return _address_of(PrivateKey(private_key).public_key.format(compressed=False))


def _address_of(public_key: bytes) -> str:
    return str(to_checksum_address(keccak(public_key[1:])[-20:]))


def personal_digest(message: bytes) -> bytes:
    """The EIP-191 personal-message digest: what a wallet's `personal_sign` signs."""
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)


def domain_separator(name: str, chain_id: int, verifying_contract: str) -> bytes:
    """The EIP-712 domain of a serving contract.

    `verifying_contract` is the proxy, never the implementation.
    """
    return keccak(
        abi_encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [
                keccak(text=EIP712_DOMAIN_TYPE),
                keccak(text=name),
                keccak(text=DOMAIN_VERSION),
                chain_id,
                verifying_contract,
            ],
        )
    )


def settlement_digest(item: Settlement, *, chain_id: int, contract: str) -> bytes:
    """What the TEE signer signs for one inference settlement item (contracts.md 7.1)."""
    struct = keccak(
        abi_encode(
            ["bytes32", "bytes32", "uint256", "address", "address", "uint256"],
            [
                keccak(text=SETTLEMENT_TYPE),
                item.requests_hash,
                item.nonce,
                item.provider,
                item.user,
                item.total_fee,
            ],
        )
    )
    return keccak(
        b"\x19\x01" + domain_separator(INFERENCE_DOMAIN_NAME, chain_id, contract) + struct
    )


def verifier_digest(message: VerifierMessage, *, chain_id: int, contract: str) -> bytes:
    """What the TEE signer signs for one fine-tuning task (contracts.md 7.2).

    The provider is not part of it.
    """
    struct = keccak(
        abi_encode(
            ["bytes32", "bytes32", "bytes32", "bytes32", "uint256", "uint256", "address"],
            [
                keccak(text=VERIFIER_TYPE),
                keccak(text=message.task_id),
                keccak(message.encrypted_secret),
                keccak(message.model_root_hash),
                message.nonce,
                message.task_fee,
                message.user,
            ],
        )
    )
    separator = domain_separator(FINE_TUNING_DOMAIN_NAME, chain_id, contract)
    return keccak(b"\x19\x01" + separator + struct)
