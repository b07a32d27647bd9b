"""Following sent transactions on the chain: receipt, replacement, loss, index, finality (ux.md 3).

The server asks, never the page: whoever polls (a person's page, the worker) may trigger a look, at
most one per `PAUSE` and transaction. A receipt is asked for on every look until the block is final,
so a reorganisation is seen. An end that is not final either (reverted, replaced, dropped) is looked
at for a day, less often.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone, translation
from django.utils.translation import gettext_noop

from accounts import carriers, intents, node, refusals, unheard
from accounts.errors import NodeError, Problem, RpcError
from accounts.intents import move, submitted
from accounts.models import FOLLOWED, RECONSIDERED, UNSURE, Intent, State
from chain import selectors as chain
from chain.limits import log_limit
from chain.models import RawBlock
from protocol import abi

PAUSE = timedelta(milliseconds=700)
#: The same for transactions that have ended, and how long they are still looked at.
SELDOM = timedelta(seconds=30)
RECONSIDERED_FOR = timedelta(days=1)
#: After this long without a trace, and with its nonce unused, a transaction counts as dropped.
LOST_AFTER = timedelta(minutes=10)
#: Until then a wallet's node may know a transaction that ours has not heard of.
HEARSAY = timedelta(minutes=1)
#: Transactions that one round of the worker looks at.
MOST = 200
#: Blocks of logs at once, where the node refuses more and does not say how many it takes.
FEWER_BLOCKS = 1_000
#: More than any chain makes.
BLOCKS_A_SECOND = 4


def look(intent: Intent) -> Intent:
    """Bring one intent up to date with the chain and the index. A silent node changes nothing."""
    if not _may_change(intent) or not _claim(intent):
        return intent
    try:
        if _unheard_of(intent):
            _adopt(intent)
            return intent
        receipt, found, used, height = node.call_many(
            [
                ("eth_getTransactionReceipt", [intent.tx_hash]),
                ("eth_getTransactionByHash", [intent.tx_hash]),
                ("eth_getTransactionCount", [intent.user.address, "latest"]),
                ("eth_blockNumber", []),
            ]
        )
        if isinstance(receipt, dict) and isinstance(found, dict):
            _mined(intent, receipt, found)
        elif intent.block is not None and node.quantity(height) < intent.block:
            return intent  # a node that lags behind another one knows of no reorganisation
        elif isinstance(found, dict):
            _waiting(intent, found)
        elif not isinstance(receipt, dict):
            _missing(intent, node.quantity(used))
    except NodeError:
        intent.refresh_from_db()
    return intent


def look_at_all() -> None:
    """One round of the worker over everything still under way, as much as a round may take. First
    what was not looked at for the longest of each person, then everybody's second: whoever says
    that many were sent keeps nobody else waiting.
    """
    now = timezone.now()
    ended = Q(state__in=RECONSIDERED, submitted_at__gt=now - RECONSIDERED_FOR)
    unheard_of = Q(state=State.AWAITING_WALLET) | Q(state=State.REJECTED, code__in=UNSURE)
    orphans = unheard_of & Q(updated_at__range=(now - unheard.SEARCHED_FOR, now - HEARSAY))
    owners = Q(state=State.SUBMITTED, reason=_OTHERS_SIGN)
    moving = Q(state__in=FOLLOWED) & ~owners
    due = moving | (ended | orphans | owners) & _rested(SELDOM)
    longest = F("checked_at").asc(nulls_first=True)
    own = Window(RowNumber(), partition_by="user_id", order_by=[longest])
    waiting = Intent.objects.filter(due, chain_id=settings.CHAIN_ID).annotate(own=own)
    for intent in waiting.select_related("user").order_by("own", longest)[:MOST]:
        look(intent)


def _may_change(intent: Intent) -> bool:
    if intent.state in FOLLOWED:
        return True
    if _unheard_of(intent):
        return HEARSAY < timezone.now() - intent.updated_at < unheard.SEARCHED_FOR
    sent = intent.submitted_at
    young = sent is not None and timezone.now() - sent < RECONSIDERED_FOR
    return young and intent.state in RECONSIDERED and bool(intent.tx_hash)


def _unheard_of(intent: Intent) -> bool:
    """The wallet had it and has told no hash, whatever the person or the page said since."""
    if intent.state == State.REJECTED:
        return intent.unsure
    return intent.state == State.AWAITING_WALLET


def before_asking(intent: Intent) -> Intent:
    """Find what the wallet sent without a word, of this one and of those for the same a moment ago,
    before it is asked. A silent node changes nothing.

    Raises Problem `not_in_a_block` (409) while such a one may be what waits for a block.
    """
    same = _same(intent).filter(state=State.REJECTED, code__in=UNSURE)
    young = same.filter(updated_at__gt=timezone.now() - intents.TWIN_FOR).select_related("user")
    waits = False
    for one in {intent, *young[: unheard.NONCES]}:
        if _unheard_of(one):
            with suppress(NodeError):
                waits |= _adopt(one)
    if waits:
        raise unheard.not_in_a_block()
    return intent


def _same(intent: Intent) -> QuerySet[Intent]:
    """The person's intents for exactly this transaction."""
    return Intent.objects.filter(
        user=intent.user_id, to=intent.to, data=intent.data, value=intent.value
    )


