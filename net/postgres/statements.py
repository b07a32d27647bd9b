"""Statements that are run all the time. Django sends each as a text with its values in it, which
the server parses and plans every time anew: that took longer than what a question reads and writes.
Here values go beside the text, and each connection of the pool has it parsed and planned once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from django.db import connection
from django.db.backends.utils import CursorWrapper

from net.postgres.base import DatabaseWrapper

#: Known by its proxy only.
_connection: Any = connection


def prepared() -> CursorWrapper:
    """`connection.cursor()` for a statement whose text is always the same (one at a time, values as
    parameters).
    """
    return cast(DatabaseWrapper, _connection).prepared()


@contextmanager
def at_once() -> Iterator[None]:
    """All that is executed inside travels to the server in one message and is one transaction; it
    is answered when this ends. Raises DatabaseError, there or before.
    """
    _connection.ensure_connection()
    with _connection.wrap_database_errors, _connection.connection.pipeline():
        yield
