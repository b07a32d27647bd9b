"""What views said at the end of a block, folded over what logs and calldata said. Pure.

A view is right about the end of its block; a difference in money becomes a movement with source
`view`, so that movements always sum to balances.
"""

from __future__ import annotations

from typing import Any

from chain.facts import Block, Call
from ledger import fold_services, reads
from ledger.context import Context
from ledger.state import Deliverable, Ledger, Refund, Serving
from protocol import abi

Value = dict[str, Any]
#: What owners set, by the view that says it.
_SET = {
    "lockTime": "lock_time_seconds",
    "owner": "owner",
    "penaltyPercentage": "penalty_percentage",
}
_SERVICE_INFO = abi.functions(abi.LEDGER_MANAGER)["getServiceInfo"].selector


def apply(ctx: Context, block: Block) -> None:
    """Fold every view answer of this block, in a fixed order."""
    ctx.source, ctx.tx, ctx.log_index, ctx.call = "view", None, None, None
    ctx.opening = reads.active_services(ctx.ledger_address) in block.calls
    pages: list[Any] = []
    native = reads.number(block.calls.get(reads.balance(ctx.ledger_address)))
    for call in sorted(block.calls, key=lambda c: (c.to, c.data)):
        result = block.calls[call]
        if call.to == ctx.ledger_address:
            _from_ledger(ctx, call, result, pages)
        elif (serving := ctx.state.servings.get(call.to)) is not None:
            _from_serving(ctx, serving, call, result)
    if ctx.opening:
        _stakes(ctx, block)
    if pages:
        _whole_ledger(ctx, pages)
    if native is not None:
        ctx.state.surplus = native - ctx.state.available


def _from_ledger(ctx: Context, call: Call, result: str, pages: list[Any]) -> None:
    if call.data.startswith(_SERVICE_INFO):
        return  # taken in by `fold.register`, in whatever shape it came
    found = reads.answer("ledger", call, result)
    if found is None:
        return
    function, arguments, value = found
    if function == "getLedger":
        set_ledger(ctx, arguments["user"], value)
    elif function == "getAllLedgers" and value is not None:
        pages.append(value)


def _whole_ledger(ctx: Context, pages: list[Any]) -> None:
    """All ledgers at once: correct each, and close those that are gone."""
    listed = {entry["user"]: entry for page in pages for entry in page[0]}
    total = max(page[1] for page in pages)
    for user in sorted(listed):
        set_ledger(ctx, user, listed[user])
    if len(listed) == total:
        for user in sorted(ctx.state.ledgers.keys() - set(listed)):
            set_ledger(ctx, user, None)


def set_ledger(ctx: Context, user: str, value: Value | None) -> None:
    """Make a ledger what the view says; None means it does not exist."""
    known = ctx.state.ledgers.get(user) or Ledger(user, ctx.header.number, exists=False)
    available = value["availableBalance"] if value else 0
    total = value["totalBalance"] if value else 0
    info = value["additionalInfo"] if value else ""
    now = (value is not None, available, total, info)
    if now == (known.exists, known.available, known.total, known.additional_info):
        return
    ledger = ctx.ledger(user)
    difference = available - ledger.available
    if difference and ctx.opening:
        ctx.move_available(ledger, difference, "opening")
    elif difference > 0:
        ctx.deposit_in_time(ledger, difference, "deposit")
    elif difference:
        ctx.move_available(ledger, difference, "withdraw")
    ledger.exists, ledger.total, ledger.additional_info = value is not None, total, info


def _from_serving(ctx: Context, serving: Serving, call: Call, result: str) -> None:
    found = reads.answer(serving.kind, call, result)
    if found is None:
        return
    function, arguments, value = found
    if function == "getService":
        set_service(ctx, serving, arguments["provider"], value)
    elif function == "getAllServices" and ctx.opening and value is not None:
        _list_services(ctx, serving, value if serving.kind == "fine-tuning" else value[0])
    elif function == "getAllAccounts" and ctx.opening and value is not None:
        for entry in value[0]:  # the money, also of what is too long to be read whole
            set_account(ctx, serving, entry["user"], entry["provider"], entry)
    elif function == "getAccount" and result != reads.WORDLESS:  # else logs have the last word
        set_account(ctx, serving, arguments["user"], arguments["provider"], value)
    elif function in _SET and value not in (None, getattr(serving, _SET[function])):
        setattr(ctx.serving(serving.address), _SET[function], value)


