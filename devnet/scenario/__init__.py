"""A seeded stream of everything people, providers and the owner can do to the contracts.

    steps = run(seed=7, steps=400, deployment=deployment, rpc_url=node.url)

The same seed on a fresh chain gives the same actions; only block times follow the clock. Most
actions succeed; some fail on purpose, and some of those are sent anyway, so that the chain holds
failed transactions with plausible calldata.
"""

from __future__ import annotations

from devnet.scenario.base import Call, Step
from devnet.scenario.world import run

__all__ = ["Call", "Step", "run"]
