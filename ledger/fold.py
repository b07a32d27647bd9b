"""The fold: a block's facts become changes of state and rows. Pure: data in, data out.

The unit of meaning is the transaction, across contracts and in log order, because one settled fee
is three logs of two contracts (contracts.md 8). Order inside a block: per transaction first what
only its calldata says, then its logs; at the end what views said about this block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import Any

from eth_utils.crypto import keccak

from chain.errors import BadLog
from chain.facts import Block, Call, Log, Transaction
from ledger import fold_accounts, fold_calls, fold_services, fold_views, reads
from ledger.context import Context, Previous
from ledger.state import Serving, State
from protocol import abi, events
from protocol.abi import AbiError
from protocol.events import Emitter

#: Logged by no code before the audit release (contracts.md 9).
SINCE_AUDIT = (
    events.Initialized,
    events.ContractInitialized,
    events.AccountDeleted,
    events.LockTimeUpdated,
    events.RefundsMigrated,
)

HANDLERS = {**fold_accounts.HANDLERS, **fold_services.HANDLERS}


_REGISTERED = tuple(s.topic for s in events.SHAPES if s.event is events.ServiceRegistered)


def registrations(logs: Iterable[Log], ledger_address: str) -> dict[str, str]:
    """The serving contracts that these logs of the LedgerManager register: address -> name."""
    found: dict[str, str] = {}
    for log in logs:
        if log.address == ledger_address and log.topics[:1] == _REGISTERED:
            event = _decode(Emitter.LEDGER, log)
            if isinstance(event, events.ServiceRegistered):
                found[event.service_address] = event.service_name
    return found


def fold_logs(state: State, ledger_address: str, block: Block) -> list[Call]:
    """Fold transactions and logs of one block; returns the views this block needs as well."""
    ctx = Context(state, ledger_address, block.header)
    for transaction, logs in _by_transaction(block):
        _fold_transaction(ctx, transaction, logs)
    return [call for call in ctx.wants if call not in block.calls]


def fold_views_of(state: State, ledger_address: str, block: Block) -> None:
    """Fold the view answers of one block, after `fold_logs` of the same block."""
    if block.calls:
        ctx = Context(state, ledger_address, block.header, sequence=1 << 20)
        fold_views.apply(ctx, block)


def register(
    state: State,
    ledger_address: str,
    address: str,
    start_block: int,
    calls: Mapping[Call, str],
    block_number: int,
    early: Sequence[Block],
    *,
    name: str = "",
    audited: bool = False,
) -> list[Call]:
    """Take in a serving contract: who it is (views), then the logs it made before (`early`).

    `name`: its full name as logged. `audited`: known to run code of the audit release; else its
    logs have to show that. Returns the views that its early logs need, to be asked at this block.
    """
    info = _registered_as(calls[reads.service_info(ledger_address, address)], name)
    holder = reads.number(calls[reads.owner(address)])
    state.servings.add(
        address,
        Serving(
            address,
            info["serviceType"][:100],
            info["version"],
            info["fullName"],
            block_number,
            start_block,
            block_number,
            recommended=info.get("isRecommended", False),
            owner=abi.checksum(f"0x{holder:040x}") if holder is not None else "",
            lock_time_seconds=reads.number(calls[reads.lock_time(address)]) or 0,
            penalty_percentage=reads.number(calls[reads.penalty(address)]),
            audited=audited,
        ),
    )
    return [call for block in early for call in fold_logs(state, ledger_address, block)]


def _registered_as(result: str, name: str) -> Mapping[str, Any]:
    """What the LedgerManager says, or what the name says where older code answers otherwise."""
    kind, _, version = name.rpartition("-")
    told = {"serviceType": kind, "version": version, "fullName": name, "isRecommended": False}
    if result.startswith(reads.REVERT):
        return told
    try:
        found = abi.decode_result(abi.LEDGER_MANAGER, "getServiceInfo", result)
    except AbiError:
        return told
    return found if isinstance(found, dict) and found.get("fullName") else told


def _by_transaction(block: Block) -> Iterable[tuple[Transaction, list[Log]]]:
    """Successful transactions in order, each with its logs in order."""
    logs = {tx_hash: list(group) for tx_hash, group in groupby(block.logs, key=lambda g: g.tx_hash)}
    for transaction in block.transactions:
        if transaction.status == 1:
            yield transaction, logs.pop(transaction.hash, [])
    if logs:
        raise BadLog(f"block {block.header.number}: logs of a transaction we do not hold")


def _fold_transaction(ctx: Context, tx: Transaction, logs: list[Log]) -> None:
    state = ctx.state
    ctx.tx, ctx.log_index, ctx.previous, ctx.call, ctx.items = tx, None, None, None, None
    serving = state.servings.get(tx.to) if tx.to else None
    if serving is not None and serving.kind in reads.CONTRACT_OF:
        contract = reads.CONTRACT_OF[serving.kind]
        ctx.call = abi.decode_call(contract, tx.input, only=fold_calls.TELLING)
        if ctx.call:
            fold_calls.to_serving(ctx, tx, serving, *ctx.call)
            ctx.items = _items(ctx.call, serving, logs)
    elif tx.to == ctx.ledger_address:
        ctx.call = abi.decode_call(abi.LEDGER_MANAGER, tx.input, only=fold_calls.OF_LEDGER)
        if ctx.call:
            fold_calls.to_ledger(ctx, tx, *ctx.call)
    for log, following in zip_longest(logs, logs[1:]):
        _fold_log(ctx, log, following, mediated=ctx.call is None)


def _items(
    call: tuple[str, dict[str, object]], serving: Serving, logs: list[Log]
) -> list[dict[str, object]] | None:
    """The items of a settlement batch, when there is one result log for each."""
    if call[0] != "settleFeesWithTEE":
        return None
    items = call[1]["settlements"]
    results = [g for g in logs if g.address == serving.address and g.topics[:1] == _RESULT]
    if not isinstance(items, list) or len(items) != len(results):
        return None
    return list(items)


_RESULT = tuple(s.topic for s in events.SHAPES if s.event is events.TEESettlementResult)


def _decode(kind: str, log: Log) -> object | None:
    try:
        return events.decode(kind, log.topics, log.data)
    except AbiError as error:
        raise BadLog(f"block {log.block_number}, log {log.log_index}: {error}") from error


def _fold_log(ctx: Context, log: Log, following: Log | None, *, mediated: bool) -> None:
    ctx.log_index = log.log_index
    if log.address == ctx.ledger_address:
        event = _decode(Emitter.LEDGER, log)
        _on_ledger_event(ctx, event)
    else:
        serving = ctx.state.servings.get(log.address)
        if serving is None:
            return  # not registered yet: folded when it is (`register`)
        event = _decode(serving.kind, log)
        if not serving.audited:
            serving = _older(ctx, serving, log, event, following)
        handler = HANDLERS.get(type(event))
        if handler is not None:
            handler(ctx, serving, event)
        if mediated and event is not None:
            _want_touched(ctx, serving, event)
    if mediated and (user := getattr(event, "user", None)):
        ctx.want_ledger(user)
    ctx.previous = Previous(log.address, log.log_index, event)


def _older(
    ctx: Context, serving: Serving, log: Log, event: object, following: Log | None
) -> Serving:
    """A contract whose older code logs less and shows other views (contracts.md 9)."""
    if isinstance(event, SINCE_AUDIT):
        return _audited(ctx, serving)
    near = following is not None and following.address == log.address
    near = near and following is not None and following.log_index == log.log_index + 1
    ctx.following = _decode(serving.kind, following) if near and following is not None else None
    return serving


def _audited(ctx: Context, serving: Serving) -> Serving:
    """From here on the rules we know hold: read once what the older code did not tell."""
    serving = ctx.serving(serving.address)
    serving.audited = True
    for account in sorted(ctx.state.accounts.keys()):
        held = ctx.state.accounts.get(account)
        if held is not None and held.live and held.serving == serving.address:
            ctx.want_account(serving, held.user, held.provider)
            ctx.want_ledger(held.user)
    for provider in serving.providers:
        ctx.want_service(serving, provider)
    return serving


def _want_touched(ctx: Context, serving: Serving, event: object) -> None:
    """A contract called ours: nobody saw its calldata, so read what it touched (8.3)."""
    user, provider = getattr(event, "user", None), getattr(event, "provider", None)
    if user and provider:
        ctx.want_account(serving, user, provider)
    elif provider:
        ctx.want_service(serving, provider)


def _on_ledger_event(ctx: Context, event: object) -> None:
    if isinstance(event, events.FundSpent):
        payer = ctx.state.servings.get(event.service)
        if payer is not None and not payer.audited:
            _audited(ctx, payer)
        ctx.ledger(event.user).total -= event.amount
    elif isinstance(event, events.LedgerInfoUpdated):
        ctx.ledger(event.user).additional_info = event.additional_info
    elif isinstance(event, events.RecommendedServiceUpdated):
        _recommend(ctx, event.service_type, event.service_address)
    elif isinstance(event, events.RecommendedServiceUpdatedHashed):
        kinds = {s.kind for s in ctx.state.servings.values()}
        names = {"0x" + keccak(text=kind).hex(): kind for kind in kinds}
        _recommend(ctx, names.get(event.service_type, ""), event.service_address)


def _recommend(ctx: Context, kind: str, address: str) -> None:
    """The flag moves inside its type (contracts.md 3.1)."""
    for known in [s for s in ctx.state.servings.values() if s.kind == kind]:
        if (known.address == address) != known.recommended:
            ctx.serving(known.address).recommended = known.address == address