def _list_services(ctx: Context, serving: Serving, listed: list[Value]) -> None:
    """Listings that were there before our first block, in the contract's order."""
    serving = ctx.serving(serving.address)
    for value in listed:
        service = ctx.service(serving, value["provider"])
        service.removed, service.position = False, len(serving.providers)
        serving.providers.append(service.provider)
        for name, field in service_fields(serving.kind, value).items():
            setattr(service, name, field)
        service.tee_signer_acknowledged = value["teeSignerAcknowledged"]


def _stakes(ctx: Context, block: Block) -> None:
    """Stakes before our first block, from the contracts' storage (contracts.md 4.2)."""
    for key in sorted(ctx.state.services.keys()):
        known = ctx.state.services.get(key)
        if known is not None:
            slot = reads.stake(known.serving, known.kind, known.provider)
            stake = reads.number(block.calls.get(slot))
            if stake:
                ctx.service(ctx.serving(known.serving), known.provider).stake = stake


def set_account(
    ctx: Context, serving: Serving, user: str, provider: str, value: Value | None
) -> None:
    """Make a sub-account what the view says, as far as it does (a list of fine-tuning's has neither
    refunds nor deliverables); None means the pair does not exist."""
    account = ctx.account(serving, user, provider)
    balance = value["balance"] if value else 0
    pending = value["pendingRefund"] if value else 0
    change = (balance - account.balance, pending - account.pending_refund)
    if change != (0, 0):
        ctx.move_locked(account, change[0], "opening", pending_change=change[1])
    account.live = value is not None
    if value is None:
        account.acknowledged, account.additional_info, account.revoked_bitmap = False, "", 0
        account.refunds, account.deliverables = (), ()
        return
    valid = value.get("refunds", ())[: value["validRefundsLength"]]
    account.refunds = tuple(Refund(r["amount"], r["createdAt"]) for r in valid)
    account.nonce = value["nonce"]
    account.acknowledged = value["acknowledged"]
    account.additional_info = value["additionalInfo"]
    account.generation = value.get("generation", 0)
    account.revoked_bitmap = value.get("revokedBitmap", 0)
    account.deliverables = deliverables(value)


def deliverables(value: Value) -> tuple[Deliverable, ...]:
    """The deliverables of an account view, oldest first (getAccount lists them so)."""
    return tuple(
        Deliverable(d["id"], d["modelRootHash"], d["acknowledged"], d["settled"], d["timestamp"])
        for d in value.get("deliverables", ())
    )


def service_fields(kind: str, value: Value) -> Value:
    """A getService answer under our field names (without the acknowledgement)."""
    if kind == "inference":
        return {
            "service_type": value["serviceType"],
            "url": value["url"],
            "input_price": value["inputPrice"],
            "output_price": value["outputPrice"],
            "updated_at_unix": value["updatedAt"],
            "model": value["model"],
            "verifiability": value["verifiability"],
            "additional_info": value["additionalInfo"],
            "tee_signer": value["teeSignerAddress"],
        }
    return {
        "url": value["url"],
        "quota": fold_services.quota(value["quota"]),
        "price_per_token": value["pricePerToken"],
        "occupied": value["occupied"],
        "model_list": tuple(value["models"]),
        "tee_signer": value["teeSignerAddress"],
    }


def set_service(ctx: Context, serving: Serving, provider: str, value: Value | None) -> None:
    """Complete a listing with what the view says; a removed one was told by its log."""
    known = ctx.state.services.get((serving.address, provider))
    if value is None or known is None or known.removed:
        return
    service = ctx.service(serving, provider)
    fold_services.complete(ctx, service, service_fields(serving.kind, value))
    fold_services.acknowledge(ctx, service, value["teeSignerAcknowledged"])
