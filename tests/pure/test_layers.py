"""`ledger.project` is the only writer of ledger rows (architecture.md 1): read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TABLES = {
    *("ServingContract", "Ledger", "SubAccount", "Service", "ServiceChange"),
    *("Movement", "Settlement", "Projection"),
}
WRITES = {
    *("create", "bulk_create", "get_or_create", "update_or_create", "update", "bulk_update"),
    *("delete", "acreate", "aupdate", "adelete", "abulk_create"),
}
#: `ledger.services` only creates the projection's own row before its first fold.
WRITERS = {"ledger/project.py", "ledger/rows.py", "ledger/services.py"}


def writes(source: str) -> list[int]:
    """Lines that call a writing method on a manager of a ledger table."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr not in WRITES:
            continue
        names = {n.id for n in ast.walk(node.func.value) if isinstance(n, ast.Name)}
        if names & TABLES:
            found.append(node.lineno)
    return found


def test_the_check_sees_a_planted_violation() -> None:
    assert writes("Ledger.objects.filter(user=x).update(total=1)") == [1]
    assert writes("models.Service.objects.create()") == []  # only imported names are looked at
    assert writes("Ledger.current.filter(user=x)") == []


@pytest.mark.parametrize("app", ["chain", "ledger", "accounts", "inference", "marketplace"])
def test_nobody_else_writes_ledger_rows(app: str) -> None:
    for path in sorted((ROOT / app).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name in WRITERS or "/migrations/" in name:
            continue
        assert writes(path.read_text()) == [], name
