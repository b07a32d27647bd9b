"""A day passes at once, on the local chain only: so that anyone can watch a refund unlock.

`evm_increaseTime` alone moves nothing until a block is made (contracts.md 11.30 names the one mode
in which it moves nothing at all; then `evm_setNextBlockTimestamp` does).
"""

from __future__ import annotations

import time

from django.conf import settings

from accounts import node
from chain import selectors as chain

SECONDS = 24 * 3600
DEVNET_CHAIN = 31337
#: How long a page may wait for the index to have read the new block: what is loaded before says
#: for good that nothing is unlocked, since nothing of the account changed in it.
_PATIENCE_SECONDS = 20.0


def possible() -> bool:
    """Only for NETWORK=devnet and the chain id of a local node."""
    return bool(settings.IS_DEVNET) and settings.CHAIN_ID == DEVNET_CHAIN


def skip(seconds: int = SECONDS) -> int:
    """Mine a block `seconds` later than now; its unix time. Raises NodeError, or RpcError where the
    node is no anvil.
    """
    before = _timestamp()
    node.call("evm_increaseTime", hex(seconds))
    node.call("evm_mine")
    if _timestamp() < before + seconds:
        node.call("evm_setNextBlockTimestamp", hex(before + seconds))
        node.call("evm_mine")
    wanted = node.height()
    until = time.monotonic() + _PATIENCE_SECONDS
    while chain.head().indexed_block < wanted and time.monotonic() < until:
        time.sleep(0.1)
    return _timestamp()


def _timestamp() -> int:
    newest = node.call("eth_getBlockByNumber", "latest", False)
    return node.quantity(newest.get("timestamp") if isinstance(newest, dict) else None)
