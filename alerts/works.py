"""What was made for somebody while they looked elsewhere: pictures, transcripts, embeddings, and
fine-tuned models, which have to be acknowledged in time. Reads only, as in `conditions`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, Subquery

from accounts import clock
from accounts.addresses import short
from accounts.http import uuid_of
from alerts import words
from alerts.conditions import Found, Hit, newest, oldest, positions, since_made
from alerts.models import Rule
from finetune.models import Passage, Task
from inference.media.models import File, Role
from inference.models import Medium, State, Turn
from ledger.models import Settlement, SubAccount
from ledger.records import Deliverable, Position
from protocol import tuning

#: From the first request of a work to the end of its last; what is quicker somebody sees coming.
LONG_WORK = dt.timedelta(minutes=1)


def work(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """Long works that ended since the rule was made, of the last day: each is told at once, and
    found again it is told no more (1 query)."""
    since = max(oldest(rules, now), now - dt.timedelta(days=1))
    found = works_since({rule.user_id for rule in rules}, since)
    return {rule.pk: since_made(rule, found.get(rule.user_id, ())) for rule in rules}


def works_since(users: Iterable[int], since: dt.datetime) -> Mapping[int, list[Hit]]:
    """The same by user, newest first (1 query). What was said is in none of it. Raises Crowded."""
    owners = set(users)
    siblings = Turn.objects.filter(chat=OuterRef("chat")).order_by("pk")
    pieces = File.objects.filter(chat=OuterRef("chat"), role=Role.SPOKEN)
    rows = Turn.objects.filter(
        chat__owner__in=owners,
        chat__medium__in=words.READY,
        chat__deleted_at=None,
        ended_at__gt=since,
    )
    rows = rows.exclude(chat__key_sealed="").exclude(state__in=(State.OPEN, State.STOPPED))
    rows = rows.annotate(
        begun=Subquery(siblings.values("created_at")[:1]),
        more=Exists(siblings.filter(pk__gt=OuterRef("pk"))),
        # Between two pieces of a recording nothing is being asked, and it is not ready.
        lacking=Exists(pieces.filter(~Exists(_ANSWERED))),
    ).filter(more=False, ended_at__gte=F("begun") + LONG_WORK)
    found: dict[int, list[Hit]] = defaultdict(list)
    for row in newest(rows.select_related("chat").order_by("-ended_at"), len(owners)):
        if row.state == State.ANSWERED and row.lacking:
            continue
        medium = Medium(row.chat.medium)
        said = words.READY if row.state == State.ANSWERED else words.NOT_READY
        found[row.chat.owner_id].append(
            Hit(
                subject=str(row.chat_id),
                occurrence=f"work:{row.pk}",
                title=said[medium],
                text=words.MADE_AT.format(provider=short(row.provider)),
                path=f"{_PLACES[medium]}/{row.chat_id}",
                provider=row.provider,
                at=row.ended_at,
            )
        )
    return found


_ANSWERED = Turn.objects.filter(state=State.ANSWERED, job__piece=OuterRef("pk"))
_PLACES = {
    Medium.IMAGES: "/playground/images",
    Medium.SPEECH: "/playground/audio",
    Medium.EMBED: "/playground/embeddings",
}


# --- fine-tuning ----------------------------------------------------------------------------------

#: A result may be settled so long after its provider called it finished, and is told all the same.
#: Shorter than the inbox is kept, which knows what was told.
SETTLED_WITHIN = dt.timedelta(days=90)
#: Hours before the end at which somebody is reminded.
REMINDERS = (24, 6, 1)


def task(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """Stages that matter, as far as they were heard of since the rule was made (4 queries)."""
    users = {rule.user_id for rule in rules}
    found = tasks_since(users, oldest(rules, now), finished=now - SETTLED_WITHIN)
    return {rule.pk: since_made(rule, found.get(rule.user_id, ())) for rule in rules}


def tasks_since(
    users: Iterable[int], since: dt.datetime, *, finished: dt.datetime | None = None
) -> Mapping[int, list[Hit]]:
    """The same by user, newest first (4 queries at most). Raises Crowded. What a provider calls
    finished is told once the chain has it settled: it may have been so without the user, and long
    after that word, which is read from `finished` on; then that is when it happened."""
    owners = set(users)
    heard = Q(at__gt=since) | Q(stage=tuning.FINISHED, at__gt=finished or since)
    rows = Passage.objects.filter(
        heard, task__user__in=owners, stage__in=words.TASKS
    ).select_related("task__user")
    passed = list(newest(rows.order_by("-at"), len(owners)))
    ended = [row.task for row in passed if row.stage == tuning.FINISHED]
    named = _named(ended)
    settled = _settled(ended, named) if finished else {}
    found: dict[int, list[Hit]] = defaultdict(list)
    for row in passed:
        result = named.get(row.task_id) if row.stage == tuning.FINISHED else None
        if result is not None and not result["settled"]:
            continue
        lost = result is not None and not result["acknowledged"]
        title = words.TASK_LOST if lost else words.TASKS[row.stage]
        found[row.task.user_id].append(
            Hit(
                subject=f"{row.task_id}:{row.stage}",
                occurrence=f"{row.task_id}:{row.stage}",
                title=title.format(model=row.task.model[:60]),
                text=words.PENALTY if lost else "",
                path=f"/fine-tuning/tasks/{row.task_id}",
                provider=row.task.provider,
                at=max(row.at, settled.get(row.task_id, row.at)),
            )
        )
    return found


def _named(tasks: Sequence[Task]) -> Mapping[UUID, Mapping[str, Any]]:
    """What the chain says of these tasks' results, by task (1 query, none without tasks)."""
    if not tasks:
        return {}
    wanted = {
        (task.user.address, task.provider, task.serving, str(task.remote_id)): task.pk
        for task in tasks
    }
    held = SubAccount.current.filter(
        user__in={user for user, *_ in wanted}, provider__in={one for _, one, *_ in wanted}
    )
    return {
        wanted[key]: raw
        for row in held
        for raw in row.deliverables
        if (key := (row.user, row.provider, row.serving, str(raw["id"]))) in wanted
    }


