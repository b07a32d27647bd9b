"""Reads of `accounts`: a person's transactions, and the contracts a wallet may be sent to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import F, Max, Q, QuerySet
from django.utils import timezone

from accounts import node, reading
from accounts.errors import NodeError
from accounts.models import RESUMABLE, Intent, State, User
from ledger import selectors as ledger
from net.cache import keep, recall
from protocol import abi

_MANAGER = abi.LEDGER_MANAGER
#: An unsent transaction older than this is only in the list.
RESUMABLE_FOR = timedelta(hours=24)
#: How long the funds page keeps showing a transaction that has ended.
SHOWN_AFTER = timedelta(minutes=2)
#: No node that is asked lags behind others for longer.
LAGS = timedelta(minutes=10)
#: So long no page asks a node for what it only shows, after one that hung; seconds.
SILENT_FOR = 10
MOVING = (State.SUBMITTED, State.INCLUDED)
ENDED = (State.INDEXED, State.FINAL, State.REVERTED, State.REPLACED, State.DROPPED)


def intents_of(user: User) -> QuerySet[Intent]:
    """Newest first; drafts are not shown, they live for less than a request."""
    return (
        Intent.objects.filter(user=user, chain_id=settings.CHAIN_ID)
        .exclude(state=State.DRAFT)
        .select_related("user")
        .order_by("-created_at")
    )


def under_way(user: User) -> list[Intent]:
    """What the wallet has sent and is not in our numbers yet, also from another tab; then what
    still waits to be sent or for its second step ("continue where you left off"), or ended a moment
    ago; of each the newest first.
    """
    now = timezone.now()
    waiting = Q(state__in=RESUMABLE, updated_at__gt=now - RESUMABLE_FOR)
    just_ended = Q(state__in=ENDED, updated_at__gt=now - SHOWN_AFTER)
    arrived = [State.INDEXED, State.FINAL]
    # What leads back to another page only needs nobody to continue it here.
    more = Q(then__startswith="/account?")
    first_step = more & Q(state__in=arrived, created_at__gt=now - RESUMABLE_FOR)
    rows = intents_of(user)
    found = list(rows.filter(waiting | Q(state__in=MOVING) | just_ended | first_step))
    # Its second step was begun, or something else was: the first needs no more showing.
    steps = [one for one in found if one.state in ENDED and one.updated_at < now - SHOWN_AFTER]
    newest = rows.first() if steps else None
    shown = (one for one in found if one not in steps or one == newest)
    return sorted(shown, key=lambda one: one.state not in MOVING)


def led_to(user: User, path: str) -> Intent | None:
    """The newest transaction in a block that went on with `path` (1 query)."""
    arrived = intents_of(user).filter(state__in=[State.INCLUDED, State.INDEXED, State.FINAL])
    return arrived.filter(then=path, created_at__gt=timezone.now() - RESUMABLE_FOR).first()


def last_block(address: str) -> int:
    """The newest that holds a transaction which a wallet sent from here in the last minutes; -1
    without any (1 query)."""
    rows = Intent.objects.filter(
        user__address=address,
        chain_id=settings.CHAIN_ID,
        state__in=[State.INCLUDED, State.INDEXED, State.FINAL],
        submitted_at__gt=timezone.now() - LAGS,
    )
    found: int | None = rows.aggregate(last=Max("block"))["last"]
    return -1 if found is None else found


def waiting(user: User) -> int:
    """How many transactions the wallet has sent that no block holds yet (1 query)."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, [user.pk, settings.CHAIN_ID, State.SUBMITTED])
        return int(cursor.fetchone()[0])


# In the header of every page: Django takes ten times longer to write this.
_WAITING = (
    "SELECT count(*) FROM accounts_intent WHERE user_id = %s AND chain_id = %s AND state = %s"
)


def next_waiting(user: User) -> Intent | None:
    """Of these the one that was not looked at for longest (1 query)."""
    sent = intents_of(user).filter(state=State.SUBMITTED)
    return sent.order_by(F("checked_at").asc(nulls_first=True)).first()


def contract_addresses() -> tuple[str, ...]:
    """The closed list of addresses that a transaction of ours may go to: the ledger and its serving
    contracts.
    """
    return (settings.LEDGER_ADDRESS, *ledger.contracts())


def wallet_balance(address: str, block: int = 0) -> int | None:
    """Native balance now, neuron; None when the chain does not answer, or a node that has not come
    to `block`, where the wallet's own last transaction is."""
    return _glance(lambda: node.balance(address, block=block, timeout=node.GLANCE_SECONDS))


def height() -> int | None:
    """The newest block's number, for a page to read views at; None when the chain is silent."""
    return _glance(lambda: node.height(timeout=node.GLANCE_SECONDS))


def _glance(ask: Callable[[], int]) -> int | None:
    """What the node says at once. While it hangs, one page in `SILENT_FOR` seconds waits for it, in
    all processes together; what somebody wants checked asks by itself."""
    urls = hashlib.sha256(" ".join(settings.CHAIN_RPC_URLS).encode()).hexdigest()
    key = f"node-silent:{urls}"
    if recall(key):
        return None
    try:
        return ask()
    except NodeError:
        if node.hung():
            keep(key, True, SILENT_FOR)
        return None


def limits() -> tuple[int, int] | None:
    """(least first deposit, least first transfer) in neuron, from the contract; None when the chain
    is silent.

    Kept for a minute: constants are code and change only with an upgrade (contracts.md 9).
    """
    key = f"ledger-limits:{settings.CHAIN_ID}:{settings.LEDGER_ADDRESS}"
    known: tuple[int, int] | None = recall(key)
    if known is None:
        block = height()
        if block is None:
            return None
        try:
            names = ("MIN_ACCOUNT_BALANCE", "MIN_TRANSFER_AMOUNT")
            found = reading.views(
                [(_MANAGER, settings.LEDGER_ADDRESS, name, ()) for name in names], block
            )
        except NodeError:
            return None
        if any(value is None for value in found):
            return None
        known = (found[0], found[1])
        keep(key, known, 60)
    return known
