"""Writing many rows at once: PostgreSQL COPY, with or without ignoring rows already there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, models

#: Below this many rows one INSERT is cheaper than a COPY through a temporary table.
FEW = 64


def copy_rows(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """COPY `rows` (values in the order of `columns`, database names) into the model's table."""
    if not rows:
        return
    _copy(model._meta.db_table, columns, rows)


def add_new(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> None:
    """Add `rows`, leaving alone those that a unique constraint says are there already."""
    _insert(model, columns, rows, "DO NOTHING")


def put(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    unique: Sequence[str],
) -> None:
    """Add `rows`, or change those that the constraint on `unique` says are there already."""
    changed = ", ".join(f'"{c}" = excluded."{c}"' for c in columns if c not in unique)
    key = ", ".join(f'"{c}"' for c in unique)
    _insert(model, columns, rows, f"({key}) DO UPDATE SET {changed}")


def _insert(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[Sequence[Any]], then: str
) -> None:
    if not rows:
        return
    table, names = model._meta.db_table, ", ".join(f'"{c}"' for c in columns)
    with connection.cursor() as cursor:
        if len(rows) < FEW:
            marks = ", ".join(["%s"] * len(columns))
            cursor.executemany(
                f'INSERT INTO "{table}" ({names}) VALUES ({marks}) ON CONFLICT {then}', rows
            )
            return
        cursor.execute(
            f"CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS "
            f'SELECT {names} FROM "{table}" WITH NO DATA'
        )
        _copy("incoming", columns, rows)
        cursor.execute(
            f'INSERT INTO "{table}" ({names}) SELECT {names} FROM incoming ON CONFLICT {then}'
        )
        cursor.execute("DROP TABLE incoming")


def _copy(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    names = ", ".join(f'"{c}"' for c in columns)
    with connection.cursor() as cursor:
        raw: Any = cursor.cursor
        # psycopg's own cursor: its errors must become Django's here as everywhere else.
        with (
            connection.wrap_database_errors,
            raw.copy(f'COPY "{table}" ({names}) FROM STDIN') as copy,
        ):
            for row in rows:
                copy.write_row(row)
