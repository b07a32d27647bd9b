"""The pool of connections: what a restarted server closed is not handed out, and of a connection
that stands nothing is asked."""

from __future__ import annotations

import os
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from django.db import DataError, OperationalError, connection
from psycopg_pool import ConnectionPool

from accounts.models import User
from marketplace import settings
from net.postgres import base, statements
from tests.waiting import eventually

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool() -> Any:
    given = connection.get_connection_params()
    wanted = ("host", "port", "user", "password", "dbname")
    with ConnectionPool(
        kwargs={name: given[name] for name in wanted if given.get(name)},
        min_size=2,
        max_size=2,
        check=base.look,
    ) as made:
        made.wait()
        yield made


def pid(pool: Any) -> int:
    with pool.connection() as one:
        return int(one.info.backend_pid)


def test_a_connection_that_the_server_ended_is_not_handed_out(pool: Any) -> None:
    with pool.connection() as one, pool.connection() as other:
        ended = [one.info.backend_pid, other.info.backend_pid]
    with connection.cursor() as cursor:
        for number in ended:
            cursor.execute("SELECT pg_terminate_backend(%s, 60000)", [number])
            assert cursor.fetchone() == (True,)
    with pool.connection() as one, pool.connection() as other:
        assert not {one.info.backend_pid, other.info.backend_pid} & set(ended)
        assert one.execute("SELECT 1").fetchone() == (1,)


def test_of_one_that_stands_nothing_is_asked(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(_: Any) -> None:
        raise psycopg.OperationalError("it was asked")

    monkeypatch.setattr(ConnectionPool, "check_connection", staticmethod(asked))
    with pool.connection() as one, pool.connection() as other:
        known = {one.info.backend_pid, other.info.backend_pid}
    assert pid(pool) in known


@contextmanager
def over_tcp(path: str, port: int = 0) -> Iterator[int]:
    """The port of this machine (a free one) at which the server of a unix socket answers."""

    class Door(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
                other = {self.request: server, server: self.request}
                while True:
                    for one in select.select([*other], [], [])[0]:
                        if not (said := one.recv(65536)):
                            return
                        other[one].sendall(said)

    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Door) as door:
        threading.Thread(target=door.serve_forever, args=(0.05,), daemon=True).start()
        yield door.server_address[1]
        door.shutdown()


def test_either_machine_notices_in_half_a_minute_that_the_other_vanished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, asked = connection.settings_dict, list[Any]()
    execute = psycopg.Connection.execute

    def heard(raw: Any, query: Any, values: Any = None, **more: Any) -> Any:
        asked.extend(values or ())
        return execute(raw, query, values, **more)

    with over_tcp(f"{given['HOST']}/.s.PGSQL.5432") as port, monkeypatch.context() as listening:
        listening.setattr(psycopg.Connection, "execute", heard)
        other: Any = connection.copy()
        # What the URL says wins, on both ends.
        options = {**given["OPTIONS"], "tcp_user_timeout": "45000"}
        other.settings_dict = {**given, "HOST": "127.0.0.1", "PORT": str(port), "OPTIONS": options}
        with other.cursor() as cursor:
            with socket.socket(fileno=os.dup(other.connection.fileno())) as line:
                ours = [
                    line.getsockopt(socket.IPPROTO_TCP, option)
                    for option in (socket.TCP_KEEPIDLE, socket.TCP_USER_TIMEOUT)
                ]
            cursor.execute("SELECT source FROM pg_settings WHERE name LIKE 'tcp_%'")
            theirs = [source for (source,) in cursor.fetchall()]
        other.close()
    assert ours == [15, 45_000]
    assert connection.get_connection_params()["tcp_user_timeout"] == 30_000
    assert asked[asked.index("tcp_keepalives_idle") + 1] == "15"
    assert asked[asked.index("tcp_user_timeout") + 1] == "45000"
    # The values of a unix socket, where this server listens, are always 0.
    assert theirs == ["session"] * 4


def test_while_the_server_is_away_only_the_first_waits_for_it_and_its_return_is_seen(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    given, port = connection.settings_dict, free_port
    monkeypatch.setenv("DATABASE_POOL_SIZE", "1")
    monkeypatch.delenv("ONE_THREAD", raising=False)
    pooled = settings.database(f"postgresql://app@127.0.0.1:{port}/app")["OPTIONS"]["pool"]
    assert pooled["reconnect_timeout"] <= pooled["timeout"], "its return would be seen late"
    monkeypatch.setattr(base, "AWAY", 0.25)
    other: Any = connection.copy("away")
    other.settings_dict = {**given, "HOST": "127.0.0.1", "PORT": str(port)}
    other.settings_dict["OPTIONS"] = {**given["OPTIONS"], "pool": {**pooled, "timeout": 0.5}}
    try:
        for waited in ("0.50", "0.25", "0.25"):
            with pytest.raises(OperationalError, match=f"after {waited} sec"):
                other.ensure_connection()
        with over_tcp(f"{given['HOST']}/.s.PGSQL.5432", port):

            def answers() -> bool:
                with suppress(OperationalError):
                    other.ensure_connection()
                return other.connection is not None

            assert eventually(answers)
            assert other.pool.timeout == 0.5
            other.close()
            other.close_pool()
    finally:
        other.close_pool()


def test_a_statement_that_comes_again_is_prepared_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert connection.get_connection_params()["prepare_threshold"] is None
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "pool", {"max_size": 1})
    given = connection.get_connection_params()["prepare_threshold"]
    monkeypatch.undo()
    connection.ensure_connection()
    monkeypatch.setattr(connection.connection, "prepare_threshold", given)
    for number in (1, 2, 3):
        with statements.prepared() as cursor:
            cursor.execute("SELECT %(n)s + 1 AS again", {"n": number})
            assert cursor.fetchone() == (number + 1,)
        with connection.cursor() as cursor:
            cursor.execute("SELECT %(n)s + 1 AS otherwise", {"n": number})
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE statement ~ ' AS '")
        assert cursor.fetchall() == [("SELECT $1 + 1 AS again",)]


@pytest.mark.django_db(transaction=True)
def test_what_is_sent_at_once_happens_whole_or_not_at_all() -> None:
    user = User.objects.for_address("0x000000000000000000000000000000000000dEaD")
    for _ in range(3):  # also where both are prepared
        with (
            pytest.raises(DataError),
            statements.prepared() as first,
            statements.prepared() as second,
            statements.at_once(),
        ):
            first.execute("UPDATE accounts_user SET is_active = false WHERE id = %s", [user.pk])
            second.execute("SELECT 1 / %s", [0])
        user.refresh_from_db()
        assert user.is_active
    with statements.prepared() as first, statements.prepared() as second:
        with statements.at_once():
            first.execute("UPDATE accounts_user SET is_active = false WHERE id = %s", [user.pk])
            second.execute("SELECT is_active FROM accounts_user WHERE id = %s", [user.pk])
        assert second.fetchone() == (False,)
