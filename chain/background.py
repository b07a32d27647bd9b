"""Storing while somebody folds: the database works in the meantime.

One thread, on the caller's own database connection and inside its transaction: what is written,
and what a crash leaves behind, are the same as if it were done before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper


class _Lent:
    """What stands for the connection as long as the other thread has it."""

    def __init__(self, otherwise: Exception) -> None:
        self._otherwise = otherwise

    def __getattr__(self, name: str) -> NoReturn:
        raise self._otherwise


@contextmanager
def in_background(work: Callable[[], None], *, otherwise: Exception) -> Iterator[None]:
    """Do `work` while the block runs; its error is raised at the end, the block's own first.

    The block may not use the database: `otherwise` is raised where it tries to.
    """
    ours = connections[DEFAULT_DB_ALIAS]
    errors: list[BaseException] = []

    def run() -> None:
        # Connections are a thread's own: here it is ours for a while.
        connections[DEFAULT_DB_ALIAS] = ours
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            del connections[DEFAULT_DB_ALIAS]

    ours.inc_thread_sharing()
    connections[DEFAULT_DB_ALIAS] = cast("BaseDatabaseWrapper", cast("Any", _Lent(otherwise)))
    thread = threading.Thread(target=run, name="in_background", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        connections[DEFAULT_DB_ALIAS] = ours
        ours.dec_thread_sharing()
    if errors:
        raise errors[0]
