"""`manage.py migrate` does not queue for a table in use: everybody behind it would wait, too; and
what would hold a lock for long is refused before it is committed."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently
from django.core import management
from django.core.management import call_command
from django.db import ProgrammingError, connection, migrations, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.signals import post_migrate
from django.utils import timezone
from psycopg.errors import UndefinedTable

import manage
from accounts.models import User
from alerts.kinds import Kind
from alerts.models import Hook, Rule
from inference.models import OwnPreset, PresetVersion
from marketplace.management.commands.migrate import LOCK_TIMEOUT, Command
from scripts import migration_check
from tests.factories import ALICE


@pytest.mark.django_db
def test_it_waits_for_a_lock_for_five_seconds_only() -> None:
    seen: set[str] = set()

    def limit(**_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            seen.add(str(cursor.fetchone()[0]))

    post_migrate.connect(limit)
    try:
        call_command("migrate", "--noinput", verbosity=0)
    finally:
        post_migrate.disconnect(limit)
    assert seen == {LOCK_TIMEOUT} == {"5s"}
    limit()
    assert seen == {"5s", "0"}


@pytest.mark.django_db
def test_what_is_built_beside_the_work_waits_for_old_transactions() -> None:
    command = Command()
    command.verbosity, command.using = 0, "default"
    for atomic, limit in ((False, "0"), (True, LOCK_TIMEOUT)):
        migration = type("Migration", (migrations.Migration,), {"atomic": atomic})("x", "ledger")
        command.migration_progress_callback("apply_start", migration)
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone()[0] == limit


@pytest.mark.django_db
def test_code_of_before_deletes_what_newer_rows_refer_to() -> None:
    """As 0.1.0 does it, which knows neither versions nor rules of one webhook."""
    user, now = User.objects.create(address=ALICE), timezone.now()
    hook = Hook.objects.create(user=user, url="https://x.example", created_at=now)
    rule = Rule.objects.create(
        user=user, kind=Kind.PROVIDER_DOWN, hook=hook, created_at=now, after_block=0
    )
    preset = OwnPreset.objects.create(owner=user, sealed="a")
    PresetVersion.objects.create(preset=preset, sealed="b", until=now)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM alerts_hook")
        cursor.execute("DELETE FROM inference_ownpreset")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    rule.refresh_from_db()
    assert rule.hook_id is None and not PresetVersion.objects.exists()


def faults(*operations: Operation, atomic: bool = True, **small: str) -> list[str]:
    """What the check says of a migration of a table with a name, a number and a note."""
    state = ProjectState()
    fields: list[tuple[str, Any]] = [
        ("id", models.BigAutoField(primary_key=True)),
        ("name", models.CharField(max_length=20)),
        ("number", models.IntegerField(null=True)),
    ]
    state.add_model(ModelState("ledger", "Fact", fields))
    given = {"operations": list(operations), "atomic": atomic}
    migration = type("Migration", (migrations.Migration,), given)("0099_test", "ledger")
    named = {f"ledger.{name}": why for name, why in small.items()}
    return list(migration_check.faults(migration, state, named))


INDEX = models.Index(fields=["name"], name="fact_name")
CHECK = models.CheckConstraint(condition=models.Q(number__gt=0), name="fact_number")


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddIndex("fact", INDEX),
        migrations.AddConstraint("fact", CHECK),
        migrations.AddField("fact", "code", models.CharField(max_length=9, null=True, unique=True)),
        migrations.AddField("fact", "day", models.DateField(null=True, db_index=True)),
        migrations.AddField("fact", "code", models.CharField(max_length=9, default="")),
        migrations.AlterField("fact", "number", models.BigIntegerField(null=True)),
        migrations.AlterField("fact", "number", models.IntegerField(default=0)),
        migrations.AlterField("fact", "name", models.CharField(max_length=10)),
        migrations.AlterField("fact", "name", models.CharField(max_length=20, db_index=True)),
        migrations.AlterUniqueTogether("fact", {("name", "number")}),
        migrations.RenameField("fact", "name", "title"),
        migrations.RunSQL("create unique index a on ledger_fact (name)"),
        migrations.RunSQL("ALTER TABLE ledger_fact ALTER COLUMN number TYPE bigint"),
        migrations.SeparateDatabaseAndState([migrations.AddIndex("fact", INDEX)], []),
    ],
    ids=lambda one: f"{type(one).__name__} {one.describe()}"[:60],
)
def test_what_locks_a_table_for_long_is_refused(operation: Operation) -> None:
    assert len(faults(operation)) == 1


def test_what_locks_nothing_for_long_is_taken() -> None:
    assert not faults(
        migrations.AddField("fact", "code", models.CharField(max_length=9, db_default="")),
        migrations.AlterField("fact", "name", models.CharField(max_length=40)),
        migrations.AlterField("fact", "name", models.TextField(help_text="any")),
        AddConstraintNotValid("fact", CHECK),
        migrations.CreateModel("New", [("id", models.BigAutoField(primary_key=True))]),
        migrations.AddIndex("new", models.Index(fields=["id"], name="new_id")),
        migrations.RunSQL("CREATE INDEX CONCURRENTLY a ON ledger_fact (name)"),
        migrations.RunSQL("-- small: ten rows\nCREATE INDEX a ON ledger_fact (name)"),
    )
    beside = AddIndexConcurrently("fact", INDEX)
    assert not faults(beside, atomic=False)
    alter = migrations.AlterField("fact", "number", models.BigIntegerField(null=True))
    assert len(faults(alter, atomic=False)) == 2, "outside of a transaction nothing else"


def test_a_small_table_says_why_it_stays_small() -> None:
    index = migrations.AddIndex("fact", INDEX)
    assert not faults(index, fact="one row for each chain")
    assert len(faults(index, fact=" ")) == 1 and len(faults(index, other="ten rows")) == 1


def test_every_migration_of_this_checkout_passes() -> None:
    assert migration_check.main() == 0


def test_a_migration_that_misses_a_table_is_no_reason_to_migrate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: object) -> None:
        raise ProgrammingError("relation is missing") from UndefinedTable()

    monkeypatch.setattr(management, "execute_from_command_line", broken)
    monkeypatch.setenv("ONE_THREAD", "1")  # `main` sets it
    for command, expected in (("migrate", ProgrammingError), ("follow", SystemExit)):
        monkeypatch.setattr(sys, "argv", ["manage.py", command])
        with pytest.raises(expected):
            manage.main()
