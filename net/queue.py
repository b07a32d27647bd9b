"""The queue of background work, as somebody uses it who must go on without it."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task, current_app
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)


def put(
    task: Task[..., Any] | str,
    *args: Any,
    kwargs: dict[str, Any] | None = None,
    expires: float | None = None,
) -> bool:
    """Have a worker do `task` (or the one of that name) soon; after `expires` seconds none does.

    False where the queue does not answer: whoever asks then takes back what only this task would
    end, and leaves to beat what beat finds.
    """
    name = task if isinstance(task, str) else task.name
    options: dict[str, Any] = {} if expires is None else {"expires": expires}
    try:
        if isinstance(task, str):
            current_app.send_task(task, args=args, kwargs=kwargs, **options)
        else:
            task.apply_async(args, kwargs, **options)
    except OperationalError as error:
        log.warning("not queued", extra={"task": name, "error": str(error)[:200]})
        return False
    return True
