"""What one seed means. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from devnet.faults import FaultPlan

#: More than a simulated chain has.
ALWAYS_DENSE = 20_000


@dataclass(frozen=True, slots=True)
class Knobs:
    """The follower's constants, small enough that a short chain meets every way of reading."""

    near: int
    dense: int
    dense_chunk: int
    sparse_chunk: int
    span: int
    confirmations: int
    #: Logs ahead that are worth a process of their own: as good as none, or all of them.
    much: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything drawn before a run. Block times and the moments of kills follow the clock."""

    seed: int
    #: Blocks above the final one: anvil calls head - 2 * epoch final.
    epoch: int
    actions: int
    knobs: Knobs
    nodes: tuple[FaultPlan, ...]
    #: Weights of what may happen, besides scenario steps.
    kill: float
    rival: float
    reorganise: float
    leave_pending: bool

    @classmethod
    def from_seed(cls, seed: int) -> Plan:
        rng = random.Random(f"plan {seed}")
        epoch = rng.choice((1, 1, 2, 4, 8))
        knobs = Knobs(
            near=rng.choice((3, 10, 40, 300)),
            dense=rng.choice((0, 20, ALWAYS_DENSE, ALWAYS_DENSE)),
            dense_chunk=rng.randint(5, 60),
            sparse_chunk=rng.randint(5, 120),
            span=rng.choice((3, 20, 2_000)),
            confirmations=2 * epoch + rng.randint(0, 3),
            much=1 if random.Random(f"process {seed}").random() < 0.2 else 1_000_000,
        )
        nodes = [FaultPlan.from_seed(seed)]
        if rng.random() < 0.4:
            nodes.append(FaultPlan.from_seed(1_000_000 + seed))
        if knobs.dense < ALWAYS_DENSE:
            # Reading sparsely, a list cut at random twice in the same place goes unseen; one that
            # a limit cuts does not.
            limits = random.Random(f"silent limits {seed}")
            nodes = [
                replace(n, truncated_ranges=False, silent_most=limits.choice((None, 12, 30)))
                for n in nodes
            ]
        return cls(
            seed=seed,
            epoch=epoch,
            actions=rng.randint(90, 200),
            knobs=knobs,
            nodes=tuple(nodes),
            kill=rng.choice((1, 3, 6)),
            rival=rng.choice((0, 1, 2)),
            reorganise=rng.choice((0, 3, 8)),
            leave_pending=rng.random() < 0.5,
        )
