"""Sub-accounts from events: balances, refunds, settlements, tokens, deliverables. Pure.

The state machine of contracts.md 8.2 with the rules of 6.1-6.5. A log that states a total checks
our own sum; where they differ (older releases had other rules) the account is read by a view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ledger.context import LOSSY, Context
from ledger.state import Account, Deliverable, Refund, Serving
from protocol import events

STATUSES = (
    "success",
    "partial",
    "provider_mismatch",
    "no_tee_signer",
    "invalid_nonce",
    "invalid_signature",
)
RING = 20


def cancel_newest(refunds: tuple[Refund, ...], amount: int) -> tuple[Refund, ...]:
    """The refunds left when `amount` is cancelled from the newest backwards (contracts.md 6.2)."""
    left = list(refunds)
    while amount and left:
        newest = left.pop()
        if newest.amount > amount:
            left.append(Refund(newest.amount - amount, newest.created_at))
            break
        amount -= newest.amount
    return tuple(left)


def on_balance_updated(ctx: Context, serving: Serving, e: events.BalanceUpdated) -> None:
    """Settlement, opening, top-up or refund payout, told apart as contracts.md 8.2 does."""
    account = ctx.account(serving, e.user, e.provider)
    ctx.charged, spent = None, ctx.before(ctx.ledger_address)
    if (
        isinstance(spent, events.FundSpent)
        and spent.user == e.user
        and spent.service == serving.address
    ):
        _charge(ctx, account, e, spent.amount)
    elif not serving.audited and _settles(ctx, e):
        ctx.ledger(e.user).total -= account.balance - e.amount
        _charge(ctx, account, e, account.balance - e.amount)
    elif not account.live:
        _open(ctx, account, e)
    elif e.amount < account.balance:
        _pay_out(ctx, serving, account, e)
    else:
        _top_up(ctx, serving, account, e)
    if (
        account.balance != e.amount
        or account.pending_refund != e.pending_refund
        or sum(r.amount for r in account.refunds) != e.pending_refund
    ):
        # Never from the rules we know: older code, or history we have not seen. Ask.
        correction = e.amount - account.balance
        if correction:
            ctx.move_locked(account, correction, "opening")
        account.pending_refund = e.pending_refund
        ctx.want_account(serving, e.user, e.provider)


def _settles(ctx: Context, e: events.BalanceUpdated) -> bool:
    """Older code logs no FundSpent; the result of the settlement follows (contracts.md 9)."""
    following = ctx.following
    return (
        isinstance(following, events.TEESettlementResult | events.FeesSettled)
        and following.user == e.user
    )


def _charge(ctx: Context, account: Account, e: events.BalanceUpdated, fee: int) -> None:
    ctx.charged = fee
    _cancel(ctx, account, account.pending_refund - e.pending_refund)
    ctx.move_locked(account, -fee, "settlement")


def _cancel(ctx: Context, account: Account, amount: int) -> None:
    if amount > 0:
        account.refunds = cancel_newest(account.refunds, amount)
        ctx.move_locked(account, 0, "refund_cancelled", pending_change=-amount)


def _open(ctx: Context, account: Account, e: events.BalanceUpdated) -> None:
    account.live, account.acknowledged = True, True
    account.refunds, account.deliverables = (), ()
    account.balance = account.pending_refund = account.revoked_bitmap = 0
    account.additional_info = ctx.ledger(e.user).additional_info
    _move_in(ctx, account, e.amount)


def _top_up(ctx: Context, serving: Serving, account: Account, e: events.BalanceUpdated) -> None:
    account.acknowledged = True
    if not serving.audited:  # the older code cancels the oldest request first
        account.refunds = tuple(reversed(account.refunds))
    _cancel(ctx, account, account.pending_refund - e.pending_refund)
    if not serving.audited:
        account.refunds = tuple(reversed(account.refunds))
    _move_in(ctx, account, e.amount - account.balance)


def _move_in(ctx: Context, account: Account, amount: int) -> None:
    if amount:
        where = {"serving": account.serving, "provider": account.provider}
        ctx.move_available(ctx.ledger(account.user), -amount, "transfer", **where)
        ctx.move_locked(account, amount, "transfer")


def _pay_out(ctx: Context, serving: Serving, account: Account, e: events.BalanceUpdated) -> None:
    unlocked = ctx.header.timestamp - serving.lock_time_seconds
    account.refunds = tuple(r for r in account.refunds if r.created_at > unlocked)
    paid = account.balance - e.amount
    ctx.move_locked(account, -paid, "refund_paid", pending_change=-paid)
    where = {"serving": account.serving, "provider": account.provider}
    ctx.move_available(ctx.ledger(account.user), paid, "refund_paid", **where)


def on_refund_requested(ctx: Context, serving: Serving, e: events.RefundRequested) -> None:
    """A request covers the whole free amount; with nothing free the log announces nothing."""
    account = ctx.account(serving, e.user, e.provider)
    free = account.balance - account.pending_refund
    if free > 0:
        account.refunds = (*account.refunds, Refund(free, e.timestamp))
        ctx.move_locked(account, 0, "refund_requested", pending_change=free)
    if len(account.refunds) != e.index + 1:
        ctx.want_account(serving, e.user, e.provider)


def on_account_deleted(ctx: Context, serving: Serving, e: events.AccountDeleted) -> None:
    """The pair is gone; nonce and generation survive (contracts.md 8.2). No money moves."""
    account = ctx.account(serving, e.user, e.provider)
    if account.balance or account.pending_refund:
        ctx.move_locked(
            account, -account.balance, "account_deleted", pending_change=-account.pending_refund
        )
    else:
        ctx.move_locked(account, 0, "account_deleted")
    account.live, account.acknowledged = False, False
    account.refunds, account.deliverables = (), ()
    account.additional_info, account.revoked_bitmap = "", 0


# --- settlements ---------------------------------------------------------------------------------


def on_settlement_result(ctx: Context, serving: Serving, e: events.TEESettlementResult) -> None:
    """One batch item; provider, fee and nonce come from the neighbours and the calldata (8.3)."""
    item = ctx.items.pop(0) if ctx.items else None
    before, fee = ctx.before(serving.address), ctx.charged
    if fee is None or not (isinstance(before, events.BalanceUpdated) and before.user == e.user):
        before, fee = None, 0
    accepted = e.status in (0, 1)
    # The contract also reads calldata that we do not: whoever called it itself is who sent it.
    if ctx.tx is not None and (ctx.call is not None or ctx.tx.to == serving.address):
        provider, possible = ctx.tx.sender, [ctx.tx.sender]
    elif before is not None:
        provider, possible = before.provider, [before.provider]
    else:
        provider, possible = _caller(ctx, serving, e.user, accepted=accepted)
    status = STATUSES[e.status] if e.status < len(STATUSES) else f"status_{e.status}"
    ctx.settle(serving, provider, e.user, status, fee, e.unsettled_amount)
    if accepted and item is not None:
        ctx.account(serving, e.user, provider).nonce = item["nonce"]
    elif accepted:  # of one of them the nonce has changed
        for one in possible:
            ctx.want_account(serving, e.user, one)


def _caller(ctx: Context, serving: Serving, user: str, *, accepted: bool) -> tuple[str, list[str]]:
    """Who settled through a contract, when no charge names the provider, and everybody who may
    have: the called contract; or, where its item could not have been accepted, those whose could,
    who are listed and have a sub-account of the user (contracts.md 6.4). Of several none is named:
    an item says any amount, and most of them have nothing to do with it."""
    tx = ctx.tx
    called = (tx.to or tx.sender) if tx is not None else ""
    for row in reversed(ctx.state.settlements):
        if tx is not None and row.place.tx_hash == tx.hash:
            called = row.provider
            break
    if not accepted:
        return called, [called]
    held = ((p, ctx.state.accounts.get((serving.address, user, p))) for p in serving.providers)
    possible = [provider for provider, account in held if account is not None and account.live]
    if not possible or called in possible:
        return called, [called]
    return (possible[0] if len(possible) == 1 else called), possible


def on_fees_settled(ctx: Context, serving: Serving, e: events.FeesSettled) -> None:
    account = ctx.account(serving, e.user, e.provider)
    account.nonce = e.nonce
    _mark(ctx, serving, account, e.deliverable_id, settled=True)
    status = "acknowledged" if e.acknowledged else "penalty"
    ctx.settle(serving, e.provider, e.user, status, e.fee, 0)


# --- tokens --------------------------------------------------------------------------------------


def on_token_revoked(ctx: Context, serving: Serving, e: events.TokenRevoked) -> None:
    ctx.account(serving, e.user, e.provider).revoked_bitmap |= 1 << e.token_id


def on_tokens_revoked(ctx: Context, serving: Serving, e: events.TokensRevoked) -> None:
    account = ctx.account(serving, e.user, e.provider)
    for token in e.token_ids:
        account.revoked_bitmap |= 1 << token


def on_all_tokens_revoked(ctx: Context, serving: Serving, e: events.AllTokensRevoked) -> None:
    account = ctx.account(serving, e.user, e.provider)
    account.generation, account.revoked_bitmap = e.new_generation, 0


# --- deliverables (a ring of 20, oldest first) ---------------------------------------------------


def on_deliverable_added(ctx: Context, serving: Serving, e: events.DeliverableAdded) -> None:
    account = ctx.account(serving, e.user, e.provider)
    added = Deliverable(e.deliverable_id, e.model_root_hash, False, False, e.timestamp)
    account.deliverables = (*account.deliverables, added)
    if len(account.deliverables) > RING or LOSSY in e.deliverable_id:
        ctx.want_account(serving, e.user, e.provider)


def on_deliverable_evicted(ctx: Context, serving: Serving, e: events.DeliverableEvicted) -> None:
    account = ctx.account(serving, e.user, e.provider)
    if not account.deliverables or account.deliverables[0].id != e.evicted_deliverable_id:
        ctx.want_account(serving, e.user, e.provider)
    account.deliverables = account.deliverables[1:]


def on_deliverable_acknowledged(
    ctx: Context, serving: Serving, e: events.DeliverableAcknowledged
) -> None:
    account = ctx.account(serving, e.user, e.provider)
    _mark(ctx, serving, account, e.deliverable_id, acknowledged=True)


def on_deliverable_abandoned(
    ctx: Context, serving: Serving, e: events.DeliverableAbandoned
) -> None:
    account = ctx.account(serving, e.user, e.provider)
    _mark(ctx, serving, account, e.deliverable_id, acknowledged=True, settled=True)
    ctx.settle(serving, e.provider, e.user, "abandoned", 0, 0)


def _mark(
    ctx: Context, serving: Serving, account: Account, deliverable_id: str, **flags: bool
) -> None:
    """Set flags of one deliverable; ids that are not storable text may be ambiguous: ask."""
    matches = [d for d in account.deliverables if d.id == deliverable_id]
    if len(matches) != 1 or LOSSY in deliverable_id:
        ctx.want_account(serving, account.user, account.provider)
    account.deliverables = tuple(
        replace(d, **flags) if d.id == deliverable_id else d  # type: ignore[arg-type]
        for d in account.deliverables
    )


HANDLERS: dict[type[Any], Callable[[Context, Serving, Any], None]] = {
    events.BalanceUpdated: on_balance_updated,
    events.RefundRequested: on_refund_requested,
    events.AccountDeleted: on_account_deleted,
    events.TEESettlementResult: on_settlement_result,
    events.FeesSettled: on_fees_settled,
    events.TokenRevoked: on_token_revoked,
    events.TokensRevoked: on_tokens_revoked,
    events.AllTokensRevoked: on_all_tokens_revoked,
    events.DeliverableAdded: on_deliverable_added,
    events.DeliverableEvicted: on_deliverable_evicted,
    events.DeliverableAcknowledged: on_deliverable_acknowledged,
    events.DeliverableAbandoned: on_deliverable_abandoned,
}
