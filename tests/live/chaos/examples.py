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
}
