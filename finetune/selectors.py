"""Reads for the pages of fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import clock, links, money
from accounts.http import uuid_of
from accounts.models import User
from attestation import selectors as attestation
from attestation.selectors import ServiceKey
from finetune import offers as offered
from finetune import reading, services, stages
from finetune.models import Dataset, Place, PlaceState, Task, Way
from finetune.pages import Blocked, DatasetView, Deadline, OfferRow, TaskRow, bars, time_left
from ledger import selectors as ledger
from ledger.models import Kind, ServingContract
from ledger.records import Deliverable, Listing, Position
from moderation import selectors as moderation
from probes.charts import Chart, Point, Value, series
from protocol import datasets, tuning

MOST_OFFERS = 50
_TABLE_POINTS = 400


def offers() -> tuple[OfferRow, ...]:
    """What is offered for fine-tuning, what providers said of themselves, and moderators of them
    (6 queries)."""
    query = ledger.ServiceQuery(kind=Kind.FINE_TUNING.value)
    found = ledger.services(query, page_size=MOST_OFFERS).items
    standings = attestation.standings([ServiceKey.of(listing) for listing in found])
    told = offered.told(found)
    decided = moderation.of_listings(found)
    return tuple(
        OfferRow(
            listing,
            standings[ServiceKey.of(listing)],
            told.get((listing.provider, listing.serving)),
            decided[listing.serving, listing.provider],
        )
        for listing in found
    )


def offers_to(user: User) -> tuple[OfferRow, ...]:
    """The same with what keeps each from delivering to this person (10 queries)."""
    held = ledger.account(user.address).positions
    found = {(x.provider, x.serving): one for x in held if (one := refusing(x)) is not None}
    named = [number for one in found.values() if (number := uuid_of(one.id))]
    rows = user.tuning_tasks.filter(remote_id__in=named)
    tasks: dict[tuple[str, UUID | None], Task] = {(x.provider, x.remote_id): x for x in rows}

    def blocked(listing: Listing) -> Blocked | None:
        one = found.get((listing.provider, listing.serving))
        return Blocked(one, tasks.get((listing.provider, uuid_of(one.id)))) if one else None

    return tuple(replace(offer, blocked=blocked(offer.listing)) for offer in offers())


def elsewhere(held: Iterable[Position], offers: Iterable[OfferRow]) -> tuple[str, ...]:
    """Providers that the list leaves out (hidden, gone, or past its end) where tasks of a person
    may be all the same: a task needs an account there, and `held` are all that they have."""
    shown = {offer.listing.provider for offer in offers}
    there = (p.provider for p in held if p.kind == Kind.FINE_TUNING and p.provider not in shown)
    return tuple(dict.fromkeys(there))


def tasks(user: User) -> QuerySet[Task]:
    return user.tuning_tasks.order_by("-created_at")


def datasets_of(user: User) -> QuerySet[Dataset]:
    """The newest first; `published`: in 0G storage, where a task finds one without its bytes
    here."""
    there = Place.objects.filter(way=Way.STORAGE, state=PlaceState.THERE, dataset=OuterRef("pk"))
    return user.datasets.order_by("-created_at").annotate(published=Exists(there))


def dataset_views(user: User) -> tuple[DatasetView, ...]:
    """Those that a task can be made with, once they are good."""
    usable = Q(file__isnull=False) | Q(published=True)
    found = datasets_of(user).filter(usable).select_related("file")
    return tuple(
        DatasetView(
            dataset,
            bars(dataset),
            tuple(services.preview(dataset)),
            few=0 < dataset.rows < datasets.ADVISED_ROWS,
        )
        for dataset in found
    )


def log_text(task: Task) -> str:
    return "".join(task.log_parts.order_by("offset").values_list("text", flat=True))


def deadlines(pairs: Iterable[tuple[Task, Deliverable | None]]) -> dict[UUID, Deadline]:
    """Until when to acknowledge each result that waits for it (2 queries)."""
    waiting = [(task, named) for task, named in pairs if named and named.waits]
    if not waiting:
        return {}
    contracts = {one.address: one for one in ServingContract.current.all()}
    lead = clock.lead_seconds()
    now = int(timezone.now().timestamp()) + lead
    return {
        task.pk: _deadline(task, named, contracts[task.serving], lead, now)
        for task, named in waiting
        if task.serving in contracts
    }


def task_rows(
    user: User, held: Iterable[Position], most: int, *, start: int = 0, away: bool = False
) -> tuple[TaskRow, ...]:
    """The newest tasks of a person's list after the first `start`, or those put `away`, with what
    is left to acknowledge those that wait for it by the chain's word (at most 3 queries): they
    cannot be put away. `held`: the person's accounts."""
    named = {(p.provider, p.serving, one.id): one for p in held for one in p.deliverables}
    waits = [uuid_of(one.id) for one in named.values() if one.waits]
    put_away = Q(put_away_at__isnull=False) & ~Q(remote_id__in=[id_ for id_ in waits if id_])
    rows = tasks(user).filter(put_away if away else ~put_away)
    found = list(rows.select_related("dataset")[start : start + most])
    pairs = [
        (task, named.get((task.provider, task.serving, str(task.remote_id)))) for task in found
    ]
    left = deadlines(pairs)
    return tuple(TaskRow(task, stages.meaning(task, one), left.get(task.pk)) for task, one in pairs)


