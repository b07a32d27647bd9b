"""Reads from a real standby: what it answers, how far behind it may be, and its death."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from runner.postgres import EmbeddedPostgres
from runner.valkey import EmbeddedValkey
from tests import database
from tests.forks import SITE

LOOK = """
from django.db import connections, transaction
from chain.models import Coverage
from marketplace import replica
from net.postgres.moment import one_moment
def asked():
    return Coverage.objects.count(), Coverage.objects.all().db
print(*asked())
with transaction.atomic():
    print(*asked())
with one_moment(Coverage), connections[asked()[1]].cursor() as cursor:
    cursor.execute("SHOW transaction_isolation")
    print(*asked(), *cursor.fetchone())
from accounts.models import User
print(User.objects.all().db, replica.Router().db_for_write(Coverage))
"""


@pytest.fixture
def servers(
    tmp_path: Path, django_db_modify_db_settings: None
) -> Iterator[tuple[EmbeddedPostgres, ...]]:
    folder = tmp_path
    folder.chmod(0o755)
    database.migrated(folder / "primary")
    with EmbeddedPostgres(folder / "primary", durable=True, database=database.NAME) as primary:
        standby = EmbeddedPostgres(folder / "standby", durable=True, database=database.NAME)
        standby.data.mkdir()
        copy = primary._spawn(
            [
                str(primary.binaries / "pg_basebackup"),
                *("-h", str(primary.socket_dir), "-U", "app", "-D", str(standby.data / "cluster")),
                *("-R", "-X", "stream", "-c", "fast"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = copy.communicate(timeout=120)
        assert copy.returncode == 0, said.decode()
        with standby:
            yield primary, standby


def manage(primary: str, replica: str, cache: str, *command: str) -> str:
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "marketplace.settings",
        "DATABASE_URL": primary,
        "DATABASE_REPLICA_URL": replica,
        "REDIS_URL": cache,
        "NETWORK": "devnet",
    }
    code, said = SITE.run("manage", *command, env=env)
    assert code == 0, said
    return said


def test_a_standby_is_read_and_its_death_is_survived(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
) -> None:
    primary, standby = servers
    with EmbeddedValkey() as cache:
        shell = ("shell", "--no-imports", "-c", LOOK)
        urls = (primary.dsn, standby.dsn, cache.url)
        with psycopg.connect(primary.dsn) as direct:
            direct.execute("DROP TABLE django_session")
            direct.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
        manage(*urls, "migrate")  # migrates the primary alone; the standby follows
        with psycopg.connect(primary.dsn) as direct, psycopg.connect(standby.dsn) as other:
            assert other.execute("select pg_is_in_recovery()").fetchone() == (True,)
            place = direct.execute("select pg_current_wal_lsn()").fetchone()
            assert place is not None
            reached = "select pg_last_wal_replay_lsn() >= %s"
            while other.execute(reached, place).fetchone() != (True,):
                other.rollback()
            assert other.execute("select count(*) from django_session").fetchone() == (0,)
        assert manage(*urls, *shell).splitlines() == [
            "0 replica",
            "0 default",
            "0 replica repeatable read",
            "default default",
        ]
        standby.stop()
        said = manage(*urls, *shell).splitlines()
        assert [line for line in said if line[0] in "0d"] == [
            "0 default",
            "0 default",
            "0 default repeatable read",
            "default default",
        ]
        assert any("the standby does not answer" in line for line in said)
