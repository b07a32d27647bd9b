"""Wallets that are contracts: deployed ones (EIP-1271) and ones that are not deployed yet
(ERC-6492).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

#: The CREATE2 factory that every EVM chain shares (github.com/Arachnid): calldata is salt ‖ code.
FACTORY = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
#: What an ERC-6492 signature ends with.
MAGIC = bytes.fromhex("6492" * 16)


def owned_by(owner: str) -> str:
    """Runtime code of a wallet contract whose `isValidSignature(hash, r‖s‖v)` recovers the signer
    and accepts its one owner (EIP-1271).
    """
    return (
        "0x"
        "600435600052"  # mem[0] = hash
        "60a43560001a602052"  # mem[32] = v
        "606435604052"  # mem[64] = r
        "608435606052"  # mem[96] = s
        "602060806080600060015afa50"  # mem[128] = ecrecover(mem[0:128])
        f"60805173{owner[2:].lower()}14"  # the owner?
        "631626ba7e0260e01b60005260206000f3"  # the magic value, or nothing
    )


@dataclass(frozen=True)
class Signed:
    signature: bytes


@dataclass(frozen=True)
class Safe:
    """An account that is a contract at `address`, and the key of its owner."""

    address: str
    owner: LocalAccount

    def sign_message(self, message: Any) -> Signed:
        return Signed(bytes(self.owner.sign_message(message).signature))


@dataclass(frozen=True)
class Undeployed:
    """A wallet whose address is known and whose code is not on the chain yet (ERC-6492)."""

    owner: LocalAccount
    salt: bytes = b"\x01" * 32
    factory: str = FACTORY

    @property
    def creation(self) -> bytes:
        """Constructor code: returns the runtime code behind it."""
        code = bytes.fromhex(owned_by(self.owner.address)[2:])
        return bytes.fromhex(f"60{len(code):02x}80600b6000396000f3") + code

    @property
    def address(self) -> str:
        """CREATE2: keccak(0xff ‖ factory ‖ salt ‖ keccak(creation code))[12:]."""
        parts = (b"\xff", bytes.fromhex(FACTORY[2:]), self.salt, keccak(self.creation))
        return str(to_checksum_address(keccak(b"".join(parts))[12:]))

    @property
    def deployment(self) -> bytes:
        """What the factory is called with."""
        return self.salt + self.creation

    def sign_message(self, message: Any) -> Signed:
        inner = bytes(self.owner.sign_message(message).signature)
        body = encode(["address", "bytes", "bytes"], [self.factory, self.deployment, inner])
        return Signed(body + MAGIC)