def _deadline(
    task: Task, named: Deliverable, contract: ServingContract, lead: int, now: int
) -> Deadline:
    """Until when it is to be acknowledged by the refund lock time of today, and what missing it
    costs by the contract's penalty. `lead`: how far the chain's clock is ahead of ours, in seconds;
    `now` by that clock."""
    due = tuning.acknowledge_by(named.timestamp_unix, contract.lock_time_seconds, now)
    percent = contract.penalty_percentage or 0
    return Deadline(due, tuning.penalty(task.fee or 0, percent), percent, lead)


def lacking(task: Task, held: Position | None, named: Deliverable | None) -> tuple[int, str]:
    """Neuron that its owner's account lacks while its result waits to be settled, and the form that
    brings them: the contract asks for the whole fee there, refunds included, or settles nothing
    (contracts.md 6.5)."""
    if held is None or named is None or named.settled or held.balance >= (task.fee or 0):
        return 0, ""
    lacks = (task.fee or 0) - held.balance
    # A transfer takes back first what is being retrieved.
    amount = money.exact(lacks + held.pending_refund)
    then = f"/fine-tuning/tasks/{task.pk}"
    return lacks, links.form("transfer", held, amount=amount, then=then)


def chart(task: Task, found: reading.Curve) -> Chart | None:
    """Loss by step; None where the log tells none."""
    if not found.points:
        return None
    every = max(1, len(found.points) // _TABLE_POINTS)
    told = [
        point
        for at, point in enumerate(found.points)
        if at % every == 0 or point.eval_loss or point is found.points[-1]
    ]
    evaluated = any(point.eval_loss for point in told)
    lines = (
        series(_("Training loss"), _("Evaluation loss"))
        if evaluated
        else series(_("Training loss"))
    )
    points = tuple(
        Point(
            point.at or task.created_at,
            (_value(point.loss), _value(point.eval_loss)) if evaluated else (_value(point.loss),),
            number=point.step,
        )
        for point in told
    )
    first, last = told[0].loss, next((p.loss for p in reversed(told) if p.loss), "")
    title = (
        _("Loss %(first)s → %(last)s") % {"first": first, "last": last}
        if first and last
        else _("Loss")
    )
    return Chart(
        id="loss",
        title=title,
        unit="loss",
        series=lines,
        points=points,
        note=(
            _(
                "By step, as the provider’s log says. Lower is closer to your examples; an "
                "evaluation loss that rises meanwhile means that they are learnt by heart."
            )
            if evaluated
            else _("By step, as the provider’s log says. Lower is closer to your examples.")
        ),
        axis=_("Step"),
        csv=f"/fine-tuning/tasks/{task.pk}/loss.csv",
    )


def left(task: Task, found: reading.Curve) -> str:
    """How far the training is and how long it may take, or how far a failed one came; empty before
    it, and once it is done."""
    if task.progress not in (tuning.TRAINING, tuning.FAILED):
        return ""
    timed = task.progress == tuning.TRAINING and not task.silent
    return time_left(reading.left(found) if timed else None, found)


def _value(text: str) -> Value:
    return Value(text, text) if text else Value(text="–")


def shown_lines(lines: Iterable[reading.Line], level: str) -> tuple[reading.Line, ...]:
    """Those of a level and above, and those without one; of every level for an unknown one."""
    order = reading.LEVELS
    least = order.index(level) if level in order else 0
    return tuple(line for line in lines if not line.level or order.index(line.level) >= least)


def blocked(user: User, held: Position | None, task: UUID | None = None) -> Blocked | None:
    """The result that stops the next delivery of this pair, or that of one `task` (contracts.md 5):
    the newest, not acknowledged. Settled so, it stops every later one for good (1 query)."""
    named = () if held is None else held.deliverables
    found = refusing(held)
    own = task is not None and any(one.id == str(task) for one in named)
    if held is None or found is None or own:
        return None
    id_ = uuid_of(found.id)
    rows = user.tuning_tasks.filter(provider=held.provider)
    return Blocked(found, rows.filter(remote_id=id_).first() if id_ else None)


def refusing(held: Position | None) -> Deliverable | None:
    """The result beside which the contract takes no further one of this pair."""
    newest = held.deliverables[-1] if held is not None and held.deliverables else None
    return newest if newest is not None and not newest.acknowledged else None
