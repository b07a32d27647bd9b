"""Static files as production serves them: hashed names that stay valid in style sheets and
modules. And what else `./run serve` does before it serves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from runner.tree import ROOT
from tests.demo import clean_environment

HASHED = re.compile(r"\.[0-9a-f]{12}\.")
COLLECT = """
import sys
from pathlib import Path
from runner.serve import collect_static
from runner.tree import Tree

tree = Tree(Path(sys.argv[1]))
collect_static(tree)
print(tree.env["STATIC_ROOT"])
"""


def test_the_files_that_serve_collects_find_each_other(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COLLECT, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder == tmp_path / "static"
    names = json.loads((folder / "staticfiles.json").read_text())["paths"]
    modules = re.findall(r'from "\./([^"]+)"', (folder / names["js/app.js"]).read_text())
    fonts = re.findall(r'url\("([^"]+)"\)', (folder / names["css/tokens.css"]).read_text())
    assert len(modules) >= 4 and len(fonts) == 2
    for name in modules:
        assert HASHED.search(name) and (folder / "js" / name).is_file()
    for name in fonts:
        assert HASHED.search(name) and (folder / "css" / name).is_file()


SLOWLY = """
import sys, time
from itertools import count
from pathlib import Path
from types import SimpleNamespace
import runner.postgres, runner.tree
from runner.postgres import EmbeddedPostgres, PostgresError
from runner.serve import migrate
from runner.tree import Stop, Tree
late = count(0, 10)  # seconds between two looks at the clock
clock = SimpleNamespace(time=time.time, sleep=time.sleep, monotonic=lambda: next(late))
runner.tree.time = runner.postgres.time = clock
data = Path(sys.argv[1])
try:
    migrate(Tree(data))
except Stop as stop:
    print(stop)
try:
    EmbeddedPostgres(data, durable=True).start()
except PostgresError as error:
    print(error)
"""


def test_a_large_database_has_its_time(tmp_path: Path) -> None:
    """To be migrated, and to read anew what a hard end left: what is broken off begins anew."""
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster/PG_VERSION").touch()
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\nsleep 0.3\necho no such cluster\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none", "NETWORK": "devnet"}
    done = subprocess.run(
        [sys.executable, "-c", SLOWLY, tmp_path],
        env=clean_environment(PYTHONPATH=str(ROOT), PGBIN=str(tmp_path), **nowhere),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    migrated, *started = done.stdout.splitlines()
    assert migrated.startswith("database: "), done.stdout + done.stderr
    assert started == ["PostgreSQL did not start:", "no such cluster"], done.stderr
    assert "PostgreSQL takes long to start: " in done.stderr
