"""Seeds that once found something.

They mean what they meant as long as `Plan.from_seed` and `FaultPlan.from_seed` draw the same.
"""

from __future__ import annotations

#: name: (seed, what it found)
EXAMPLES: dict[str, tuple[int, str]] = {
    "a log list that ends early": (
        2,
        "logs of a contract wallet, left out by the node, were missing from final rows",
    ),
    "an answer about another block": (
        11,
        "taken for a reorganisation below finality, it stopped the follower for good",
    ),
    "facts of a pending block that was read again": (
        13,
        "a deposit through a contract moved to an earlier block by a replay",
    ),
}
