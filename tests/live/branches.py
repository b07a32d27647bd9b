"""Reorganisations of chains that mine by themselves."""

from __future__ import annotations

import time

from devnet.rpc import Rpc


def reorganise(node: Rpc, first: int) -> None:
    """Replace the blocks from number `first` on by as many empty ones.

    The chain stands still meanwhile: of one that mines anvil loses blocks for good, and a follower
    waits for a block that is not there. Afterwards a block comes every second, and none at once:
    anvil has no way back to both.
    """
    node.call("evm_setAutomine", False)
    node.call("evm_setIntervalMining", 0)
    heads: list[int] = []
    while len(heads) < 3 or len(set(heads[-3:])) > 1:
        heads.append(int(node.call("eth_blockNumber"), 16))
        time.sleep(0.1)
    node.call("anvil_reorg", heads[-1] - first + 1, [])
    node.call("evm_setAutomine", True)
    node.call("evm_setIntervalMining", 1)
