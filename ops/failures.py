"""Background tasks that raised: kept where staff sees them, bounded, without secrets."""

from __future__ import annotations

import hashlib
import logging
import re
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any

import orjson
from celery import current_app
from celery.signals import task_failure, task_postrun, task_prerun
from django.db import Error as DatabaseError
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.errors import Problem
from accounts.models import User
from marketplace import presence, scrub
from net import queue
from ops.models import FailedTask, FailureState

log = logging.getLogger(__name__)

#: Rows that are kept, the newest; open ones among them too: a flood must not fill the disk.
MOST = 1_000
MOST_TRACE = 8_000
MOST_ARGUMENTS = 20
REMOVED = scrub.REMOVED

#: What may be kept of arguments: ids, names of things, addresses; shorter than any key we know.
_HARMLESS = re.compile(
    r"(?:0x[0-9a-fA-F]{40}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z0-9_.:/-]{1,24})"
)
_began: dict[str, float] = {}


def connect() -> None:
    """Listen to Celery in this process: called where the worker finds our tasks."""
    task_prerun.connect(_prerun, dispatch_uid="ops.prerun")
    task_postrun.connect(_postrun, dispatch_uid="ops.postrun")
    task_failure.connect(_failed, dispatch_uid="ops.failed")


def _prerun(task_id: str, **_: Any) -> None:
    _began[task_id] = time.monotonic()


def _postrun(task_id: str, task: Any, state: str | None = None, **_: Any) -> None:
    began = _began.pop(task_id, None)
    if began is not None:
        presence.ran(task.name, round((time.monotonic() - began) * 1000), state != "FAILURE")


def _failed(
    sender: Any,
    task_id: str,
    exception: BaseException,
    args: Any = (),
    kwargs: Any = None,
    **_: Any,
) -> None:
    try:
        keep(sender.name, task_id, exception, list(args or ()), dict(kwargs or {}))
    except DatabaseError as error:
        log.warning("a failure of %s could not be kept: %s", sender.name, error)


def keep(
    name: str, task_id: str, error: BaseException, args: list[Any], kwargs: dict[str, Any]
) -> FailedTask:
    """Store a failure, or count it with the same one that is still open."""
    kept_args, kept_kwargs, whole = arguments(args, kwargs)
    text = scrub.outside(str(error))
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")[:200]
    body = orjson.dumps([name, kept_args, kept_kwargs, kind, text], option=orjson.OPT_SORT_KEYS)
    fingerprint = hashlib.sha256(body).hexdigest()
    now = timezone.now()
    again = {"times": F("times") + 1, "last_at": now, "task_id": task_id[:64]}
    same = FailedTask.objects.filter(fingerprint=fingerprint, state=FailureState.OPEN)
    if not same.update(**again):
        try:
            with transaction.atomic():
                row = FailedTask.objects.create(
                    name=name[:200],
                    task_id=task_id[:64],
                    args=kept_args,
                    kwargs=kept_kwargs,
                    whole=whole,
                    error=kind,
                    text=text,
                    trace=_trace(error.__traceback__),
                    fingerprint=fingerprint,
                    first_at=now,
                    last_at=now,
                )
            _bound()
            return row
        except IntegrityError:  # another worker was first
            same.update(**again)
    return same.get()


def _trace(found: TracebackType | None) -> str:
    """Where it happened: code, without the exception's sentence."""
    return scrub.text("".join(traceback.format_tb(found)))[-MOST_TRACE:].replace("\0", "")


def _bound() -> None:
    old = FailedTask.objects.order_by("-last_at", "-pk").values_list("pk", flat=True)[MOST:]
    if doomed := list(old):
        FailedTask.objects.filter(pk__in=doomed).delete()


