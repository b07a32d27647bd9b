"""The pool of connections: what a restarted server closed is not handed out, and of a connection
that stands nothing is asked."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import connection
from psycopg_pool import ConnectionPool

from net.postgres import base

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
