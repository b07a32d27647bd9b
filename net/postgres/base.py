"""The backend that `DATABASES` names (`net.postgres`)."""

from __future__ import annotations

import select
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    """`django.db.backends.postgresql` otherwise."""

    @property
    def pool(self) -> Any:
        """Django's pool, which asks the server for nothing but a sign of life before each use: a
        round trip more for every visit of the database. Of a server that went, the socket knows.
        """
        pool = super().pool
        if pool is not None and pool._check is not None:
            pool._check = look
        return pool

    def get_connection_params(self) -> dict[str, Any]:
        """Django's, which prepare nothing (its cursors cannot). Here a statement is prepared at its
        second use, where the pool lets connections live so long: whoever turns it off may have one
        outside, behind which the next statement meets another server.
        """
        params: dict[str, Any] = super().get_connection_params()
        if self.settings_dict["OPTIONS"].get("pool"):
            params["prepare_threshold"] = 1
        return params

    def prepared(self) -> CursorWrapper:
        """`cursor()`, but statements are prepared (`net.postgres.statements`)."""
        self.ensure_connection()
        wrapped: Any = self  # django-stubs leave this out
        with self.wrap_database_errors:
            cursor: CursorWrapper = wrapped._prepare_cursor(psycopg.Cursor(self.connection))
            return cursor


def look(connection: Any) -> None:
    """Raises psycopg.OperationalError for a connection that is of no use any more.

    A server that ends or restarts closes its sockets, so there is something to read where nothing
    was asked; only then is the server asked.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLPRI)
    if poll.poll(0):
        ConnectionPool.check_connection(connection)
