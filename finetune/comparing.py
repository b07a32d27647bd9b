"""Two to four runs of one person beside each other: what was set, what it cost, how the losses went
(features.md H13). Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from django.utils.translation import gettext as _

from accounts import money
from accounts.addresses import short
from accounts.http import uuid_of
from accounts.models import User
from finetune import pages, reading, selectors
from finetune.models import Task
from probes.charts import Chart, Point, Value, series
from protocol import tuning

FEWEST, MOST = 2, 4
#: So many tasks can be chosen from.
_NEWEST = 50
#: Rows of the table behind the drawing at most.
_TABLE_POINTS = 200
UNKNOWN = "–"


@dataclass(frozen=True)
class Run:
    """One column: `name` tells it from the others, `curve` is what its log says."""

    task: Task
    name: str
    curve: reading.Curve

    @property
    def first(self) -> str:
        return next((point.loss for point in self.curve.points if point.loss), "")

    @property
    def last(self) -> str:
        return next((point.loss for point in reversed(self.curve.points) if point.loss), "")

    @property
    def last_evaluation(self) -> str:
        told = (point.eval_loss for point in reversed(self.curve.points))
        return next((loss for loss in told if loss), "")


@dataclass(frozen=True)
class Row:
    """A fact of every run; `best`: the column that wins by a stated rule, None where none does."""

    label: str
    values: tuple[str, ...]
    best: int | None = None

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class ComparePage:
    """`choices`: the person's runs, those that are shown marked; `chart` None without losses."""

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    chart: Chart | None
    choices: tuple[tuple[Task, bool], ...]


def page(user: User, wanted: Sequence[str]) -> ComparePage:
    """What is asked for by ids, others' and unknown ones left out, to choose from the newest (2
    queries, 3 for an older one, and 1 per run)."""
    tasks = selectors.tasks(user).select_related("dataset")
    ids = [id_ for id_ in map(uuid_of, wanted[: 2 * MOST]) if id_ is not None]
    known = {task.pk: task for task in tasks[:_NEWEST]}
    if older := [id_ for id_ in ids if id_ not in known]:
        known |= {task.pk: task for task in tasks.filter(pk__in=older)}
    chosen = [known[id_] for id_ in dict.fromkeys(ids) if id_ in known][:MOST]
    runs = tuple(
        Run(task, _name(place, task), reading.curve(reading.parse(selectors.log_text(task))))
        for place, task in enumerate(chosen, 1)
    )
    enough = len(runs) >= FEWEST
    return ComparePage(
        runs=runs,
        rows=_rows(runs) if enough else (),
        chart=_chart(runs) if enough else None,
        choices=tuple((task, task in chosen) for task in known.values()),
    )


def _name(place: int, task: Task) -> str:
    return _("Run %(number)s, %(id)s") % {"number": place, "id": str(task.remote_id)[:8]}


def _rows(runs: Sequence[Run]) -> tuple[Row, ...]:
    settings = [_settings(run.task) for run in runs]
    return (
        Row(_("Base model"), tuple(run.task.model or UNKNOWN for run in runs)),
        Row(_("Provider"), tuple(short(run.task.provider) for run in runs)),
        Row(_("Dataset"), tuple(_dataset(run.task) for run in runs)),
        *(
            Row(_(label), tuple(one.get(name, UNKNOWN) for one in settings))
            for name, (label, _hint) in pages.SETTINGS.items()
        ),
        Row(_("State"), tuple(run.task.progress for run in runs)),
        Row(_("Steps told"), tuple(str(run.curve.step or UNKNOWN) for run in runs)),
        Row(_("First loss"), tuple(run.first or UNKNOWN for run in runs)),
        _least(_("Last loss"), [run.last for run in runs]),
        _least(_("Last evaluation loss"), [run.last_evaluation for run in runs]),
        Row(_("Fee"), tuple(_fee(run.task) for run in runs)),
    )


def _settings(task: Task) -> dict[str, str]:
    """As they were written; nothing where they cannot be read."""
    try:
        found = tuning.parse_parameters(task.parameters)
    except tuning.BadParameters:
        return {}
    return {
        name: format(value, "f") if isinstance(value, Decimal) else str(value)
        for name, value in vars(found).items()
    }


def _dataset(task: Task) -> str:
    return task.dataset.name if task.dataset else task.dataset_hash[:12] or UNKNOWN


def _fee(task: Task) -> str:
    return UNKNOWN if task.fee is None else f"{money.short(task.fee)} 0G"


def _least(label: str, losses: Sequence[str]) -> Row:
    """The lowest wins, where every run has one and one alone is lowest."""
    values = tuple(loss or UNKNOWN for loss in losses)
    try:
        numbers = [Decimal(loss) for loss in losses]
    except InvalidOperation:
        return Row(label, values)
    if not all(number.is_finite() for number in numbers) or numbers.count(min(numbers)) > 1:
        return Row(label, values)
    return Row(label, values, numbers.index(min(numbers)))


def _chart(runs: Sequence[Run]) -> Chart | None:
    """Training losses by step, one line for each run."""
    told = [{point.step: point for point in run.curve.points if point.loss} for run in runs]
    steps = sorted({step for points in told for step in points})
    if not steps:
        return None
    every = -(-len(steps) // _TABLE_POINTS)
    shown = [step for at, step in enumerate(steps) if at % every == 0 or step == steps[-1]]
    return Chart(
        id="losses",
        title=_("Training loss, run by run"),
        unit="loss",
        series=series(*(run.name for run in runs)),
        points=tuple(
            Point(
                runs[0].task.created_at,
                tuple(
                    Value(points[step].loss, points[step].loss)
                    if step in points
                    else Value(text=UNKNOWN)
                    for points in told
                ),
                number=step,
            )
            for step in shown
        ),
        note=_(
            "By step, as the providers’ logs say; losses of other data or models do not compare"
        ),
        axis=_("Step"),
    )
