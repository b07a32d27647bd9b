"""Plans that move money: deposit, transfer, retrieve, withdraw, close (contracts.md 3.1, 6.1-6.3).
Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from accounts import money
from accounts import preview_words as words
from accounts.facts import FINE_TUNING, MAX_REFUNDS, Facts, Purse, Refund, SubAccount
from accounts.preview_types import (
    Effect,
    Plan,
    Predicted,
    acknowledgement,
    money_effects,
    purse_of,
    serving_of,
    start,
)
from protocol import abi

#: What providers keep in reserve before they accept a request (provider-protocol.md 5.2).
PROVIDER_RESERVE = money.NEURON
#: With so few places left a person should know that there is an end of them (features.md 3).
_FEW_PLACES = 5


def deposit(params: dict[str, Any], facts: Facts) -> Plan:
    amount, minimum = params["amount"], facts.limits.min_account
    if amount == 0:
        raise Predicted("ZeroAmountNotAllowed")
    if facts.purse is None and amount < minimum:
        raise Predicted("MinimumDepositRequired", amount, minimum)
    after = start(facts)
    purse = Purse(after.purse.available + amount, after.purse.total + amount)
    after = replace(after, wallet=after.wallet - amount, purse=purse)
    warnings = _of_wallet(facts) + ([] if facts.purse else [words.OPENS])
    return Plan(money_effects(facts, after), tuple(warnings))


def _of_wallet(facts: Facts) -> list[str]:
    return [words.CONTRACT_WALLET] if facts.contract_wallet else []


def deposit_for(params: dict[str, Any], facts: Facts) -> Plan:
    amount, recipient, minimum = params["amount"], params["recipient"], facts.limits.min_account
    if recipient == abi.ZERO_ADDRESS:
        raise Predicted("ZeroAddressNotAllowed")
    if amount == 0:
        raise Predicted("ZeroAmountNotAllowed")
    if facts.recipient is None and amount < minimum:
        raise Predicted("MinimumDepositRequired", amount, minimum)
    before = facts.recipient.available if facts.recipient else 0
    effects = (
        Effect("wallet", facts.wallet, facts.wallet - amount),
        Effect("available", before, before + amount, who=recipient),
    )
    warnings = [words.OWN if recipient == facts.sender else words.GIVEN_AWAY]
    if recipient in (facts.ledger, *(serving.address for serving in facts.servings)):
        warnings.append(words.NOBODYS)
    if facts.recipient is None:
        warnings.append(words.OPENS_THERE)
    return Plan(effects, tuple(warnings))


def withdraw(params: dict[str, Any], facts: Facts) -> Plan:
    amount, minimum = params["amount"], facts.limits.min_account
    purse = purse_of(facts)
    if purse.available < amount:
        raise Predicted("InsufficientBalance", facts.sender)
    rest = purse.available - amount
    if 0 < rest < minimum:
        raise Predicted("MinimumDepositRequired", rest, minimum)
    after = start(facts)
    left = Purse(rest, purse.total - amount)
    after = replace(after, wallet=after.wallet + amount, purse=left)
    warnings = () if amount else (words.CHANGES_NOTHING,)
    return Plan(money_effects(facts, after), warnings if left.total else (words.CLOSES,))


def delete_ledger(params: dict[str, Any], facts: Facts) -> Plan:
    purse = purse_of(facts)
    if purse.total:
        raise Predicted("MustWithdrawAllFundsFirst", purse.total)
    return Plan((), (words.CLOSES,))


def transfer(params: dict[str, Any], facts: Facts) -> Plan:
    """contracts.md 6.1: a top-up first cancels pending refunds, newest first, and only the rest
    moves.
    """
    provider, amount = params["provider"], params["amount"]
    purse, serving = purse_of(facts), serving_of(facts)
    account = facts.accounts.get(provider)
    if account is None:
        if amount < facts.limits.min_transfer:
            raise Predicted("MinimumDepositRequired", amount, facts.limits.min_transfer)
        if facts.pairs >= facts.limits.max_pairs:
            raise Predicted("TooManyProvidersForService", facts.pairs, facts.limits.max_pairs)
    cancelled = min(amount, account.pending) if account else 0
    moved = amount - cancelled
    if purse.available < moved:
        raise Predicted("InsufficientAvailableBalance", purse.available, moved)
    if serving.contract != FINE_TUNING and provider in (facts.sender, abi.ZERO_ADDRESS):
        raise Predicted("CallFailed")
    before = account or SubAccount(0, 0)
    held = replace(_cancel(before, cancelled), acknowledged=True)
    held = replace(held, balance=before.balance + moved)
    after = replace(
        start(facts),
        purse=Purse(purse.available - moved, purse.total),
        refunding=facts.refunding - cancelled,
        accounts={provider: held},
    )
    effects = (*money_effects(facts, after), *_cancellations(provider, before, held))
    effects += acknowledgement(provider, before.acknowledged, True)
    warnings = _transfer_warnings(provider, facts, account, held, cancelled)
    if not effects:
        warnings.append(words.CHANGES_NOTHING)
    return Plan(effects, tuple(warnings))


def _transfer_warnings(
    provider: str, facts: Facts, account: SubAccount | None, held: SubAccount, cancelled: int
) -> list[str]:
    warnings = _of_wallet(facts)
    listing = facts.listings.get(provider)
    if cancelled:
        warnings.append(words.FROM_REFUND.format(amount=money.short(cancelled)))
    if listing is None:
        warnings.append(words.NO_SERVICE)
    elif not listing.owner_acknowledged:
        warnings.append(words.CANNOT_CHARGE)
    if account is None or not account.acknowledged:
        signer = listing.signer if listing else words.NONE_REGISTERED
        warnings.append(words.ACKNOWLEDGES.format(signer=signer))
    if account is None and facts.pairs + 1 >= facts.limits.max_pairs - _FEW_PLACES:
        taken = words.PLACES.format(count=facts.pairs + 1, limit=facts.limits.max_pairs)
        warnings.append(taken)
    if held.free <= PROVIDER_RESERVE and facts.serving and facts.serving.contract != FINE_TUNING:
        warnings.append(words.RESERVE)
    return warnings


def retrieve(params: dict[str, Any], facts: Facts) -> Plan:
    """contracts.md 6.3: each pair first pays out what is unlocked, then requests everything that is
    free.
    """
    providers: list[str] = params["providers"]
    serving = facts.serving
    if len(providers) > facts.limits.max_batch:
        raise Predicted("TooManyProviders", len(providers), facts.limits.max_batch)
    if serving is None:
        raise Predicted("ServiceNotFound", abi.ZERO_ADDRESS)
    purse = purse_of(facts)
    held = {p: account for p in providers if (account := facts.accounts.get(p)) is not None}
    paid = requested = 0
    for provider in providers:
        if provider not in held:
            continue
        held[provider], out = _process(held[provider], facts.timestamp, serving.lock_time)
        free = held[provider].free
        held[provider] = _request(held[provider], facts, provider)
        paid, requested = paid + out, requested + free
    pending = sum(a.pending for a in held.values())
    was = sum(a.pending for p in held if (a := facts.accounts[p]) is not None)
    after = replace(
        start(facts),
        purse=Purse(purse.available + paid, purse.total),
        refunding=facts.refunding + pending - was,
        accounts=held,
    )
    warnings = _retrieve_warnings(paid, requested, serving.lock_time)
    if any(not one.settled for account in held.values() for one in account.deliverables):
        warnings.append(words.UNSETTLED)
    return Plan(money_effects(facts, after), tuple(warnings))


def _retrieve_warnings(paid: int, requested: int, lock_time: int) -> list[str]:
    warnings: list[str] = []
    if paid:
        warnings.append(words.RETURNS_NOW.format(amount=money.short(paid)))
    if requested:
        warnings.append(_locks(money.short(requested), lock_time))
    if not paid and not requested:
        warnings.append(words.ONLY_COSTS)
    return warnings


def _locks(amount: str, seconds: int) -> str:
    if seconds >= 7200:
        return words.LOCKS_HOURS.format(amount=amount, count=seconds // 3600)
    return words.LOCKS_MINUTES.format(amount=amount, count=seconds // 60)


def _process(account: SubAccount, now: int, lock_time: int) -> tuple[SubAccount, int]:
    """Pay out every entry whose lock is over; (account after, neuron paid)."""
    kept = tuple(r for r in account.refunds if now < r.created_at + lock_time)
    pending = sum(r.amount for r in kept)
    paid = sum(r.amount for r in account.refunds) - pending
    return replace(account, balance=account.balance - paid, pending=pending, refunds=kept), paid


def _request(account: SubAccount, facts: Facts, provider: str) -> SubAccount:
    if account.free == 0:
        return account
    if len(account.refunds) >= MAX_REFUNDS:
        raise Predicted("TooManyRefunds", facts.sender, provider)
    entry = Refund(account.free, facts.timestamp)
    return replace(account, pending=account.balance, refunds=(*account.refunds, entry))


def _cancel(account: SubAccount, amount: int) -> SubAccount:
    """Take `amount` back out of the pending refunds, newest first."""
    refunds, left = list(account.refunds), amount
    while refunds and left:
        newest = refunds.pop()
        if newest.amount > left:
            refunds.append(replace(newest, amount=newest.amount - left))
            left = 0
        else:
            left -= newest.amount
    return replace(account, pending=account.pending - amount, refunds=tuple(refunds))


def _cancellations(provider: str, before: SubAccount, after: SubAccount) -> tuple[Effect, ...]:
    """One effect per refund entry that shrinks or disappears."""
    rest = [r.amount for r in after.refunds] + [0] * (len(before.refunds) - len(after.refunds))
    return tuple(
        Effect("refund_cancelled", entry.amount, left, who=provider)
        for entry, left in zip(before.refunds, rest, strict=True)
        if entry.amount != left
    )
