"""One frozen dataclass per page: the template's whole context."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_
from django.utils.translation import pgettext_lazy

from chain import selectors as chain
from ledger import reconcile
from ledger.models import Reconciliation
from marketplace import components, presence, timetable
from marketplace.status import NodeLine, node_line
from ops import alarms, jobs, selectors
from ops.alarms import Alarm
from ops.models import FailedTask, Job, JobState
from ops.staff import Enrolment

_FRESHNESS = {
    "fresh": pgettext_lazy("of the index", "fresh"),
    "late": pgettext_lazy("of the index", "late"),
    "stale": pgettext_lazy("of the index", "stale"),
    "never": pgettext_lazy("of the index", "never"),
    "halted": pgettext_lazy("of the index", "halted"),
}
#: Days over which the database's growth is told.
WEEK = 7
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def size(number: int | None) -> str:
    """Bytes for people: `1.4 GB`."""
    if number is None:
        return _("unknown")
    value, unit = float(number), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


@dataclass(frozen=True)
class TableRow:
    name: str
    size: str
    rows: int | None


@dataclass(frozen=True)
class WebRow:
    pid: int
    sockets: int
    kinds: str
    memory: str
    ending: bool


@dataclass(frozen=True)
class JobRow:
    """`tone` of the badge; `open` while it may still change."""

    job: Job
    label: str
    word: str
    tone: str
    open: bool


@dataclass(frozen=True)
class OpsPage:
    """`/ops`. Parts that cannot be read are None."""

    at: dt.datetime
    may_act: bool
    alarms: tuple[Alarm, ...]
    head: chain.Freshness
    nodes: tuple[NodeLine, ...]
    background: timetable.Background | None
    web: tuple[WebRow, ...] | None
    sockets: int | None
    limits: dict[str, int] | None
    measuring: selectors.Measuring
    last: Reconciliation | None
    failures: tuple[FailedTask, ...]
    failed: int
    retriable: int
    database: str
    grown: str
    redis: str
    disk: str
    storage: selectors.Storage
    tables: tuple[TableRow, ...]
    versions: tuple[tuple[str, str], ...]
    buttons: tuple[jobs.Button, ...]
    jobs: tuple[JobRow, ...]

    @property
    def head_said(self) -> str:
        """How fresh the index is, in a word."""
        return str(_FRESHNESS.get(self.head.state, self.head.state))

    @property
    def grave(self) -> bool:
        return any(alarm.grave for alarm in self.alarms)


@dataclass(frozen=True)
class JobPage:
    row: JobRow
    button: jobs.Button | None


@dataclass(frozen=True)
class SignInPage:
    """`step`: `password`, `code`, `enrol`, or `again`, after which `fields` go to `next`; `codes`
    are shown once, after the enrolment.
    """

    step: str
    next: str
    name: str = ""
    error: str = ""
    enrolment: Enrolment | None = None
    codes: tuple[str, ...] = ()
    left: int = 0
    fields: tuple[tuple[str, str], ...] = ()


def ops_page(now: dt.datetime, *, may_act: bool) -> OpsPage:
    """SQL: about 20 queries, whatever the tables hold."""
    head, nodes = chain.head(now), chain.nodes()
    background, last = timetable.background(now), reconcile.latest()
    measuring, storage = selectors.measuring(now), selectors.storage()
    failures, failed, retriable = selectors.failures()
    grown = components.growth(now, WEEK)
    web = selectors.web()
    found = (
        *alarms.of_index(head, nodes),
        *alarms.of_work(background, failed),
        *alarms.of_truth(last, selectors.set_up(now), now),
        *alarms.of_clock(head, now),
        *alarms.of_measuring(measuring, now),
        *alarms.of_dollars(selectors.in_dollars(), now),
        *alarms.of_storage(storage),
    )
    return OpsPage(
        at=now,
        may_act=may_act,
        alarms=tuple(sorted(found, key=lambda alarm: not alarm.grave)),
        head=head,
        nodes=tuple(node_line(node) for node in nodes),
        background=background,
        web=None if web is None else tuple(web_row(one) for one in web),
        sockets=None if web is None else sum(sum(one.sockets.values()) for one in web),
        limits=selectors.limits_hit(),
        measuring=measuring,
        last=last,
        failures=failures,
        failed=failed,
        retriable=retriable,
        database=size(storage.database),
        grown=size(grown) if grown and grown > 0 else "",
        redis=size(storage.redis),
        disk=size(storage.disk.free),
        storage=storage,
        tables=tuple(TableRow(t.name, size(t.size), t.rows) for t in storage.tables),
        versions=selectors.versions(),
        buttons=tuple(jobs.BUTTONS.values()),
        jobs=tuple(job_row(job, now) for job in selectors.jobs()),
    )


def web_row(one: presence.Web) -> WebRow:
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(one.sockets.items()))
    return WebRow(one.pid, sum(one.sockets.values()), kinds, size(one.memory), one.ending)


_STATES = {
    JobState.WAITING: N_("waiting for a worker"),
    JobState.RUNNING: N_("running"),
    JobState.ENDED: N_("ended"),
    JobState.FAILED: N_("failed"),
    JobState.LOST: N_("lost"),
}


def job_row(job: Job, now: dt.datetime) -> JobRow:
    button = jobs.BUTTONS.get(job.name)
    lost = job.lost(now) or job.state == JobState.LOST
    if lost:
        tone = "bad"
        word = _("no worker took it") if job.began_at is None else _("lost: its worker died")
    elif job.state == JobState.FAILED:
        word, tone = _("exit code %(code)s") % {"code": job.code}, "bad"
    else:
        word = _(_STATES[JobState(job.state)])
        tone = {JobState.ENDED: "ok", JobState.RUNNING: "accent"}.get(JobState(job.state), "")
    return JobRow(job, _(button.label) if button else job.name, word, tone, job.open and not lost)
