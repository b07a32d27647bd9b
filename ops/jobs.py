"""Buttons of `/ops`: each is a management command, run by a worker, one of a kind at a time."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError, call_command
from django.db import Error as DatabaseError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts.errors import Problem
from accounts.models import User
from marketplace import scrub
from net import queue
from net.postgres.trouble import advice
from ops.models import Job, JobState

log = logging.getLogger(__name__)

#: Characters of output that are kept, its end.
MOST_OUTPUT = 64_000
#: Output reaches the page this fast; the worker's sign of life is this old at most (seconds).
WRITTEN_EVERY, BEAT_EVERY = 1.0, 5.0
KEPT_JOBS = 200


@dataclass(frozen=True)
class Button:
    """`typed`: the word that has to be typed before it starts, since it cannot be taken back.

    `label` and `text` are translated where they are shown.
    """

    name: str
    label: str
    text: str
    command: tuple[str, ...]
    typed: str = ""

    @property
    def line(self) -> str:
        return "manage.py " + " ".join(self.command)


BUTTONS = {
    button.name: button
    for button in (
        Button(
            "doctor",
            N_("Check surroundings"),
            N_("Database, cache, nodes and contracts, one line each."),
            ("doctor",),
        ),
        Button(
            "check_index",
            N_("Compare with the contracts"),
            N_("Every derived row against contract views at one block. Asks the node a lot."),
            ("check_index",),
        ),
        Button(
            "reverify",
            N_("Judge evidence again"),
            N_("Stored runs by today’s engine: says which verdicts would differ, changes nothing."),
            ("reverify",),
        ),
        Button(
            "probe",
            N_("Probe what is due"),
            N_("Looks at every service whose next look is due."),
            ("probe",),
        ),
        Button(
            "prune_dry_run",
            N_("Count what is old"),
            N_("How many rows the next button would delete."),
            ("prune", "--dry-run"),
        ),
        Button(
            "prune",
            N_("Delete what is old"),
            N_("Measurements, sessions and logs older than they are kept. Cannot be undone."),
            ("prune",),
            typed="prune",
        ),
        Button(
            "replay",
            N_("Rebuild the index"),
            N_(
                "Empties every derived table and folds the stored facts again. Pages show an older "
                "state until it is done; the follower waits."
            ),
            ("replay",),
            typed="replay",
        ),
    )
}


def destroys(name: str, typed: str) -> bool:
    """Whether this press would start a command that cannot be taken back."""
    button = BUTTONS.get(name)
    return button is not None and bool(button.typed) and typed.strip() == button.typed


def start(
    name: str, user: User, typed: str = "", record: Callable[[Job], None] = lambda job: None
) -> Job:
    """Queue a command; `record` is called in the transaction of its row. Raises Problem: unknown,
    not confirmed, one is running, no queue."""
    button = BUTTONS.get(name)
    if button is None:
        raise Problem("unknown_command", _("There is no such button."), status=404)
    if button.typed and typed.strip() != button.typed:
        raise Problem(
            "not_confirmed",
            _("Type “%(word)s” to start this.") % {"word": button.typed},
            _("Nothing was started."),
            status=422,
        )
    bury()
    try:
        with transaction.atomic():
            job = Job.objects.create(name=name, started_by=user, created_at=timezone.now())
            record(job)
    except IntegrityError:
        raise Problem(
            "already_running",
            _("This command is running already."),
            _("Wait for its end."),
            status=409,
        ) from None
    from ops.tasks import run_job

    if not queue.put(run_job, str(job.pk)):
        _end(job, JobState.FAILED, 1, "The queue does not answer, so no worker can be told.")
        raise Problem(
            "queue_unreachable", _("The queue does not answer."), _("Try again."), status=503
        )
    old = list(Job.objects.order_by("-created_at").values_list("pk", flat=True)[KEPT_JOBS:])
    Job.objects.filter(pk__in=old).delete()
    return job


def bury() -> None:
    """Mark jobs whose worker died, or that none took, so that the next one can start."""
    for job in Job.objects.filter(state__in=(JobState.WAITING, JobState.RUNNING)):
        if job.lost():
            same = Job.objects.filter(pk=job.pk, state=job.state, beat_at=job.beat_at)
            same.update(state=JobState.LOST, ended_at=timezone.now())


def run(job_id: str) -> JobState | None:
    """Run a waiting job here and now; None where somebody else has it."""
    now = timezone.now()
    taken = Job.objects.filter(pk=job_id, state=JobState.WAITING)
    if not taken.update(state=JobState.RUNNING, began_at=now, beat_at=now):
        return None
    job = Job.objects.get(pk=job_id)
    paper = Paper(job)
    with Heartbeat(job):
        code = _call(BUTTONS[job.name].command, paper)
    state = JobState.ENDED if code == 0 else JobState.FAILED
    _end(job, state, code, paper.text, paper.cut)
    return state


def _call(command: tuple[str, ...], paper: Paper) -> int:
    """The exit code that the command would have had."""
    try:
        call_command(*command, stdout=paper, stderr=paper, no_color=True)
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except CommandError as error:
        paper.write(f"{error}\n")
        return error.returncode
    except DatabaseError as error:
        log.warning("the command %s failed: %s", command[0], error)
        paper.write(f"database: {advice(error) or scrub.outside(str(error))}\n")
        return 1
    except Exception as error:  # outermost frame of the job: whatever it was, its row must end
        log.exception("the command %s failed", command[0])
        paper.write(f"{type(error).__name__}: {scrub.outside(str(error))}\n")
        return 1
    return 0


def _end(job: Job, state: JobState, code: int, output: str, cut: bool = False) -> None:
    Job.objects.filter(pk=job.pk).update(
        state=state, code=code, output=output, cut=cut, ended_at=timezone.now()
    )


class Paper(io.StringIO):
    """What a command prints: its end is kept, and written to the job's row now and then."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self.text, self.cut = "", False
        self._written = time.monotonic()

    def write(self, text: str) -> int:
        self.text += scrub.text(text).replace("\0", "")
        if len(self.text) > MOST_OUTPUT:
            self.text, self.cut = self.text[-MOST_OUTPUT:], True
        # Not inside the command's own transaction: nobody would see it, and it might not last.
        if time.monotonic() - self._written >= WRITTEN_EVERY and not connection.in_atomic_block:
            self._written = time.monotonic()
            Job.objects.filter(pk=self.job.pk).update(output=self.text, cut=self.cut)
        return len(text)

    def isatty(self) -> bool:
        return False


class Heartbeat:
    """Says that the job's worker lives, from a thread of its own, while the command is silent."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join(BEAT_EVERY)

    def _beat(self) -> None:
        try:
            while not self._over.wait(BEAT_EVERY):
                try:
                    Job.objects.filter(pk=self._job.pk).update(beat_at=timezone.now())
                except DatabaseError as error:
                    log.warning("a job's sign of life was not written: %s", error)
        finally:
            connection.close()
