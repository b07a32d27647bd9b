"""How a node misbehaves, as numbers: drawn from a seed, or chosen one by one."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Chances (0..1) of each fault, per HTTP request or per call; 0 and None: never."""

    seed: int = 0
    # Per HTTP request.
    too_many_requests: float = 0  # 429, with and without Retry-After
    server_error: float = 0  # 5xx with and without a body
    hang: float = 0  # no answer for `hang_seconds`, then a closed connection
    cut: float = 0  # the connection drops in the middle of the answer
    not_json: float = 0
    batch_refused: float = 0  # one error object for the whole batch
    wrong_ids: float = 0  # an id twice, one missing, one of another type
    # Per call.
    call_refused: float = 0  # rate limits and internal errors of single calls
    truncated_logs: float = 0  # a log list that ends early
    truncated_ranges: bool = True  # such lists for ranges too, not only for single blocks
    null_block: float = 0
    null_receipt: float = 0
    other_block: float = 0  # a block, log list or receipt of another block
    other_balance: float = 0  # a native balance of another state, where a block is asked by hash
    old_answer: float = 0  # what the same question got before (a cache in front of the node)
    head_back: float = 0  # a head a few blocks back
    no_block_receipts: float = 0  # 1: eth_getBlockReceipts does not exist there
    no_finalized: float = 0
    odd_finalized: float = 0  # ahead of the head, or far behind it
    # Per websocket connection, and per message of one.
    socket_refused: float = 0
    socket_cut: float = 0
    socket_silent: float = 0
    socket_nonsense: float = 0
    # For a while.
    lag: float = 0  # chance that the next `lag_requests` see a node `lag_blocks` behind
    lag_blocks: int = 3
    lag_requests: int = 6
    # Always.
    hang_seconds: float = 0.7
    chain_id: int | None = None  # answers with this chain id
    width: int | None = None  # blocks per log query
    most: int | None = None  # logs per answer
    silent_most: int | None = None  # logs per range, the rest left out without a word
    hidden: tuple[int, ...] = ()  # blocks whose logs no query of a range shows
    hidden_alone: bool = False  # nor one of that block
    batch: int | None = None  # calls per request
    refusal: int = 0  # which wording

    @classmethod
    def from_seed(cls, seed: int) -> FaultPlan:
        """A node that is bad at about half of everything, usable in the long run."""
        rng = random.Random(f"faults {seed}")

        # Drawn apart, so that older seeds still mean what they meant.
        later = random.Random(f"later faults {seed}")
        batch = rng.choice((None, None, 1, 10, 50))

        def chance(most: float, rng: random.Random = rng) -> float:
            return round(rng.uniform(0.1, 1) * most, 3) if rng.random() < 0.5 else 0.0

        return cls(
            seed=seed,
            too_many_requests=chance(0.06),
            server_error=chance(0.06),
            hang=chance(0.01),
            cut=chance(0.05),
            not_json=chance(0.05),
            batch_refused=chance(0.05),
            wrong_ids=chance(0.05),
            call_refused=chance(0.01),
            truncated_logs=chance(0.1),
            null_block=chance(0.02),
            null_receipt=chance(0.02),
            other_block=chance(0.02),
            old_answer=chance(0.02),
            head_back=chance(0.1),
            no_finalized=rng.choice((0, 0, 0.1, 1)),
            odd_finalized=chance(0.2),
            lag=chance(0.1),
            # Without batches nothing ties a list of logs to the head of the node that sent it.
            lag_blocks=rng.randint(1, 9) if batch != 1 else 1,
            width=rng.choice((None, None, 1, 7, 50)),
            most=rng.choice((None, None, 10, 60)),
            batch=batch,
            refusal=rng.randrange(100),
            no_block_receipts=later.choice((0, 0, 1)),
            socket_refused=later.choice((0, 0, 0.3, 1)),
            socket_cut=chance(0.1, later),
            socket_silent=later.choice((0, 0, 0.2, 1)),
            socket_nonsense=chance(0.3, later),
        )

    def names(self) -> list[str]:
        """The faults this plan holds, for a report."""
        plain = FaultPlan(self.seed, refusal=self.refusal)
        return [f.name for f in fields(self) if getattr(self, f.name) != getattr(plain, f.name)]


HONEST = FaultPlan()


def with_only(plan: FaultPlan, *names: str) -> FaultPlan:
    """`plan` with all faults but `names` taken out; for finding which one a seed dislikes."""
    kept: Mapping[str, Any] = {name: getattr(plan, name) for name in names}
    return replace(FaultPlan(plan.seed, refusal=plan.refusal), **kept)