def _settled(
    tasks: Sequence[Task], named: Mapping[UUID, Mapping[str, Any]]
) -> Mapping[UUID, dt.datetime]:
    """When each of these results was settled, by this machine's clock: at the first settlement of
    its pair since it came, which is never later than its own (2 queries, none without results)."""
    ended = [task for task in tasks if named.get(task.pk, {}).get("settled")]
    if not ended:
        return {}
    told = {task.pk: named[task.pk]["timestamp"] for task in ended}
    came = {pk: dt.datetime.fromtimestamp(at, dt.UTC) for pk, at in told.items()}
    rows = Settlement.objects.filter(
        user__in={task.user.address for task in ended},
        provider__in={task.provider for task in ended},
        serving__in={task.serving for task in ended},
        at__gte=min(came.values()),
    )
    of_pair: dict[tuple[str, str, str], list[dt.datetime]] = defaultdict(list)
    for *pair, at in rows.order_by("at").values_list("user", "provider", "serving", "at"):
        of_pair[pair[0], pair[1], pair[2]].append(at)
    lead = dt.timedelta(seconds=clock.lead_seconds())
    found: dict[UUID, dt.datetime] = {}
    for task in ended:
        since = of_pair[task.user.address, task.provider, task.serving]
        if first := next((at for at in since if at >= came[task.pk]), None):
            found[task.pk] = first - lead
    return found


def deadline(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """The latest reminder that is due for each result that waits by the chain's word, whatever its
    provider says of the task, and whoever made it: before brokers' usual hours are over, and again
    before the longest that one may give are (4 queries)."""
    owners = {rule.user.address: rule.user_id for rule in rules}
    waiting = [
        (held, one) for those in positions(rules).values() for held in those
        for one in held.deliverables if one.waits
    ]  # fmt: skip
    ids = filter(None, (uuid_of(one.id) for _, one in waiting))
    rows = Task.objects.filter(user__in=owners.values(), remote_id__in=list(ids))
    made = {
        (row.user_id, row.provider, row.serving, str(row.remote_id)): row
        for row in newest(rows.order_by("-created_at"), len(owners))
    }
    found: dict[int, list[Hit]] = defaultdict(list)
    now_unix = clock.now_unix()
    for held, one in waiting:
        due = tuning.acknowledge_by(one.timestamp_unix, held.lock_time_seconds, now_unix)
        hours = (due.at - now_unix) / 3600
        marks = [mark for mark in REMINDERS if 0 < hours <= mark]
        if marks:
            owner = owners[held.user]
            task = made.get((owner, held.provider, held.serving, one.id))
            found[owner].append(_reminder(held, one, task, min(marks), late=due.late))
    return {rule.pk: found.get(rule.user_id, []) for rule in rules}


def _reminder(held: Position, one: Deliverable, row: Task | None, hours: int, *, late: bool) -> Hit:
    """`row`: its task, where it is on its owner's list. `late`: brokers' usual hours are over, and
    it counts to the end of the longest."""
    left = words.LAST_HOUR if hours == 1 else words.HOURS_LEFT
    name = f"{held.serving}:{held.provider}:{one.id}"
    about = str(row.pk) if row else sha256(name.encode()).hexdigest()  # of any length
    about += f":{hours}" + (":late" if late else "")
    unlisted = words.UNLISTED.format(provider=short(held.provider))
    said = ((words.LATE, late), (words.FORFEIT, True), (unlisted, row is None))
    return Hit(
        subject=about,
        occurrence=about,
        title=left.format(hours=hours, model=row.model[:60] if row else words.A_MODEL),
        text=" ".join(sentence for sentence, holds in said if holds),
        path=f"/fine-tuning/tasks/{row.pk}" if row else "/fine-tuning",
        provider=held.provider,
    )
