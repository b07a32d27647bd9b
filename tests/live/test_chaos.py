"""Whatever a node, a network or a crash does, the index ends up right.

More seeds: `./run exec -- python -m tests.live.chaos --seeds 100`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest

from devnet.faults import FaultPlan
from tests.live.chaos.examples import EXAMPLES
from tests.live.chaos.plan import Plan
from tests.live.chaos.simulator import run_seed

#: Each fault three times at least, with as few runs as that takes; the examples are run under their
#: names.
SEEDS = (2, 3, 6, 8, 11, 12, 13)
FOUND = {seed for seed, _ in EXAMPLES.values()}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", sorted(set(SEEDS) - FOUND))
def test_a_seed(seed: int) -> None:
    check(seed)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example(name: str) -> None:
    check(EXAMPLES[name][0])


def check(seed: int) -> None:
    result = run_seed(seed)
    assert not result.problems, "\n".join([*result.problems, f"again: {result.repro()}"])
    assert result.blocks > 20


def test_the_seeds_hold_every_fault_three_times() -> None:
    """A fault that no seed has would never be tried."""
    plans = [Plan.from_seed(seed) for seed in SEEDS]
    held = Counter(name for plan in plans for name in {n for f in plan.nodes for n in f.names()})
    # These have tests of their own (a run with them could not end), the others are no faults.
    alone = {"chain_id", "hidden", "hidden_alone", "other_balance"} | {
        "seed",
        "refusal",
        "hang_seconds",
        "lag_requests",
    }
    rare = {f.name: held[f.name] for f in fields(FaultPlan) if held[f.name] < 3}
    assert set(rare) <= alone, rare
    assert any(len(plan.nodes) == 2 for plan in plans)
    assert any(plan.knobs.dense == 0 for plan in plans)
    assert any(plan.knobs.much == 1 for plan in plans)
