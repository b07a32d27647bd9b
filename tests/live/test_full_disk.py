"""A disk without room, a real one: what a person sees, and that nothing is half done."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client

from devnet import accounts as cast
from tests import factories
from tests.db.test_keys_lasting import signed_in

ROW = 'data-testid="rule-row"'


@contextmanager
def no_room(table: str, folder: Path) -> Iterator[None]:
    """A disk of one megabyte under a table, full. Where this machine mounts none, PostgreSQL's own
    error for it, raised by PostgreSQL.
    """
    folder.mkdir()
    disk = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(disk, check=False, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    begin, end = _really(table, folder) if mounted else _said(table)
    try:
        _run(begin)
        if mounted:
            with suppress(OSError), (folder / "full").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        yield
    finally:
        (folder / "full").unlink(missing_ok=True)
        _run(end)
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)


def _really(table: str, folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    begin = (
        # What earlier tests wrote and deleted is room, too.
        f"TRUNCATE {table} CASCADE",
        f"CREATE TABLESPACE tiny LOCATION '{folder}'",
        f"ALTER TABLE {table} SET TABLESPACE tiny",
    )
    return begin, (f"ALTER TABLE {table} SET TABLESPACE pg_default", "DROP TABLESPACE tiny")


def _said(table: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    begin = (
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$",
        f"CREATE TRIGGER no_room BEFORE INSERT ON {table} EXECUTE FUNCTION no_room()",
    )
    return begin, ("DROP FUNCTION no_room() CASCADE",)


def _run(statements: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_a_disk_without_room_refuses_writes_and_is_still_read(tmp_path: Path) -> None:
    factories.head()
    person = signed_in(cast.user(1))
    person.raise_request_exception = False
    rule = {"kind": "price", "number": "5"}
    with no_room("alerts_rule", tmp_path / "tiny"):
        answer = person.post("/account/alerts/add", rule)
        assert answer.status_code == 503 and int(answer["Retry-After"]) > 0
        assert "This site has run out of room, so nothing was changed." in answer.content.decode()
        assert ROW not in person.get("/account/alerts").content.decode()
    assert person.post("/account/alerts/add", rule).status_code == 302
    assert ROW in person.get("/account/alerts").content.decode()


def test_status_says_that_room_runs_out_before_it_has(
    db: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is the system's: its answer is replaced, nothing of ours."""
    factories.head()
    usage = shutil.disk_usage("/")
    large = 100 << 30  # a tenth of it lasts for long
    for total, free, told in ((100, 9, True), (100, 10, False), (large * 3, large // 10, False)):
        now = usage._replace(total=total, free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, now=now: now)
        assert ("running out of room" in client.get("/status").content.decode()) == told
