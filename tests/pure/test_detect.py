"""Finding the blocks at which a difference changes, by halving."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from ledger.detect import jumps


@pytest.mark.parametrize("seed", range(50))
def test_every_change_is_found_that_does_not_cancel(seed: int) -> None:
    """Differences that only grow cannot cancel out: each change is found, of every key at once."""
    rng = random.Random(seed)
    first, last = 100, 100 + rng.randint(0, 400)
    changed: dict[str, dict[int, int]] = {}
    for key in "abc"[: rng.randint(1, 3)]:
        blocks = rng.sample(range(first, last + 1), min(rng.randint(0, 6), last - first + 1))
        changed[key] = {block: rng.randint(1, 9) for block in blocks}
    rounds = 0

    def differences(asked: Sequence[tuple[str, int]]) -> list[int]:
        nonlocal rounds
        rounds += 1
        return [sum(v for b, v in changed[key].items() if b <= block) for key, block in asked]

    spans = [(key, first - 1, last, sum(changed[key].values())) for key in changed]
    expected = sorted((block, key) for key in changed for block in changed[key])
    assert jumps(spans, differences) == [(key, block) for block, key in expected]
    assert rounds <= 10, "halving, all spans in one question"
