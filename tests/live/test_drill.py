"""The drills of docs/deploy.md, with the commands that it prints: a backup, the database lost, a
restore while the chain went on, and everything derived made again."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devnet import accounts as cast
from devnet.deploy import Deployment, connect
from runner.postgres import EmbeddedPostgres, find_binaries
from runner.valkey import EmbeddedValkey
from tests import database
from tests.forks import SITE

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/deploy.md").read_text()
ALICE, BOB = cast.user(1), cast.user(2)
OURS = """
from accounts import tokens
from accounts.models import User
from accounts.session_store import SessionStore
SessionStore().create()
user = User.objects.for_address("{user}")
wanted = tokens.Wanted.of({{"label": "job", "scopes": ["inference"]}})
print(tokens.create(user, wanted).secret)
"""
KNOWN = """
from accounts import tokens
from accounts.errors import Problem
from django.contrib.sessions.models import Session
try:
    print(tokens.find("{secret}", "inference").user.address, Session.objects.count())
except Problem as problem:
    print(problem.code)
"""
#: Every derived row as text, without the number of its row.
DERIVED = """
SELECT string_agg(t.row, E'\\n' ORDER BY t.row) FROM (
  SELECT (to_jsonb(x) - 'id')::text AS row FROM {table} x) t
"""


def commands(name: str) -> str:
    found = re.search(rf"^```{name}\n(.*?)^```", PAGE, re.M | re.S)
    assert found, name
    return found[1]


class Site:
    """The site's commands on one database."""

    def __init__(self, database: EmbeddedPostgres, cache: str, rpc: str, folder: Path) -> None:
        self.database = database
        self.folder = folder
        path = f"{Path(sys.executable).parent}:{find_binaries()}:{os.environ['PATH']}"
        self.env = {
            **{**os.environ, "PATH": path, "REDIS_URL": cache, "NETWORK": "devnet"},
            **{"DATABASE_URL": database.dsn, "CHAIN_RPC_URLS": rpc, "DATABASE_POOL_SIZE": "0"},
            **{"DJANGO_SETTINGS_MODULE": "marketplace.settings", "PYTHONPATH": str(ROOT)},
        }

    def sh(self, script: str) -> str:
        """What a script prints, line by line; commands of the site are forked."""
        said = ""
        for line in filter(None, map(str.strip, script.splitlines())):
            words = shlex.split(line)
            if words[:2] == ["python", "manage.py"]:
                code, text = SITE.run("manage", *words[2:], env=self.env)
            else:
                done = subprocess.run(
                    ["sh", "-c", line],
                    cwd=self.folder,
                    env=self.env,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                )
                code, text = done.returncode, done.stdout
            assert code == 0, f"{line}\n{text}"
            said += text
        return said

    def python(self, source: str) -> str:
        code, said = SITE.run("manage", "shell", "--no-imports", "-c", source, env=self.env)
        assert code == 0, said
        return said.strip()

    def derived(self) -> dict[str, Any]:
        with psycopg.connect(self.database.dsn) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE tablename LIKE 'ledger\\_%' ORDER BY 1"
            ).fetchall()
            return {
                table: connection.execute(DERIVED.format(table=table)).fetchone()
                for (table,) in tables
                if table
                not in ("ledger_projection", "ledger_reconciliation")  # these know the time
            }


def migrated(folder: Path) -> EmbeddedPostgres:
    """A server with the site's tables and no rows."""
    database.migrated(folder)
    return EmbeddedPostgres(folder, database=database.NAME)


@pytest.fixture
def deposits(anvil: Any, devnet: Deployment) -> Any:
    contracts = connect(anvil.url, devnet)
    with contracts.chain.rollback():
        contracts.ledger.send(ALICE, "depositFund", value=5 * 10**18)
        yield contracts


@pytest.mark.usefixtures("django_db_modify_db_settings")
def test_the_drills_of_the_page(anvil: Any, deposits: Any, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with EmbeddedValkey() as cache:
        with migrated(tmp_path / "lost") as server:
            lost = Site(server, cache.url, anvil.url, tmp_path)
            lost.sh("python manage.py follow --once")
            secret = lost.python(OURS.format(user=ALICE.address))
            known = KNOWN.format(secret=secret)
            assert lost.python(known) == f"{ALICE.address} 1"
            lost.sh(commands("backup"))
            (dump,) = tmp_path.glob("*.dump")
            assert dump.stat().st_mode & 0o077 == 0
        deposits.ledger.send(BOB, "depositFund", value=7 * 10**18)
        with (
            EmbeddedPostgres(tmp_path / "new") as server,
            migrated(tmp_path / "empty") as other,
        ):
            site = Site(server, cache.url, anvil.url, tmp_path)
            site.sh(commands("restore"))
            assert site.python(known) == f"{ALICE.address} 0", "nobody's session opens again"
            assert site.sh(commands("reopened")) == "tokens: 1, links: 0, feeds: 0, sessions: 0\n"
            assert site.python(known) == "token_revoked"
            restored = site.derived()
            assert BOB.address.lower() in str(restored["ledger_ledger"]).lower()
            site.sh(commands("rebuild"))
            assert site.derived() == restored

            fresh = Site(other, cache.url, anvil.url, tmp_path)
            fresh.sh("python manage.py follow --once")
            fresh.sh("python manage.py check_index")
            assert fresh.derived() == restored
