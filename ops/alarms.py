"""What is wrong right now, in words, each with its place in the runbook. Pure: facts are passed in.

`/ops` shows these; `docs/runbook.md` has a section for each (a test compares).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from chain.models import NodeState
from chain.selectors import Freshness
from ledger.models import Reconciliation
from marketplace import formats
from ops.selectors import Background, Measuring, Storage

#: Anchor in the runbook by alarm; every alarm below is one of these.
ANCHORS = {
    "halted": "the-follower-has-halted",
    "stale": "the-index-is-stale",
    "behind": "the-index-is-behind",
    "node": "a-node-fails",
    "no_node": "no-node-answers",
    "queue": "the-queue-is-deep",
    "worker": "no-task-has-run",
    "redis": "redis-does-not-answer",
    "failures": "tasks-have-failed",
    "drift": "rows-differ-from-the-contracts",
    "compared": "nothing-was-compared-lately",
    "probes": "nothing-was-probed-lately",
    "disk": "the-disk-is-nearly-full",
    "connections": "the-database-runs-out-of-connections",
}
QUEUE_DEEP = 200
DISK_LOW_PERCENT = 10
CONNECTIONS_PERCENT = 85
COMPARED_LATELY = dt.timedelta(hours=1)
PROBED_LATELY = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Alarm:
    """`grave`: somebody should look now; else today."""

    name: str
    text: str
    grave: bool = False

    @property
    def href(self) -> str:
        return f"/docs/runbook#{ANCHORS[self.name]}"


def of_index(head: Freshness, nodes: tuple[NodeState, ...]) -> Iterator[Alarm]:
    if head.halted:
        yield Alarm("halted", f"The follower has halted: {head.error}", grave=True)
    elif head.state in ("stale", "never"):
        age = formats.duration(round(head.lag_seconds)) if head.lag_seconds else "ever"
        yield Alarm("stale", f"No agreement with the chain for {age}.", grave=True)
    elif head.catching_up:
        yield Alarm("behind", f"The index is {head.lag_blocks:,} blocks behind.")
    bad = [node for node in nodes if node.state in ("resting", "set aside")]
    if nodes and len(bad) == len(nodes):
        yield Alarm("no_node", "No node answers as it should.", grave=True)
    else:
        for node in bad:
            yield Alarm("node", f"{node.name} is {node.state}: {node.reason or 'no reason given'}.")


def of_work(background: Background | None, failed: int) -> Iterator[Alarm]:
    if background is None:
        yield Alarm("redis", "Redis does not answer: no queue, no live updates.", grave=True)
    else:
        if background.silent:
            yield Alarm("worker", "No task of the timetable has run lately.", grave=True)
        if background.queued > QUEUE_DEEP:
            yield Alarm("queue", f"{background.queued:,} tasks wait in the queue.")
    if failed:
        yield Alarm("failures", f"{failed:,} failures of tasks are open.")


def of_truth(last: Reconciliation | None, now: dt.datetime) -> Iterator[Alarm]:
    if last is not None and last.drift:
        text = f"{last.drift:,} values differ from the contracts at block {last.block:,}."
        yield Alarm("drift", text, grave=True)
    if last is None or now - last.at > COMPARED_LATELY:
        yield Alarm("compared", "No comparison with the contracts had a result in the last hour.")


def of_measuring(found: Measuring, now: dt.datetime) -> Iterator[Alarm]:
    if found.probed_at is not None and now - found.probed_at > PROBED_LATELY:
        yield Alarm("probes", f"The last probe was {formats.relative(found.probed_at, now)}.")


def of_storage(found: Storage) -> Iterator[Alarm]:
    if found.free_percent < DISK_LOW_PERCENT:
        text = f"{found.free_percent} % of the disk are free."
        yield Alarm("disk", text, grave=True)
    if found.connections * 100 > found.connections_most * CONNECTIONS_PERCENT:
        text = f"{found.connections} of {found.connections_most} connections are in use."
        yield Alarm("connections", text, grave=True)
