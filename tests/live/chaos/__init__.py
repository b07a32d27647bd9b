"""The seeded chaos simulator: a chain, a follower, and everything that can happen to both.

`python -m tests.live.chaos --seeds 100`; as a library: `run_seed(Plan.from_seed(7), here)`.
"""
