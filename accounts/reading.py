"""Reading the facts of a preview from contract views, all at one block, in three round trips."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.conf import settings

from accounts import actions, clock, node
from accounts.errors import NodeUnavailable, RpcError
from accounts.facts import (
    FINE_TUNING,
    INFERENCE,
    Deliverable,
    Facts,
    Limits,
    Listing,
    Purse,
    Refund,
    Serving,
    SubAccount,
)
from ledger.models import SubAccount as Indexed
from protocol import abi

_CONTRACTS = {"inference": INFERENCE, "fine-tuning": FINE_TUNING}
#: The most a list view gives at once; also the most pairs a user may have in one contract
#: (contracts.md 6.7).
PAGE = 50
_Call = tuple[str, str, str, tuple[Any, ...]]


def facts(action: str, params: dict[str, Any], sender: str) -> Facts:
    """Everything a plan for `sender` needs, at the newest block. Raises NodeError."""
    newest, price, nonce, code = node.call_many(
        [
            ("eth_getBlockByNumber", ["latest", False]),
            ("eth_gasPrice", []),
            ("eth_getTransactionCount", [sender, "pending"]),
            ("eth_getCode", [sender, "latest"]),
        ]
    )
    if not isinstance(newest, dict):
        raise NodeUnavailable("The node has no newest block.")
    block, mined = (node.quantity(newest.get(name)) for name in ("number", "timestamp"))
    base = _main(sender, params.get("recipient"), block)
    serving = _serving(action, params, base["servings"])
    return Facts(
        block=block,
        timestamp=clock.judged_at(mined, int(time.time())),
        sender=sender,
        gas_price=node.quantity(price),
        next_nonce=node.quantity(nonce),
        ledger=settings.LEDGER_ADDRESS,
        contract_wallet=node.signs_with_code(code),
        mined=mined,
        **{**base, **_positions(action, params, sender, base["servings"], serving, block)},
    )


def views(calls: Sequence[_Call], block: int) -> list[Any]:
    """Results of view calls `(contract, address, function, args)` at a block; None where a view
    reverted.
    """
    return [_result(call, raw) for call, raw in zip(calls, _raw(calls, block), strict=True)]


def _result(call: _Call, raw: Any) -> Any:
    if not isinstance(raw, RpcError):
        return _decoded(call, raw)
    # Reverted without a word of the contract: its deliverables are more than the node has the gas
    # to read, which must not keep their owner from the money. Logs said the same.
    wordless = raw.data in ("", "0x") and "revert" in str(raw).lower()
    if wordless and call[2] == "getAccount":
        return _indexed(call[1], *call[3])
    return None if raw.data else _decoded(call, raw)


def _indexed(serving: str, user: str, provider: str) -> dict[str, Any] | None:
    """An account as the index holds it, under the names of the view."""
    held = Indexed.current.filter(serving=serving, user=user, provider=provider, live=True).first()
    if held is None:
        return None
    return {
        "balance": held.balance,
        "pendingRefund": held.pending_refund,
        "refunds": [
            {"amount": int(r["amount"]), "createdAt": r["created_at"]} for r in held.refunds
        ],
        "validRefundsLength": len(held.refunds),
        "acknowledged": held.acknowledged,
        "generation": held.generation,
        "revokedBitmap": held.revoked_bitmap,
        "deliverables": held.deliverables,
    }


def _raw(calls: Sequence[_Call], block: int) -> list[Any]:
    tag = hex(block)
    return node.call_many(
        [
            ("eth_call", [{"to": to, "data": abi.encode_call(contract, function, *args)}, tag])
            for contract, to, function, args in calls
        ]
    )


def _decoded(call: _Call, raw: Any) -> Any:
    if isinstance(raw, RpcError):
        raise raw
    try:
        return abi.decode_result(call[0], call[2], raw)
    except (abi.AbiError, AttributeError):
        raise NodeUnavailable(f"{call[2]} gave an answer that does not decode.") from None


def _main(sender: str, recipient: str | None, block: int) -> dict[str, Any]:
    """Wallet, main account, limits and the registered serving contracts."""
    manager, ledger = abi.LEDGER_MANAGER, settings.LEDGER_ADDRESS
    calls: list[_Call] = [
        (manager, ledger, "MIN_ACCOUNT_BALANCE", ()),
        (manager, ledger, "MIN_TRANSFER_AMOUNT", ()),
        (manager, ledger, "MAX_PROVIDERS_PER_BATCH", ()),
        (manager, ledger, "MAX_PROVIDERS_PER_USER_PER_SERVICE", ()),
        (manager, ledger, "getAllActiveServices", ()),
        (manager, ledger, "getLedger", (sender,)),
    ]
    if recipient:
        calls.append((manager, ledger, "getLedger", (recipient,)))
    answers = views(calls, block)
    limits, services, purse = answers[:4], answers[4], answers[5]
    given = answers[6] if recipient else None
    if any(limit is None for limit in limits) or services is None:
        raise NodeUnavailable("The ledger contract does not answer; is LEDGER_ADDRESS right?")
    return {
        "wallet": node.quantity(node.call("eth_getBalance", sender, hex(block))),
        "limits": Limits(*limits),
        "servings": tuple(_registered(entry) for entry in services),
        "purse": _purse(purse),
        "recipient": _purse(given),
    }


def _registered(entry: dict[str, Any]) -> Serving:
    return Serving(
        address=entry["serviceAddress"],
        contract=_CONTRACTS.get(entry["serviceType"], ""),
        name=entry["fullName"],
        recommended=entry["isRecommended"],
    )


def _purse(ledger: dict[str, Any] | None) -> Purse | None:
    return Purse(ledger["availableBalance"], ledger["totalBalance"]) if ledger else None


def _serving(action: str, params: dict[str, Any], servings: tuple[Serving, ...]) -> Serving | None:
    """The contract an action means: by exact name, else the recommended one of its kind."""
    name = params.get("service_name")
    kind = actions.default_contract(action)
    of_kind = [s for s in servings if s.contract == kind]
    if name is not None:
        # The two kinds take different listings, so a listing's name must be of its own kind.
        among = of_kind if action in actions.LISTING_ACTIONS else servings
        return next((s for s in among if s.name == name), None)
    return next((s for s in of_kind if s.recommended), of_kind[-1] if of_kind else None)


def _positions(
    action: str,
    params: dict[str, Any],
    sender: str,
    servings: tuple[Serving, ...],
    serving: Serving | None,
    block: int,
) -> dict[str, Any]:
    """The wallet's money at providers: all pending refunds, and in detail the providers that are
    named.
    """
    known = [s for s in servings if s.contract]
    calls: list[_Call] = [
        (s.contract, s.address, "getAccountsByUser", (sender, 0, PAGE)) for s in known
    ]
    named = actions.providers_of(params) if serving and serving.contract else []
    if action in (*actions.LISTING_ACTIONS, "remove_service"):
        named = [sender]
    detail: list[_Call] = []
    if serving and serving.contract:
        at = (serving.contract, serving.address)
        detail = [
            (*at, "lockTime", ()),
            (*at, "MIN_PROVIDER_STAKE", ()),
            (
                abi.LEDGER_MANAGER,
                settings.LEDGER_ADDRESS,
                "getLedgerProviders",
                (sender, serving.name),
            ),
            *((*at, "getAccount", (sender, p)) for p in named),
            *((*at, "getService", (p,)) for p in named),
        ]
    answers = views([*calls, *detail], block)
    lists, rest = answers[: len(calls)], answers[len(calls) :]
    found: dict[str, Any] = {
        "refunding": sum(a["pendingRefund"] for page in lists if page for a in page[0])
    }
    if not serving or not serving.contract:
        return {**found, "serving": serving}
    lock_time, stake, pairs, *entries = rest
    accounts, listings = entries[: len(named)], entries[len(named) :]
    return {
        **found,
        "serving": replace(serving, lock_time=lock_time, min_stake=stake or 0),
        "pairs": len(pairs or ()),
        "accounts": {p: _account(a) for p, a in zip(named, accounts, strict=True)},
        "listings": {p: _listing(s) for p, s in zip(named, listings, strict=True)},
        "stake": _stake(serving, sender, block) if named == [sender] else 0,
    }


def _account(raw: dict[str, Any] | None) -> SubAccount | None:
    if raw is None:
        return None
    active = raw["refunds"][: raw["validRefundsLength"]]
    return SubAccount(
        balance=raw["balance"],
        pending=raw["pendingRefund"],
        refunds=tuple(Refund(r["amount"], r["createdAt"]) for r in active),
        acknowledged=raw["acknowledged"],
        generation=raw.get("generation", 0),
        revoked_bitmap=raw.get("revokedBitmap", 0),
        deliverables=tuple(
            Deliverable(d["id"], d["acknowledged"], d["settled"])
            for d in raw.get("deliverables", ())
        ),
    )


def _listing(raw: dict[str, Any] | None) -> Listing | None:
    return Listing(raw["teeSignerAddress"], raw["teeSignerAcknowledged"], raw) if raw else None


def _stake(serving: Serving, provider: str, block: int) -> int:
    slot = abi.stake_slot(serving.contract, provider)
    return node.quantity(node.call("eth_getStorageAt", serving.address, slot, hex(block)))
