"""The funded accounts of the public test mnemonic, with their roles on the devnet."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType

from eth_account import Account
from eth_account.signers.local import LocalAccount

MNEMONIC = "test test test test test test test test test test test junk"
WARNING = (
    "for the local chain only: this key is public and swept on every real chain, "
    "use a separate browser profile"
)

# Index in the derivation path m/44'/60'/0'/0/i. anvil funds 0..19 with 10,000 0G each; the TEE
# signers hold no money.
ROLES: MappingProxyType[str, int] = MappingProxyType(
    {
        "owner": 0,
        "user 1": 1,
        "user 2": 2,
        "user 3": 3,
        "user 4": 4,
        "provider 1": 5,
        "provider 2": 6,
        "provider 3": 7,
        "provider 4": 8,
        "provider 5": 9,
        "provider 6": 10,
        "provider 7": 11,
        "provider 8": 12,
        "site": 13,
        "provider 9": 14,
        "storage": 15,
        "provider 10": 16,
        "signer 1": 105,
        "signer 2": 106,
        "signer 3": 107,
        "signer 4": 108,
        "signer 5": 109,
        "signer 6": 110,
        "signer 7": 111,
        "signer 8": 112,
        "signer 9": 113,
        "signer 10": 114,
    }
)
_FIRST_MODEL_SIGNER = 200
#: That scenarios play with; the demo has more.
PROVIDERS = 5


@cache
def account(index: int) -> LocalAccount:
    """Account `index` of the test mnemonic."""
    Account.enable_unaudited_hdwallet_features()
    derived: LocalAccount = Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")
    return derived


def role(name: str) -> LocalAccount:
    """The account with a role of `ROLES`; KeyError for an unknown role."""
    return account(ROLES[name])


def owner() -> LocalAccount:
    """Deploys and owns the contracts and their beacons."""
    return role("owner")


def user(number: int) -> LocalAccount:
    """User 1..4."""
    return role(f"user {number}")


def provider(number: int) -> LocalAccount:
    """Provider 1..10."""
    return role(f"provider {number}")


def signer(number: int) -> LocalAccount:
    """The TEE signer of provider 1..10."""
    return role(f"signer {number}")


def model_signer(number: int) -> LocalAccount:
    """The signer of the TEE that the model of provider 1..10 has to itself, where it has one."""
    return account(_FIRST_MODEL_SIGNER + number)


def describe() -> str:
    """The list printed for people, warning first. One line per account: role, address, key."""
    lines = [WARNING]
    lines += [
        f"{name:<12} {account(i).address}  0x{bytes(account(i).key).hex()}"
        for name, i in ROLES.items()
    ]
    return "\n".join(lines)