def _claim(intent: Intent) -> bool:
    """True for the one caller that may ask the chain now."""
    waits = intent.state not in FOLLOWED or intent.reason == _OTHERS_SIGN
    pause = SELDOM if waits else PAUSE
    mine = Intent.objects.filter(_rested(pause), pk=intent.pk)
    claimed = mine.update(checked_at=timezone.now())
    intent.refresh_from_db()
    return bool(claimed)


def _rested(pause: timedelta) -> Q:
    """Not looked at for so long; a moment to come was written down by a clock that was wrong."""
    now = timezone.now()
    return ~Q(checked_at__range=(now - pause, now + pause))


def _adopt(intent: Intent) -> bool:
    """Find the transaction of a page that could not report its hash: closed, crashed, signed out
    while the wallet was open, or given an error instead of a hash. Nonces after the review tell it
    from anything older. True while it is not found and may be in the node's pool.
    """
    if intent.state == State.REJECTED and _asked_for_since(intent):
        return False
    searched = unheard.search(
        _call(intent),
        intent.nonce_floor,
        lambda tx_hash: Intent.objects.filter(user=intent.user_id, tx_hash=tx_hash).exists(),
    )
    if searched.tx_hash:
        with suppress(Problem):  # its page has told a hash meanwhile
            submitted(intent, searched.tx_hash)
        return False
    floor = searched.floor
    Intent.objects.filter(pk=intent.pk, nonce_floor__lt=floor).update(nonce_floor=floor)
    return searched.waits


def _call(intent: Intent) -> unheard.Call:
    return unheard.Call(intent.user.address, intent.to, intent.data, int(intent.value))


def _asked_for_since(intent: Intent) -> bool:
    """Whether the wallet was asked for the same later: what is found now may be that one's."""
    handed = (State.AWAITING_WALLET, *FOLLOWED, *RECONSIDERED)
    later = Q(created_at__gt=intent.created_at, state__in=handed)
    young = Q(updated_at__gt=timezone.now() - unheard.SEARCHED_FOR)
    return _same(intent).filter(later | young & Q(state=State.AWAITING_WALLET)).exists()


# --- in a block -----------------------------------------------------------------------------------


def _mined(intent: Intent, receipt: dict[str, Any], found: dict[str, Any]) -> None:
    if not _is_ours(intent, found):
        _replaced(intent, "other")
        return
    block, block_hash = (
        node.quantity(receipt.get("blockNumber")),
        str(receipt.get("blockHash")).lower(),
    )
    price = receipt.get("effectiveGasPrice") or found.get("gasPrice") or "0x0"
    facts = {
        "block": block,
        "block_hash": block_hash,
        "fee": node.quantity(receipt.get("gasUsed")) * node.quantity(price),
        "nonce": _nonce(intent, found),
    }
    failed_inside = carriers.failed_inside(receipt, intent.user.address)
    if failed_inside or node.quantity(receipt.get("status")) != 1:
        if intent.state == State.REVERTED and intent.block_hash == block_hash:
            return
        code, reason = ("failed_inside", _FAILED_INSIDE) if failed_inside else _why(intent, block)
        if code == "reverted" and _ran_out(receipt, found):
            code, reason = "out_of_gas", _RAN_OUT
        move(intent, _OPEN, State.REVERTED, code=code, reason=reason, **facts)
        return
    if intent.state == State.SUBMITTED or intent.state in RECONSIDERED:
        before = [State.SUBMITTED, *RECONSIDERED]
        move(intent, before, State.INCLUDED, code="", reason="", **facts)
    elif intent.block_hash != block_hash:
        move(intent, FOLLOWED, State.INCLUDED, reason=_REORGANISED, **facts)
    _indexed(intent, block)


