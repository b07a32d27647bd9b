"""The backend that `DATABASES` names (`net.postgres`)."""

from __future__ import annotations

import select
import time
from typing import Any, ClassVar

import psycopg
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from psycopg_pool import ConnectionPool, PoolTimeout

#: When the other machine is held to be gone: after thirty seconds without a sign of it, where
#: systems wait a quarter of an hour for an acknowledgement and two hours for the first look. What
#: the URL says after its `?` wins.
_KEEPALIVES = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
_UNANSWERED = {"tcp_user_timeout": 30_000}
#: Seconds that a request waits for a connection where the one before it waited its whole time and
#: nobody got any meanwhile: the server is away, and visitors are better told at once.
AWAY = 1.0


class DatabaseWrapper(base.DatabaseWrapper):
    """`django.db.backends.postgresql` otherwise."""

    #: When a pool last gave somebody a connection, by alias.
    _given: ClassVar[dict[str, float]] = {}

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
        params: dict[str, Any] = _KEEPALIVES | _UNANSWERED | super().get_connection_params()
        if self.settings_dict["OPTIONS"].get("pool"):
            params["prepare_threshold"] = 1
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Django's, which waits the pool's `timeout` each time; while the server is away `AWAY`."""
        pool, began = self.pool, time.monotonic()
        try:
            found = super().get_new_connection(conn_params)
        except PoolTimeout:
            if self._given.get(self.alias, 0.0) < began:
                pool.timeout = min(AWAY, pool.timeout)
            raise
        if pool is not None:
            self._given[self.alias] = time.monotonic()
            pool.timeout = self.settings_dict["OPTIONS"]["pool"]["timeout"]
        return found

    def _configure_connection(self, connection: Any) -> bool:
        """Django's, and the server looks for this machine as soon as this one for the server: what
        a machine held that lost its power (the follower's lock, a row's) is held until then.
        """
        django: Any = super()  # django-stubs leave this out
        said: bool = django._configure_connection(connection)
        if connection.info.host.startswith("/"):
            return said
        given = self.get_connection_params()
        wanted = {f"tcp_{name}": given[name] for name in _KEEPALIVES}
        wanted |= {name: given[name] for name in _UNANSWERED}
        asked = ", ".join("set_config(%s, %s, false)" for _ in wanted)
        values = [part for name, value in wanted.items() for part in (name, str(value))]
        connection.execute(f"SELECT {asked}", values)
        return True

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
