"""`./run check`: every check that needs no test, one line each; all run, the exit code tells."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from runner.tree import ROOT

PYTHON = sys.executable
#: A deployable configuration: `check --deploy` must be silent for it.
DEPLOYED = {
    "NETWORK": "aristotle",
    "SITE_URL": "https://market.example",
    "SECRET_KEY": "a-secret-key-for-this-check-only-0123456789-abcdefghijklmnopqrstuvwxyz",
    "FIELD_KEYS": "Y2hlY2stb25seS1rZXktY2hlY2stb25seS1rZXktISE=",
    "DATABASE_POOL_SIZE": "0",
}
COMPOSE = sorted(map(str, (ROOT / "docker-compose.yml", *ROOT.glob("deploy/*/docker-compose.yml"))))
DOCKERFILES = sorted(map(str, (ROOT / "Dockerfile", *ROOT.glob("deploy/*/*Dockerfile"))))
OFFLINE = {"DATABASE_POOL_SIZE": "0", "PYTHONWARNINGS": "ignore::RuntimeWarning"}

CHECKS: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
    ("format", (PYTHON, "-m", "ruff", "format", "--check", "-q", "."), {}),
    ("lint", (PYTHON, "-m", "ruff", "check", "-q", "."), {}),
    ("types", (PYTHON, "-m", "mypy"), {}),
    ("import rules", ("lint-imports", "--no-cache"), {}),
    ("migrations", (PYTHON, "manage.py", "makemigrations", "--check", "--dry-run"), OFFLINE),
    ("migration locks", (PYTHON, "-m", "scripts.migration_check"), OFFLINE),
    ("deployment", (PYTHON, "manage.py", "check", "--deploy", "--fail-level", "WARNING"), DEPLOYED),
    ("templates", ("djlint", "templates", "--lint", "--quiet"), {}),
    ("words", (PYTHON, "-m", "scripts.messages", "check"), {}),
    (
        "compose files",
        ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *COMPOSE),
        {},
    ),
    ("Dockerfiles", ("hadolint", "--failure-threshold", "warning", *DOCKERFILES), {}),
    ("secrets", (PYTHON, "-m", "scripts.supply", "secrets"), {}),
    ("licences", (PYTHON, "-m", "scripts.supply", "licences"), {}),
    ("known weaknesses", (PYTHON, "-m", "scripts.supply", "audit"), {}),
    ("contracts rebuild", ("node", "contracts/compile.js", "--check"), {}),
)


def check(arguments: Sequence[str]) -> int:
    """Run all checks, or those whose names are given; 0 when all passed."""
    wanted = set(arguments)
    names = [name for name, _, _ in CHECKS]
    for other in sorted(wanted.difference(names)):
        said = f"./run check: no check {other!r}; there are: {', '.join(names)}"
        print(said, file=sys.stderr)
        return 2
    failed = []
    for name, command, env in CHECKS:
        if wanted and name not in wanted:
            continue
        started = time.monotonic()
        result = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
        notes = [line for line in result.stdout.splitlines() if line.startswith("note: ")]
        print(
            f"{'ok    ' if result.returncode == 0 else 'FAILED'} {name} ({seconds:.1f} s)",
            *(() if result.returncode else notes),
            flush=True,
        )
        if result.returncode:
            failed.append(name)
            print((result.stdout + result.stderr).rstrip(), flush=True)
    print(f"checks: {len(failed)} failed" + (f": {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0
