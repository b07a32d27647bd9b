"""Finding what a wallet sent and no page told: by the sender's nonces since it was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _

from accounts import carriers, node
from accounts.errors import Problem, RpcError

#: How long a hash that no page reported is looked for.
SEARCHED_FOR = timedelta(hours=1)
#: How far back a transaction is searched, blocks, and among how many of the sender's next nonces.
SEARCH_BLOCKS = 20_000
NONCES = 4


@dataclass(frozen=True)
class Call:
    """What the wallet was asked for; `value` in neuron, None where any is the same wish."""

    sender: str
    to: str
    data: str
    value: int | None


@dataclass(frozen=True)
class Search:
    """`tx_hash`: found in a block, or empty; `floor`: the nonce to begin with next time; `waits`:
    not found, and it may be in the node's pool."""

    tx_hash: str
    floor: int
    waits: bool = False


def search(call: Call, floor: int, known: Callable[[str], bool]) -> Search:
    """Look for `call` among the sender's transactions from nonce `floor` on; what is `known` by its
    hash is another one. Raises NodeError."""
    counts = [("eth_getTransactionCount", [call.sender, at]) for at in ("latest", "pending")]
    used, sent = map(node.quantity, node.call_many(counts))
    if used > floor + NONCES:
        floor = max(floor, _oldest(call.sender))
    for nonce in range(floor, min(used, floor + NONCES)):
        found = transaction_with(call.sender, nonce)
        if found is None:
            continue
        tx_hash = str(found.get("hash")).lower()
        if is_call(call, found) and not known(tx_hash):
            return Search(tx_hash, floor)
        floor += nonce == floor  # another one for good, at which nobody looks again
    return Search("", floor, waits=sent > max(used, floor))


def _oldest(sender: str) -> int:
    """The first nonce that may be in a block which is searched; 0 where the node does not know."""
    low = max(0, node.height() - SEARCH_BLOCKS)
    try:
        return node.quantity(node.call("eth_getTransactionCount", sender, hex(low)))
    except RpcError:
        return 0


def not_in_a_block() -> Problem:
    """Why the wallet is not asked while something waits that may be the same."""
    return Problem(
        "not_in_a_block",
        _("A transaction of your account waits for a block: it may be this one."),
        _("Wait until it is in a block, or cancel it in your wallet. Nothing was sent twice."),
        status=409,
    )


def is_call(call: Call, found: dict[str, Any]) -> bool:
    """A hash proves nothing by itself: sender, target, calldata and value must be the reviewed
    ones, or those of the call that a contract wallet carried out.
    """
    if carriers.carries(found, wallet=call.sender, to=call.to, data=call.data, value=call.value):
        return node.has_code(call.sender)
    return (
        str(found.get("from", "")).lower() == call.sender.lower()
        and str(found.get("to") or "").lower() == call.to.lower()
        and str(found.get("input", found.get("data", ""))).lower() == call.data.lower()
        and call.value in (None, node.quantity(found.get("value")))
    )


def transaction_with(sender: str, nonce: int) -> dict[str, Any] | None:
    """The included transaction of `sender` with `nonce`: bisect the block at which the count passed
    it.
    """
    high = node.height()
    low = max(0, high - SEARCH_BLOCKS)
    while low < high:
        middle = (low + high) // 2
        count = node.quantity(node.call("eth_getTransactionCount", sender, hex(middle)))
        low, high = (low, middle) if count > nonce else (middle + 1, high)
    block = node.call("eth_getBlockByNumber", hex(low), True)
    for found in (block or {}).get("transactions", ()):
        same_sender = str(found.get("from", "")).lower() == sender.lower()
        if same_sender and node.quantity(found.get("nonce")) == nonce:
            return dict(found)
    return None
