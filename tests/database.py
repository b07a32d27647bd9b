"""The tests' PostgreSQL: a copy of a cluster that is migrated already, and a quick way to empty it.

The migrated cluster lies under `.data/test-database`, named by what it was made of. It is only a
head start: Django still applies to the copy what it finds missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner.postgres import EmbeddedPostgres, find_binaries

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".data" / "test-database"
#: What Django calls the test database of "app".
NAME = "test_app"
#: Written by Django when it migrates, and the same for every test.
FIXED = ("django_migrations", "django_content_type", "auth_permission")
# Row triggers and foreign keys are off, so the order does not matter and what is append-only goes
# too. The locks wait for whoever still writes, as TRUNCATE would; behind them a table without a
# page has no row, and is let be. All that takes 1 to 5 ms; a TRUNCATE of a hundred tables takes
# 300, since it makes each file anew.
_EMPTY = f"""
DO $$
DECLARE name text;
BEGIN
  SET LOCAL session_replication_role = replica;
  EXECUTE (
    SELECT format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE',
                  string_agg(format('%I', tablename), ', ' ORDER BY tablename))
    FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN {FIXED});
  FOR name IN SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname NOT IN {FIXED}
      AND pg_relation_size(oid) > 0
  LOOP
    EXECUTE format('DELETE FROM %I', name);
  END LOOP;
END $$
"""


def _made_of() -> str:
    """A digest of all that decides what the migrated cluster holds."""
    files = [ROOT / "requirements.lock", ROOT / "runner" / "postgres.py", Path(__file__)]
    files += sorted(ROOT.glob("*/migrations/*.py")) + sorted(ROOT.glob("*/models*.py"))
    state = hashlib.sha256(f"{find_binaries()} {sys.version}".encode())
    for file in files:
        state.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return state.hexdigest()[:24]


def _copy(source: Path, target: Path) -> None:
    """With owners, since PostgreSQL looks at them."""
    subprocess.run(["cp", "-a", "--reflink=auto", source, target], check=True)


def _make(target: Path) -> None:
    """A cluster whose test database is migrated, under another name until it is whole."""
    from django.core.management import call_command
    from django.db import connection

    with tempfile.TemporaryDirectory(prefix="zgm-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as another user
        with EmbeddedPostgres(folder / "pg", database=NAME) as server, _using(server, NAME):
            call_command("migrate", verbosity=0, interactive=False)
            connection.close()
        part = target.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        _copy(folder / "pg", part)
        part.rename(target)


@contextmanager
def _using(server: EmbeddedPostgres, name: str) -> Iterator[None]:
    from django.db import connection

    settings = connection.settings_dict
    before = dict(settings)
    settings.update(HOST=str(server.socket_dir), PORT="", NAME=name)
    yield
    settings.update(before)


def migrated(target: Path) -> None:
    """Put a migrated cluster at `target`. Of several processes one makes it, the others copy."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = KEPT / _made_of()
        if not wanted.exists():
            for old in KEPT.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
            _make(wanted)
        _copy(wanted, target)


def empty(test: Any) -> None:
    """What Django's TransactionTestCase does after a test, for `_fixture_teardown`."""
    from django.db import connections

    for alias in test._databases_names(include_mirrors=False):
        with connections[alias].cursor() as cursor:
            cursor.execute(_EMPTY)
