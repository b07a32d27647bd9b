"""Refuses what would hold up a running site in migrations newer than `BEFORE`: an index that is
built under a lock, a table that is written anew, a whole table that is read under a lock, a column
that the code of before, which still runs, leaves out and the table then misses.

    ./run exec -- python -m scripts.migration_check      (part of ./run check)

`manage.py migrate` waits five seconds for a lock and no longer, but once it has one it keeps it for
as long as the work takes, and everybody who writes that table waits. Allowed on any table is what
was made in the same migration. Where a table has few rows for ever, the migration says so, with the
reason, beside its class:

    SMALL = {"ops.job": "the newest 200 are kept"}
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module

import django
from django.contrib.postgres.operations import (
    AddConstraintNotValid,
    AddIndexConcurrently,
    RemoveIndexConcurrently,
    ValidateConstraint,
)
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.operations.models import AlterTogetherOptionOperation
from django.db.migrations.state import ProjectState

#: The newest migration of each app on the day before the check was made; 0: it had none. Those that
#: are newer keep the rule.
BEFORE = {
    "accounts": 6, "alerts": 3, "attestation": 6, "chain": 5, "finetune": 2, "inference": 9,
    "ledger": 10, "marketplace": 0, "moderation": 3, "operators": 2, "ops": 1, "probes": 3,
}  # fmt: skip

CONCURRENT = (AddIndexConcurrently, RemoveIndexConcurrently)
_INDEX = re.compile(r"\bCREATE\s+(?:UNIQUE\s+)?INDEX\s+(?!CONCURRENTLY\b)", re.IGNORECASE)
_REWRITE = re.compile(
    r"\bALTER\s+(?:COLUMN\s+)?\S+\s+(?:SET\s+DATA\s+)?TYPE\b|\bVACUUM\s+FULL\b|\bCLUSTER\b"
    r"|\bLOCK\s+(?:TABLE\b)?|\bSET\s+NOT\s+NULL\b",
    re.IGNORECASE,
)
_VARCHAR = re.compile(r"varchar\((\d+)\)")


def faults(
    migration: migrations.Migration, state: ProjectState, small: Mapping[str, str] | None = None
) -> Iterator[str]:
    """What is wrong with a migration that is applied to `state`, one sentence each."""
    small = small or {}
    yield from (f"SMALL[{name!r}] has no reason" for name, why in small.items() if not why.strip())
    made: set[str] = set()
    before = state.clone()
    app = migration.app_label
    for operation in _flat(migration.operations):
        after = before.clone()
        operation.state_forwards(app, after)
        if not migration.atomic and not isinstance(
            operation, (*CONCURRENT, migrations.RunPython, ValidateConstraint)
        ):
            yield f"{_name(operation)}: without a transaction only what locks nothing"
        table = f"{app}.{_table(operation)}".lower()
        if isinstance(operation, migrations.CreateModel):
            made.add(f"{app}.{operation.name}".lower())
        elif isinstance(operation, migrations.RunSQL):
            yield from _sql(operation)
        elif table not in made and table not in small:
            yield from (
                f"{_name(operation)} on {table}: {why}"
                for why in _locks(operation, app, before, after)
            )
        before = after


def _flat(operations: Sequence[Operation]) -> Iterator[Operation]:
    for operation in operations:
        if isinstance(operation, migrations.SeparateDatabaseAndState):
            yield from _flat(operation.database_operations)
        else:
            yield operation


def _table(operation: Operation) -> str:
    name = getattr(operation, "model_name", None) or getattr(operation, "name", None)
    return str(name or "")


def _name(operation: Operation) -> str:
    return type(operation).__name__


def _locks(
    operation: Operation, app: str, before: ProjectState, after: ProjectState
) -> Iterator[str]:
    if isinstance(operation, migrations.AddIndex) and not isinstance(operation, CONCURRENT):
        yield "builds the index while nobody can write; AddIndexConcurrently, with atomic = False"
    elif isinstance(operation, migrations.AddConstraint):
        if not isinstance(operation, AddConstraintNotValid):
            yield (
                "reads or indexes the table under a lock; a check by AddConstraintNotValid and, in "
                "the next migration, ValidateConstraint; what is unique by a concurrent index"
            )
    elif isinstance(operation, migrations.AddField):
        yield from _added(operation.field)
    elif isinstance(operation, migrations.AlterField):
        name = operation.model_name
        yield from _altered(
            _field(before, app, name, operation.name), _field(after, app, name, operation.name)
        )
    elif isinstance(operation, AlterTogetherOptionOperation):
        yield "builds an index while nobody can write"
    elif isinstance(operation, (migrations.RenameField, migrations.RenameModel)):
        yield "the code of before still runs and asks for the old name"


def _added(field: models.Field[object, object]) -> Iterator[str]:
    if isinstance(field, models.GeneratedField):
        yield "writes the table anew"
    elif field.unique or getattr(field, "db_index", False):
        yield "builds its index while nobody can write: the column first, the index concurrently"
    if not (field.null or field.many_to_many or field.generated or field.has_db_default()):
        yield "the code of before still runs and leaves it out of its rows: null or db_default"


def _altered(old: models.Field[object, object], new: models.Field[object, object]) -> Iterator[str]:
    was, will = old.db_type(connection), new.db_type(connection)
    if was != will and not _longer(str(was), str(will)):
        yield f"{was} to {will} writes the table anew: add a column, fill it, drop the old"
    if old.null and not new.null:
        yield "NOT NULL reads the table under a lock: a check that is validated first"
    indexed = (new.unique and not old.unique) or (
        getattr(new, "db_index", False) and not getattr(old, "db_index", False)
    )
    if indexed:
        yield "builds an index while nobody can write"


def _longer(was: str, will: str) -> bool:
    """A longer text, for which PostgreSQL changes nothing but its catalogue."""
    old, new = _VARCHAR.fullmatch(was), _VARCHAR.fullmatch(will)
    if will == "text":
        return old is not None
    return old is not None and new is not None and int(new[1]) >= int(old[1])


def _field(state: ProjectState, app: str, model: str, name: str) -> models.Field[object, object]:
    found: models.Field[object, object] = state.apps.get_model(app, model)._meta.get_field(name)
    return found


def _sql(operation: migrations.RunSQL) -> Iterator[str]:
    """Its tables are not known: whoever writes SQL says `-- small: why` in it, or locks nothing."""
    text = str(operation.sql)
    if re.search(r"--\s*small:\s*\S", text):
        return
    for pattern, why in ((_INDEX, "an index without CONCURRENTLY"), (_REWRITE, "a lock")):
        if pattern.search(text):
            yield f"RunSQL: {why}"


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
    django.setup()
    loader = MigrationLoader(None, ignore_no_migrations=True)
    wrong = []
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        number = re.match(r"\d+", name)
        if app not in BEFORE or number is None or int(number[0]) <= BEFORE[app]:
            continue
        state = loader.project_state(migration.dependencies) if migration.dependencies else None
        small = getattr(import_module(migration.__module__), "SMALL", {})
        found = faults(migration, state or ProjectState(), small)
        wrong += [f"{app}/migrations/{name}.py: {fault}" for fault in found]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
