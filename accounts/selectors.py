"""Reads of `accounts`: a person's transactions, and the contracts a wallet may be sent to."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import cache
from django.db.models import QuerySet

from accounts import node, reading
from accounts.errors import NodeError
from accounts.models import FOLLOWED, RESUMABLE, Intent, State, User
from ledger import selectors as ledger
from protocol import abi

_MANAGER = abi.LEDGER_MANAGER


def intents_of(user: User) -> QuerySet[Intent]:
    """Newest first; drafts are not shown, they live for less than a request."""
    return (
        Intent.objects.filter(user=user, chain_id=settings.CHAIN_ID)
        .exclude(state=State.DRAFT)
        .select_related("user")
        .order_by("-created_at")
    )


def under_way(user: User) -> Intent | None:
    """The newest transaction that is sent but not settled, or that waits to be sent ("continue
    where you left off").
    """
    open_states = [*RESUMABLE, State.SUBMITTED, State.INCLUDED]
    return intents_of(user).filter(state__in=open_states).first()


def count_under_way(user: User) -> int:
    return intents_of(user).filter(state__in=FOLLOWED).count()


def contract_addresses() -> tuple[str, ...]:
    """The closed list of addresses that a transaction of ours may go to: the ledger and its serving
    contracts.
    """
    return (settings.LEDGER_ADDRESS, *ledger.contracts())


def wallet_balance(address: str) -> int | None:
    """Native balance now, neuron; None when the chain does not answer."""
    try:
        return node.balance(address)
    except NodeError:
        return None


def limits() -> tuple[int, int] | None:
    """(least first deposit, least first transfer) in neuron, from the contract; None when the chain
    is silent.

    Kept for a minute: constants are code and change only with an upgrade (contracts.md 9).
    """
    key = f"ledger-limits:{settings.CHAIN_ID}:{settings.LEDGER_ADDRESS}"
    known: tuple[int, int] | None = cache.get(key)
    if known is None:
        try:
            block = node.quantity(node.call("eth_blockNumber"))
            names = ("MIN_ACCOUNT_BALANCE", "MIN_TRANSFER_AMOUNT")
            found = reading.views(
                [(_MANAGER, settings.LEDGER_ADDRESS, name, ()) for name in names], block
            )
        except NodeError:
            return None
        if any(value is None for value in found):
            return None
        known = (found[0], found[1])
        cache.set(key, known, timeout=60)
    return known
