"""The backend that `DATABASES` names (`net.postgres`)."""

from __future__ import annotations

import select
from typing import Any

from django.db.backends.postgresql import base
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


def look(connection: Any) -> None:
    """Raises psycopg.OperationalError for a connection that is of no use any more.

    A server that ends or restarts closes its sockets, so there is something to read where nothing
    was asked; only then is the server asked.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLPRI)
    if poll.poll(0):
        ConnectionPool.check_connection(connection)