def arguments(args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any], bool]:
    """What may be kept of a task's arguments, and whether that is all of them."""
    few = len(args) <= MOST_ARGUMENTS and len(kwargs) <= MOST_ARGUMENTS
    kept_args = [_kept(value) for value in args[:MOST_ARGUMENTS]]
    names = sorted(map(str, kwargs))[:MOST_ARGUMENTS]
    kept_kwargs = {name: _kept(kwargs[name]) for name in names if name in kwargs}
    values = (*kept_args, *kept_kwargs.values())
    whole = few and len(kept_kwargs) == len(kwargs) and REMOVED not in values
    return kept_args, kept_kwargs, whole


def _kept(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    if isinstance(value, str) and _HARMLESS.fullmatch(value) and scrub.text(value) == value:
        return value
    return REMOVED


def known_tasks() -> frozenset[str]:
    """Names of all background tasks of this code."""
    current_app.loader.import_default_modules()
    return frozenset(name for name in current_app.tasks if not name.startswith("celery."))


def retry(row: FailedTask, user: User, record: Callable[[], object] = lambda: None) -> None:
    """Put the task into the queue once more; `record` is called in the transaction that claims the
    row. Raises Problem.

    The claim is stored before anything is queued, and the row closed after it: whoever is killed
    in between leaves an open row that says so (`FailedTask.cut_off`), and no other is repeated.
    """
    if not row.whole:
        raise Problem(
            "arguments_not_kept",
            _("One of its arguments may have been a secret and was not kept."),
            _("What started it can start it again."),
            status=409,
        )
    if row.name not in known_tasks():
        raise Problem("unknown_task", _("No task of that name exists any more."), status=409)
    now, same = timezone.now(), FailedTask.objects.filter(pk=row.pk, state=FailureState.OPEN)
    with transaction.atomic():
        record()
        free = same.filter(Q(handled_at=None) | Q(handled_at__lt=now - FailedTask.CLAIM))
        _once(free.update(handled_at=now, handled_by=user))
    row.refresh_from_db(fields=["times"])
    if not queue.put(row.name, *row.args, kwargs=row.kwargs):
        same.update(handled_at=None, handled_by=None)
        raise Problem(
            "queue_unreachable", _("The queue does not answer."), _("Try again."), status=503
        )
    if not same.filter(times=row.times).update(state=FailureState.RETRIED):
        same.update(handled_at=None, handled_by=None)  # it has failed again already: that is news


def dismiss(row: FailedTask, user: User) -> None:
    """Take a failure off the list without doing anything. Raises Problem."""
    open_ = FailedTask.objects.filter(pk=row.pk, state=FailureState.OPEN)
    _once(open_.update(state=FailureState.DISMISSED, handled_at=timezone.now(), handled_by=user))


def all_open(seen: datetime) -> QuerySet[FailedTask]:
    """Open failures that nothing was added to after `seen`, when somebody read the list."""
    return FailedTask.objects.filter(state=FailureState.OPEN, last_at__lte=seen)


def retriable() -> Q:
    """Of open failures those that `retry_all` takes."""
    return Q(whole=True, name__in=known_tasks(), handled_at=None)


def retry_all(user: User, seen: datetime, record: Callable[[int], object]) -> None:
    """Queue again every one that can be, one by one; `record` is given how many before the first.
    Raises Problem where the queue stops answering: those that it did not take stay open. What broke
    off before may be in the queue, and waits for somebody to decide."""
    found = list(all_open(seen).filter(retriable()).order_by("last_at", "pk"))
    record(len(found))
    for row in found:
        try:
            retry(row, user)
        except Problem as problem:
            if problem.code != "handled_already":
                raise


def dismiss_all(user: User, seen: datetime) -> int:
    """Take every one off the list; returns how many."""
    return all_open(seen).update(
        state=FailureState.DISMISSED, handled_at=timezone.now(), handled_by=user
    )


def _once(handled: int) -> None:
    """Of two people who press at the same time the second is told."""
    if not handled:
        raise Problem("handled_already", _("Somebody was faster: this is done."), status=409)
