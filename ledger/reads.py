"""Questions to the contracts, for what logs leave out (contracts.md 8.3), and their answers. Pure.

A question is a `Call`; the answer is stored as a RawCall with its block, so that replay reads it
like any other fact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chain.facts import Call
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


def all_ledgers(contract: str, offset: int, limit: int) -> Call:
    return Call(contract, abi.encode_call(LEDGER_MANAGER, "getAllLedgers", offset, limit))


def active_services(contract: str) -> Call:
    """Every registered serving contract; a fact only of the block before our first one, which it
    marks as an opening."""
    return Call(contract, abi.encode_call(LEDGER_MANAGER, "getAllActiveServices"))


def all_services(serving: str, kind: str, offset: int, limit: int) -> Call:
    """A page of listings in the contract's order (fine-tuning: all of them)."""
    page = (offset, limit) if kind == "inference" else ()
    return Call(serving, abi.encode_call(CONTRACT_OF[kind], "getAllServices", *page))


def all_accounts(serving: str, kind: str, offset: int, limit: int) -> Call:
    return Call(serving, abi.encode_call(CONTRACT_OF[kind], "getAllAccounts", offset, limit))


def whole_list(
    page: Callable[[int, int], Call], ask: Callable[[Call], Any], size: int
) -> tuple[list[Any], int]:
    """The entries of a list of the contracts, read by pages of an offset and a limit, and how many
    there are. `ask`: what a page answers, None where it reverts: long texts are more than the node
    has the gas to read at once, so half as many are asked for. Entries are missing where even one
    is too much.
    """
    found: list[Any] = []
    total = 1
    while len(found) < total and size:
        answered = ask(page(len(found), size))
        if answered is None:
            size //= 2
            continue
        # Of fine-tuning's services there is one page, without a number.
        several = len(answered) == 2 and isinstance(answered[1], int)
        entries, total = answered if several else (answered, len(answered))
        found += entries
        if not entries:
            break
    return found, total


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


def value(kind: str, call: Call, result: str) -> Any:
    """What an answered call says; None where it reverted, or is not a view we know."""
    found = answer(kind, call, result)
    return found[2] if found else None


def number(result: str | None) -> int | None:
    """The uint256 a view or node read answered; None where it reverted or answered nothing."""
    if result is None or result.startswith(REVERT) or result == "0x":
        return None
    return int(result, 16)
