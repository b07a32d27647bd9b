"""What is wrong right now, in words, each with its place in the runbook. Pure: facts are passed in.

`/ops` shows these; `docs/runbook.md` has a section for each (a test compares).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_
from django.utils.translation import ngettext

from accounts import timeskip
from chain.models import NodeState
from chain.selectors import Freshness
from ledger.models import Reconciliation
from marketplace import formats
from marketplace.doctor import CLOCK_SLACK
from marketplace.timetable import Background
from ops.selectors import Dollars, Measuring, Storage

#: Anchor in the runbook by alarm; every alarm below is one of these.
ANCHORS = {
    "halted": "the-follower-has-halted",
    "stale": "the-index-is-stale",
    "behind": "the-index-is-behind",
    "clock": "the-clock-is-wrong",
    "node": "a-node-fails",
    "no_node": "no-node-answers",
    "queue": "the-queue-is-deep",
    "worker": "no-task-has-run",
    "redis": "redis-does-not-answer",
    "failures": "tasks-have-failed",
    "drift": "rows-differ-from-the-contracts",
    "compared": "nothing-was-compared-lately",
    "probes": "nothing-was-probed-lately",
    "dollars": "the-price-in-dollars-is-old",
    "disk": "the-disk-is-nearly-full",
    "connections": "the-database-runs-out-of-connections",
}
#: States of a node that does not answer as it should.
_BAD = (N_("resting"), N_("set aside"))
QUEUE_DEEP = 200
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
        yield Alarm(
            "halted", _("The follower has halted: %(error)s") % {"error": head.error}, grave=True
        )
    elif head.state in ("stale", "never"):
        text = _("The index has never agreed with the chain.")
        if head.lag_seconds:
            age = formats.duration(round(head.lag_seconds))
            text = _("No agreement with the chain for %(age)s.") % {"age": age}
        yield Alarm("stale", text, grave=True)
    elif head.catching_up:
        text = _("The index is %(count)s blocks behind.") % {"count": f"{head.lag_blocks:,}"}
        yield Alarm("behind", text)
    bad = [node for node in nodes if node.state in _BAD]
    if nodes and len(bad) == len(nodes):
        yield Alarm("no_node", _("No node answers as it should."), grave=True)
    else:
        for node in bad:
            text = _("%(node)s is %(state)s: %(reason)s.") % {
                "node": node.name,
                "state": _(node.state),
                "reason": node.reason or _("no reason given"),
            }
            yield Alarm("node", text)


def of_clock(head: Freshness, now: dt.datetime) -> Iterator[Alarm]:
    """Only this way is certain: an old block may be an idle chain's."""
    if head.indexed_at is not None and head.indexed_at - now > CLOCK_SLACK:
        age = formats.duration(round((head.indexed_at - now).total_seconds()))
        text = _("This machine’s clock is %(age)s behind the chain’s newest block.") % {"age": age}
        if timeskip.possible():
            text += " " + _("Days that were skipped on this chain do the same.")
        yield Alarm("clock", text, grave=True)


def of_work(background: Background | None, failed: int) -> Iterator[Alarm]:
    if background is None:
        yield Alarm("redis", _("Redis does not answer: no queue, no live updates."), grave=True)
    else:
        if background.silent:
            yield Alarm("worker", _("No task of the timetable has run lately."), grave=True)
        if background.queued > QUEUE_DEEP:
            text = _("%(count)s tasks wait in the queue.") % {"count": f"{background.queued:,}"}
            yield Alarm("queue", text)
    if failed:
        text = ngettext(
            "%(count)s failure of a task is open.", "%(count)s failures of tasks are open.", failed
        ) % {"count": f"{failed:,}"}
        yield Alarm("failures", text)


def of_truth(last: Reconciliation | None, since: dt.datetime, now: dt.datetime) -> Iterator[Alarm]:
    """`since`: when the site was set up; the first comparison has as long from then on."""
    if last is not None and last.drift:
        text = ngettext(
            "%(count)s value differs from the contracts at block %(block)s.",
            "%(count)s values differ from the contracts at block %(block)s.",
            last.drift,
        ) % {"count": f"{last.drift:,}", "block": f"{last.block:,}"}
        yield Alarm("drift", text, grave=True)
    if now - (last.at if last is not None else since) > COMPARED_LATELY:
        yield Alarm(
            "compared", _("No comparison with the contracts had a result in the last hour.")
        )


def of_measuring(found: Measuring, now: dt.datetime) -> Iterator[Alarm]:
    if found.probed_at is not None and now - found.probed_at > PROBED_LATELY:
        ago = formats.relative(found.probed_at, now)
        yield Alarm("probes", _("The last probe was %(ago)s.") % {"ago": ago})


def of_dollars(found: Dollars | None, now: dt.datetime) -> Iterator[Alarm]:
    if found is None:
        return
    why = found.problem or _("it said nothing newer, or no worker asked")
    if found.price is not None and found.price.late(now):
        text = _("The newest price of 0G in US dollars is from %(ago)s; %(source)s: %(why)s.") % {
            "ago": formats.relative(found.price.at, now),
            "source": found.source,
            "why": why,
        }
        yield Alarm("dollars", text)
    elif found.price is None and found.problem:
        text = _("There is no price of 0G in US dollars; %(source)s: %(why)s.")
        yield Alarm("dollars", text % {"source": found.source, "why": why})


def of_storage(found: Storage) -> Iterator[Alarm]:
    if found.disk.low:
        text = _("%(percent)s %% of the web processes’ disk are free.") % {
            "percent": found.disk.percent
        }
        yield Alarm("disk", text, grave=True)
    if found.connections * 100 > found.connections_most * CONNECTIONS_PERCENT:
        text = _("%(used)s of %(most)s connections are in use.") % {
            "used": found.connections,
            "most": found.connections_most,
        }
        yield Alarm("connections", text, grave=True)
