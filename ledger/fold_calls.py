"""What only calldata says: direct transactions to our contracts that log little or nothing. Pure.

Only transactions with status 1 whose `to` is one of our contracts come here; what reaches the
contracts through other contracts is found by views and by the balance detector (contracts.md 8.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chain.facts import Transaction
from ledger.context import Context
from ledger.state import Ledger, Serving

Arguments = dict[str, Any]
#: The functions of the serving contracts whose arguments say what no log does.
TELLING = frozenset(
    ("acknowledgeTEESigner", "updatePenaltyPercentage", "addOrUpdateService", "settleFeesWithTEE")
)


def to_ledger(ctx: Context, tx: Transaction, function: str, arguments: Arguments) -> None:
    """A direct call of the LedgerManager (contracts.md 3.1)."""
    if (handler := OF_LEDGER.get(function)) is not None:
        ctx.source = "transaction"
        handler(ctx, tx, arguments)
        ctx.source = "event"


def to_serving(
    ctx: Context, tx: Transaction, serving: Serving, function: str, arguments: Arguments
) -> None:
    """A direct call of a serving contract: the two that log nothing."""
    if function == "acknowledgeTEESigner":
        account = ctx.account(serving, tx.sender, arguments["provider"])
        account.acknowledged = arguments["acknowledged"]
    elif function == "updatePenaltyPercentage":
        ctx.serving(serving.address).penalty_percentage = arguments["_penaltyPercentage"]


def credit(ctx: Context, user: str, amount: int, kind: str, info: str | None = None) -> None:
    """A deposit; the first one makes the ledger."""
    ledger = ctx.ledger(user)
    if not ledger.exists:
        ledger.exists, ledger.additional_info = True, ""
    if info is not None:
        ledger.additional_info = info
    ledger.total += amount
    ctx.move_available(ledger, amount, kind)


def delete(ledger: Ledger) -> None:
    """The ledger is erased; the pairs' AccountDeleted logs follow (contracts.md 3.4)."""
    ledger.exists, ledger.additional_info = False, ""


def _add_ledger(ctx: Context, tx: Transaction, arguments: Arguments) -> None:
    credit(ctx, tx.sender, tx.value, "deposit", arguments["additionalInfo"])


def _deposit(ctx: Context, tx: Transaction, arguments: Arguments) -> None:
    credit(ctx, tx.sender, tx.value, "deposit")


def _deposit_for(ctx: Context, tx: Transaction, arguments: Arguments) -> None:
    recipient = arguments["recipient"]
    kind = "deposit" if recipient == tx.sender else "deposit_received"
    credit(ctx, recipient, tx.value, kind)


def _withdraw(ctx: Context, tx: Transaction, arguments: Arguments) -> None:
    ledger = ctx.ledger(tx.sender)
    ledger.total -= arguments["amount"]
    ctx.move_available(ledger, -arguments["amount"], "withdraw")
    if ledger.total == 0:
        delete(ledger)


def _delete(ctx: Context, tx: Transaction, arguments: Arguments) -> None:
    delete(ctx.ledger(tx.sender))


#: The functions of the LedgerManager that log nothing, or not all.
OF_LEDGER: dict[str, Callable[[Context, Transaction, Arguments], None]] = {
    "addLedger": _add_ledger,
    "depositFund": _deposit,
    "depositFundFor": _deposit_for,
    "refund": _withdraw,
    "deleteLedger": _delete,
}
