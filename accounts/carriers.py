"""Transactions of wallets that are contracts: the reviewed call travels inside somebody else's
transaction (a Safe's `execTransaction`, an ERC-4337 bundle), so sender, target and data are other
ones. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eth_utils.crypto import keccak

#: A Safe carried a transaction out, and names it by the hash that it gave the page.
_SAFE_DONE = "0x" + keccak(text="ExecutionSuccess(bytes32,uint256)").hex()
#: A Safe's transaction succeeds although the call inside it failed, and says so in a log.
_SAFE_FAILED = "0x" + keccak(text="ExecutionFailure(bytes32,uint256)").hex()
#: An ERC-4337 bundle does, too: the second word of the log is the call's success.
_USER_OPERATION = (
    "0x"
    + keccak(text="UserOperationEvent(bytes32,address,address,uint256,bool,uint256,uint256)").hex()
)
#: The entry points of ERC-4337 (0.6 to 0.9): what others log in this form says nothing.
_ENTRY_POINTS = (
    "0x5ff137d4b0fdcd49dca30c7cf57e578a026d2789",
    "0x0000000071727de22e5e9d8baf0edac6f37da032",
    "0x4337084d9e255ff0702461cf8895ce9e3b5ff108",
    "0x433709009b8330fda32311df1c2afa402ed8d009",
)


def log_filters(wallet: str, own_hash: str) -> tuple[dict[str, Any], ...]:
    """What to ask `eth_getLogs`, besides the blocks, for the transaction in which `wallet` carried
    out what it gave `own_hash` for."""
    return (
        {"address": wallet, "topics": [[_SAFE_DONE, _SAFE_FAILED]]},
        {
            "address": list(_ENTRY_POINTS),
            "topics": [_USER_OPERATION, own_hash, "0x" + _word(wallet)],
        },
    )


def carrier_of(logs: Iterable[Any], own_hash: str) -> str:
    """The hash of the transaction whose log names `own_hash` first (Safes before 1.4 do in its
    data, newer ones in a topic); empty where none does."""
    for log in logs:
        topics, data = log.get("topics") or [], str(log.get("data", ""))
        named = str(topics[1]) if len(topics) > 1 else data[:66]
        if named.lower() == own_hash:
            return str(log.get("transactionHash", "")).lower()
    return ""


def carries(
    found: Mapping[str, Any], *, wallet: str, to: str, data: str, value: int | None
) -> bool:
    """Whether a transaction goes to (or names) `wallet` and holds exactly the reviewed call: its
    target, its calldata and its value (None: any). Wallet and target may be packed to twenty bytes
    (Safe's MultiSend, an execution of ERC-7579); the value is an ABI word in either form.
    """
    carrier = str(found.get("input", found.get("data", ""))).lower()
    named = str(found.get("to") or "").lower() == wallet.lower() or wallet[2:].lower() in carrier
    inside = to[2:].lower() in carrier and data.removeprefix("0x").lower() in carrier
    return named and inside and (value is None or f"{value:064x}" in carrier)


def failed_inside(receipt: Mapping[str, Any], wallet: str) -> bool:
    """Whether the carrier was included and the call inside it failed. A bundle has calls of others,
    who log what they like: heard are the wallet, and an entry point or what the bundle went to."""
    logs, called = receipt.get("logs"), str(receipt.get("to") or "").lower()
    for log in logs if isinstance(logs, list) else ():
        topics = log.get("topics") or [""]
        logged_by = str(log.get("address", "")).lower()
        if logged_by == wallet.lower() and topics[0] == _SAFE_FAILED:
            return True
        if logged_by not in (*_ENTRY_POINTS, called):
            continue
        sender = len(topics) > 2 and str(topics[2]).lower().endswith(wallet[2:].lower())
        success = str(log.get("data", ""))[66:130]
        if topics[0] == _USER_OPERATION and sender and success == "0" * 64:
            return True
    return False


def _word(address: str) -> str:
    """An address as an ABI word, hex without 0x."""
    return "0" * 24 + address[2:].lower()
