"""Questions to the contracts, for what logs leave out (contracts.md 8.3), and their answers. Pure.

A question is a `Call`; the answer is stored as a RawCall with its block, so that replay reads it
like any other fact.
"""

from __future__ import annotations

from typing import Any

from chain.facts import Call
from ledger.state import State
from protocol import abi
from protocol.abi import FINE_TUNING_SERVING, INFERENCE_SERVING, LEDGER_MANAGER
from protocol.events import Emitter

#: Ledgers per page of getAllLedgers (the contract sets no upper limit).
LEDGER_PAGE = 400
#: Listings and accounts per page: the serving contracts' limit (contracts.md 4.2).
PAGE = 50
REVERT = "revert:"
#: A revert that names no error: the contracts name theirs. A proxy says this where the gas of the
#: node did not suffice, which anybody can bring about who makes an account or a list long.
WORDLESS = REVERT + "0x"

CONTRACT_OF = {
    Emitter.LEDGER.value: LEDGER_MANAGER,
    Emitter.INFERENCE.value: INFERENCE_SERVING,
    Emitter.FINE_TUNING.value: FINE_TUNING_SERVING,
}


def ledger(contract: str, user: str) -> Call:
    return Call(contract, abi.encode_call(LEDGER_MANAGER, "getLedger", user))


def all_ledgers(contract: str, offset: int, limit: int = LEDGER_PAGE) -> Call:
    return Call(contract, abi.encode_call(LEDGER_MANAGER, "getAllLedgers", offset, limit))


def active_services(contract: str) -> Call:
    """Every registered serving contract; asked only about the block before our first one."""
    return Call(contract, abi.encode_call(LEDGER_MANAGER, "getAllActiveServices"))


def all_services(serving: str, kind: str, offset: int) -> Call:
    """A page of listings in the contract's order (fine-tuning: all of them)."""
    page = (offset, PAGE) if kind == "inference" else ()
    return Call(serving, abi.encode_call(CONTRACT_OF[kind], "getAllServices", *page))


def all_accounts(serving: str, kind: str, offset: int) -> Call:
    return Call(serving, abi.encode_call(CONTRACT_OF[kind], "getAllAccounts", offset, PAGE))


def service_info(contract: str, serving: str) -> Call:
    return Call(contract, abi.encode_call(LEDGER_MANAGER, "getServiceInfo", serving))


def account(serving: str, kind: str, user: str, provider: str) -> Call:
    return Call(serving, abi.encode_call(CONTRACT_OF[kind], "getAccount", user, provider))


def service(serving: str, kind: str, provider: str) -> Call:
    return Call(serving, abi.encode_call(CONTRACT_OF[kind], "getService", provider))


def lock_time(serving: str) -> Call:
    return Call(serving, abi.encode_call(INFERENCE_SERVING, "lockTime"))


def owner(serving: str) -> Call:
    return Call(serving, abi.encode_call(INFERENCE_SERVING, "owner"))


def penalty(serving: str) -> Call:
    return Call(serving, abi.encode_call(FINE_TUNING_SERVING, "penaltyPercentage"))


def balance(contract: str) -> Call:
    return Call(contract, "balance")


def stake(serving: str, kind: str, provider: str) -> Call:
    return Call(serving, f"storage:{abi.stake_slot(CONTRACT_OF[kind], provider)}")


def registration(contract: str, serving: str) -> list[Call]:
    """Everything asked once about a newly registered serving contract."""
    return [
        service_info(contract, serving),
        lock_time(serving),
        owner(serving),
        penalty(serving),
    ]


def penalties(state: State) -> list[Call]:
    """The penalty percentage of every fine-tuning contract."""
    kinds = sorted((s.address, s.kind) for s in state.servings.values())
    return [penalty(address) for address, kind in kinds if kind == "fine-tuning"]


def everything(state: State) -> list[Call]:
    """Every live account and service, and the penalties: what calldata nobody read may change."""
    kinds = {
        s.address: s.kind
        for s in state.servings.values()
        if s.kind in CONTRACT_OF and s.audited  # older code answers in other shapes
    }
    accounts = sorted((a.serving, a.user, a.provider) for a in state.accounts.values() if a.live)
    services = sorted((s.serving, s.provider) for s in state.services.values() if not s.removed)
    return [
        *(account(s, kinds[s], user, provider) for s, user, provider in accounts if s in kinds),
        *(service(s, kinds[s], provider) for s, provider in services if s in kinds),
        *penalties(state),
    ]


def answer(kind: str, call: Call, result: str) -> tuple[str, dict[str, Any], Any] | None:
    """`(function, arguments, value)` of an answered call to a contract of `kind`.

    `value` is None where the view reverted. None when it is not a view we know.
    """
    contract = CONTRACT_OF.get(kind)
    decoded = contract and abi.decode_call(contract, call.data)
    if not contract or not decoded:
        return None
    function, arguments = decoded
    if result.startswith(REVERT):
        return function, arguments, None
    return function, arguments, abi.decode_result(contract, function, result)


def number(result: str | None) -> int | None:
    """The uint256 a view or node read answered; None where it reverted or answered nothing."""
    if result is None or result.startswith(REVERT) or result == "0x":
        return None
    return int(result, 16)