def _indexed(intent: Intent, block: int) -> None:
    head = chain.head()
    known = set(RawBlock.objects.filter(number=block).values_list("hash", flat=True))
    if known and intent.block_hash not in known:
        return  # this node is on another fork than the index
    if head.indexed_block >= block:
        move(intent, [State.INCLUDED], State.INDEXED, reason="")
    if head.final_block >= block:
        move(intent, [State.INDEXED], State.FINAL)


#: Everything that a receipt may still change.
_OPEN = (*FOLLOWED, *RECONSIDERED)
_REORGANISED = gettext_noop("The chain reorganised; checking again.")
_FAILED_INSIDE = gettext_noop(
    "Your wallet carried it out and the call failed. Only gas was charged."
)


_RAN_OUT = gettext_noop(
    "It ran out of gas, and only gas was charged. Send it again, and leave the gas limit in your "
    "wallet as this site sets it."
)


def _ran_out(receipt: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether no gas was left, or only what a call keeps back from the one inside it, a 64th."""
    limit = node.quantity(found.get("gas"))
    return (limit - node.quantity(receipt.get("gasUsed"))) * 60 < limit


def _is_ours(intent: Intent, found: dict[str, Any]) -> bool:
    return unheard.is_call(_call(intent), found)


def _nonce(intent: Intent, found: dict[str, Any]) -> int | None:
    """The sender's nonce; None where somebody else sent it for a contract wallet."""
    own = str(found.get("from", "")).lower() == intent.user.address.lower()
    return node.quantity(found.get("nonce")) if own else None


def _why(intent: Intent, block: int) -> tuple[str, str]:
    """Why it reverted: the same call at the parent block tells (contracts.md 10), or, when
    something earlier in its block was the cause, the call after that block.
    """
    request = {
        "from": intent.user.address,
        "to": intent.to,
        "data": intent.data,
        "value": hex(intent.value),
    }
    outcomes = node.call_many([("eth_call", [request, hex(at)]) for at in (block - 1, block)])
    refused = (abi.decode_error(o.data) for o in outcomes if isinstance(o, RpcError))
    decoded = next((error for error in refused if error), None)
    if decoded is None:
        return "reverted", gettext_noop("The contract refused it. Only gas was charged.")
    # Stored in English, whoever looks first; told again in the reader's language.
    with translation.override("en"):
        title, fix = refusals.sentence(*decoded, intent.action)
    return decoded[0], f"{title} {fix} {refusals.ONLY_GAS}"


# --- not in a block -------------------------------------------------------------------------------


def _waiting(intent: Intent, found: dict[str, Any]) -> None:
    """The node knows it and has not included it (any more)."""
    if not _is_ours(intent, found):
        _replaced(intent, "other")
        return
    if intent.state == State.SUBMITTED:
        Intent.objects.filter(pk=intent.pk).update(nonce=_nonce(intent, found))
        intent.refresh_from_db()
    elif intent.state == State.DROPPED:
        move(
            intent,
            [State.DROPPED],
            State.SUBMITTED,
            reason=gettext_noop("The network knows it again."),
        )
    else:
        _back_to_submitted(intent)


def _back_to_submitted(intent: Intent) -> None:
    move(
        intent,
        [State.INCLUDED, State.INDEXED, State.REVERTED],
        State.SUBMITTED,
        block=None,
        block_hash="",
        fee=None,
        code="",
        reason=_REORGANISED,
    )


def _missing(intent: Intent, used: int) -> None:
    """The node does not know the hash. `used`: how many nonces the sender has spent."""
    age = timezone.now() - (intent.submitted_at or intent.updated_at)
    nonce = intent.nonce
    unseen = nonce is None and intent.state in _UNSEEN
    if unseen and node.has_code(intent.user.address) and _carried_out(intent, age):
        return  # the hash was a wallet's own
    if intent.state != State.SUBMITTED:
        _back_to_submitted(intent)
        return
    if nonce is None and node.is_contract(intent.user.address):
        # Nothing is on the chain before all owners have signed.
        if age > RECONSIDERED_FOR:
            move(intent, [State.SUBMITTED], State.DROPPED, reason=_NOT_CARRIED_OUT)
        elif age > HEARSAY and not intent.reason:
            Intent.objects.filter(pk=intent.pk).update(reason=_OTHERS_SIGN)
        return
    if nonce is None and age > HEARSAY:
        # Never seen here: the wallet most likely took the nonce that was next when it was asked.
        nonce = intent.nonce_floor
    if nonce is not None and used > nonce:
        _find_replacement(intent, nonce, lost=age > LOST_AFTER)
    elif age > LOST_AFTER and not node.known_anywhere(intent.tx_hash):
        move(
            intent,
            [State.SUBMITTED],
            State.DROPPED,
            reason=gettext_noop(
                "The network no longer knows this transaction. Nothing was charged. Should it "
                "arrive after all within a day, it is shown here."
            ),
        )


#: What may still be carried out under a hash that no node has shown, however late.
_UNSEEN = (State.SUBMITTED, State.DROPPED, State.REPLACED)
_OTHERS_SIGN = gettext_noop(
    "Your wallet is a contract: its other owners may have to sign first. You can leave this page."
)
_NOT_CARRIED_OUT = gettext_noop(
    "Your wallet did not carry it out within a day, and it is looked for no longer. Should its "
    "other owners sign later, the movements on the chain show it."
)


def _carried_out(intent: Intent, age: timedelta) -> bool:
    """Follow the transaction in which a contract wallet, or the code that a plain account borrows,
    carried out what it gave a hash of its own for; False while there is none."""
    high = node.height()
    span = min(unheard.SEARCH_BLOCKS, BLOCKS_A_SECOND * int((age + HEARSAY).total_seconds()))
    filters = carriers.log_filters(intent.user.address, intent.tx_hash)
    for _once_more in range(2):
        where = {"fromBlock": hex(max(0, high - span + 1)), "toBlock": hex(high)}
        found = node.call_many([("eth_getLogs", [{**one, **where}]) for one in filters])
        refused = [str(logs) for logs in found if isinstance(logs, RpcError)]
        if not refused:
            break
        span = min(span, log_limit(refused[0]) or FEWER_BLOCKS)
    logs = [log for some in found if isinstance(some, list) for log in some]
    carrier = carriers.carrier_of(logs, intent.tx_hash)
    return bool(carrier) and _now_as(intent, carrier, reason="")


def _find_replacement(intent: Intent, nonce: int, *, lost: bool) -> None:
    """What took the nonce: the same sped up (follow that one), a cancellation, or another.

    A node without old state cannot tell; once the transaction counts as `lost`, "another" is all
    that can be said.
    """
    try:
        taker = unheard.transaction_with(intent.user.address, nonce)
    except RpcError:
        taker = None
    reason = "" if intent.nonce is not None else _LIKELY
    if taker is None:
        if lost:
            _replaced(intent, "other", reason)
        return
    tx_hash = str(taker.get("hash")).lower()
    if tx_hash == intent.tx_hash:
        return  # it is this one: the node has the block, and not yet what it finds by hash
    if _is_ours(intent, taker) and _sped_up(intent, tx_hash, nonce):
        return
    to_self = str(taker.get("to") or "").lower() == intent.user.address.lower()
    _replaced(intent, "cancelled" if to_self else "other", reason)


def _sped_up(intent: Intent, tx_hash: str, nonce: int) -> bool:
    """Follow the new hash; False when it belongs to another intent of the same person, which
    looks the same but is not this one.
    """
    told = gettext_noop("Sped up in your wallet; following the new transaction.")
    return _now_as(intent, tx_hash, nonce=nonce, reason=told)


def _now_as(intent: Intent, tx_hash: str, **fields: Any) -> bool:
    try:
        with transaction.atomic():
            Intent.objects.filter(pk=intent.pk, state__in=_UNSEEN).update(
                state=State.SUBMITTED, tx_hash=tx_hash, checked_at=None, code="", **fields
            )
    except IntegrityError:
        return False
    intent.refresh_from_db()
    return True


#: Of a hash that no node has shown: its nonce is a guess.
_LIKELY = gettext_noop(
    "No node knows this transaction, and your wallet has sent another one since, most likely in "
    "its place."
)


def _replaced(intent: Intent, code: str, reason: str = "") -> None:
    reasons = {
        "cancelled": gettext_noop("Cancelled in your wallet. Only gas was charged."),
        "other": gettext_noop("Your wallet sent another transaction in its place."),
    }
    move(intent, FOLLOWED, State.REPLACED, code=code, reason=reason or reasons[code])
