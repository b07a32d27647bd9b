"""What other processes may know of the follower at work: rates, and the state of each node."""

from __future__ import annotations

import time

from django.utils import timezone

from chain.heads import Heads, websocket_url
from chain.models import Head, NodeState
from chain.progress import Meter, Progress
from chain.rpc import Rpc
from chain.sync import Step

#: Written this often at most (seconds), and at once when the state of a node changes.
EVERY = 1.0


class Reporter:
    """Writes `Head`'s rates and one `NodeState` per URL; a reader may be a moment behind."""

    def __init__(self, chain_id: int, rpc: Rpc, heads: Heads) -> None:
        self.chain_id, self.rpc, self.heads = chain_id, rpc, heads
        self.meter = Meter()
        self.progress: Progress | None = None
        self._written, self._states = 0.0, list[str]()

    def step(self, step: Step) -> Progress:
        """After a step that held."""
        self.progress = self.meter.add(
            time.monotonic(), step.indexed_block, step.head_block, step.logs
        )
        self.write(urgent=False)
        return self.progress

    def write(self, *, urgent: bool = True) -> None:
        states = [endpoint.state for endpoint in self.rpc.endpoints]
        states.append(self.heads.live or "")
        now = time.monotonic()
        if not urgent and states == self._states and now - self._written < EVERY:
            return
        self._states, self._written = states, now
        if self.progress is not None:
            Head.objects.filter(chain_id=self.chain_id).update(
                blocks_per_second=self.progress.blocks_per_second,
                events_per_second=self.progress.events_per_second,
            )
        rows = [
            NodeState(
                chain_id=self.chain_id,
                position=position,
                name=endpoint.name,
                state=endpoint.state,
                reason=endpoint.reason,
                head_block=endpoint.head_block,
                latency_ms=endpoint.latency * 1000 or None,
                calls_per_second=endpoint.budget.rate,
                requests=endpoint.requests,
                failures=endpoint.failures,
                websocket=self.heads.live == websocket_url(endpoint.url),
                updated_at=timezone.now(),
            )
            for position, endpoint in enumerate(self.rpc.endpoints)
        ]
        names = [f.name for f in NodeState._meta.fields if f.name not in ("id", "chain_id")]
        NodeState.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["chain_id", "position"],
            update_fields=[name for name in names if name != "position"],
        )
        NodeState.objects.filter(chain_id=self.chain_id, position__gte=len(rows)).delete()
