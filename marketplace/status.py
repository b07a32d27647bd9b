"""`/status`: how far the index is, who feeds it, and whether it agrees with the chain."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_safe

from chain import selectors as chain
from chain.models import NodeState
from ledger import reconcile, selectors
from ledger.models import Reconciliation
from marketplace import announcements, components, context, releases
from marketplace.disk import space
from marketplace.freshness import Shown, judge
from marketplace.models import Announcement, AnnouncementKind, Update
from marketplace.twins import twinned

EXPLANATIONS = {
    "ok": gettext_noop("The index agrees with the chain."),
    "late": gettext_noop("The last agreement with the chain is more than 30 seconds ago."),
    "stale": gettext_noop(
        "The last agreement with the chain is more than 5 minutes ago. Pages show an older state."
    ),
    "unreachable": gettext_noop(
        "The chain cannot be reached, or indexing has stopped. Pages show an older state."
    ),
    "none": gettext_noop(
        "Nothing is indexed yet. Lists fill as soon as the first blocks are read."
    ),
}
#: A node's state that the follower has not confirmed for this long is no longer news (seconds).
NODES_STALE = 60
RUNS_SHOWN = 10
TROUBLES_SHOWN = 30


@dataclass(frozen=True)
class ContractLine:
    name: str
    address: str
    start_block: int
    recommended: bool
    coverage: chain.Coverage

    @property
    def percent(self) -> int:
        """Whole percents, 100 only when nothing is missing."""
        return int(self.coverage.share * 100)


@dataclass(frozen=True)
class NodeLine:
    """One RPC URL in words; `tone` of its badge."""

    name: str
    label: str
    tone: str
    reason: str
    head_block: int | None
    latency_ms: int | None
    budget: int | None
    websocket: bool


_ANNOUNCED = {
    "planned": (gettext_noop("planned"), "accent"),
    "open": (gettext_noop("open"), "bad"),
    "over": (gettext_noop("over"), ""),
}


@dataclass(frozen=True)
class Announced:
    """An incident or a maintenance with its updates, the newest first."""

    row: Announcement
    kind: str
    label: str
    tone: str
    updates: tuple[Update, ...]

    @classmethod
    def of(cls, row: Announcement, now: dt.datetime) -> Announced:
        label, tone = _ANNOUNCED[row.state(now)]
        incident = row.kind == AnnouncementKind.INCIDENT
        return cls(
            row,
            _("Incident") if incident else _("Maintenance"),
            _(label),
            "warn" if tone == "bad" and not incident else tone,
            tuple(row.updates.all()),
        )


@dataclass(frozen=True)
class StatusPage:
    """Blocks are None before the first one; `eta_seconds` None when nothing moves."""

    state: str
    explanation: str
    error: str
    head: chain.Freshness
    head_block: int | None
    indexed_block: int | None
    final_block: int | None
    lag_blocks: int
    catching_up: bool
    done: int
    total: int
    logs: chain.LogCount
    contracts: tuple[ContractLine, ...]
    nodes: tuple[NodeLine, ...]
    nodes_at: dt.datetime | None
    nodes_stale: bool
    last: Reconciliation | None
    runs: tuple[Reconciliation, ...]
    room_low: bool
    parts: tuple[components.Line, ...]
    troubles: tuple[components.Trouble, ...]
    announced: tuple[Announced, ...]
    version: str

    @property
    def drift_text(self) -> str:
        if self.last is None or not self.last.drift:
            return ""
        return _(
            "%(n)s of our values differed from what the contracts answered at block %(number)s. "
            "Until that is cleared up, trust the contracts."
        ) % {"n": f"{self.last.drift:,}", "number": f"{self.last.block:,}"}


@require_safe
@twinned(json="/api/v1/status")
def status(request: HttpRequest) -> HttpResponse:
    return render(
        request, "marketplace/status.html", {"page": status_page(context.head_of(request))}
    )


def status_page(head: chain.Freshness) -> StatusPage:
    """SQL: ten queries, whatever the size of the index."""
    now = timezone.now()
    fresh = judge(head)
    parts = components.lines(now)
    last = reconcile.latest()
    nodes = chain.nodes()
    nodes_at = max((n.updated_at for n in nodes), default=None)
    start = min(settings.START_BLOCK, max(0, head.head_block))
    return StatusPage(
        state=fresh.state,
        explanation=_explanation(fresh, last),
        error=head.error if fresh.state == "unreachable" else "",
        head=head,
        head_block=head.head_block if head.head_block >= 0 else None,
        indexed_block=fresh.block,
        final_block=fresh.final_block,
        lag_blocks=fresh.lag_blocks,
        catching_up=fresh.catching_up,
        done=max(0, head.indexed_block - start + 1),
        total=max(0, head.head_block - start + 1),
        logs=chain.log_count(),
        contracts=contract_lines(head.final_block),
        nodes=tuple(node_line(node) for node in nodes),
        nodes_at=nodes_at,
        nodes_stale=nodes_at is not None and (now - nodes_at).total_seconds() > NODES_STALE,
        last=last,
        runs=tuple(Reconciliation.objects.order_by("-pk")[:RUNS_SHOWN]),
        room_low=space().low,
        parts=parts,
        troubles=components.troubles(parts)[:TROUBLES_SHOWN],
        announced=tuple(Announced.of(row, now) for row in announcements.shown(now)),
        version=releases.version(),
    )


def _explanation(fresh: Shown, last: Reconciliation | None) -> str:
    """One sentence above everything; it must not promise more than the parts below."""
    if fresh.state == "ok" and fresh.catching_up:
        return _("The index is catching up with the chain. Pages show an older state.")
    if fresh.state == "ok" and last is not None and last.drift:
        return _("The index has reached the head of the chain, but not every value agrees.")
    return _(EXPLANATIONS[fresh.state])


def contract_lines(final_block: int) -> tuple[ContractLine, ...]:
    """The LedgerManager and every serving contract, with how much of each is stored."""
    serving = selectors.contracts()
    starts = {settings.LEDGER_ADDRESS: settings.START_BLOCK}
    starts |= {address: contract.start_block for address, contract in serving.items()}
    covered = chain.coverage(starts, final_block)
    return tuple(
        ContractLine(
            name=serving[address].service_name if address in serving else "LedgerManager",
            address=address,
            start_block=start,
            recommended=address in serving and serving[address].recommended,
            coverage=covered[address],
        )
        for address, start in starts.items()
    )


_NODES = {
    "ok": (gettext_noop("answers"), "ok"),
    "resting": (gettext_noop("failing"), "warn"),
    "set aside": (gettext_noop("set aside"), "bad"),
    "untried": (gettext_noop("in reserve"), ""),
}


def node_line(node: NodeState) -> NodeLine:
    label, tone = _NODES.get(node.state, (node.state, ""))
    return NodeLine(
        name=node.name,
        label=_(label),
        tone=tone,
        reason=node.reason,
        head_block=node.head_block,
        latency_ms=None if node.latency_ms is None else round(node.latency_ms),
        budget=None if node.calls_per_second is None else round(node.calls_per_second),
        websocket=node.websocket,
    )
