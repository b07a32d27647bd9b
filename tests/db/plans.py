"""How PostgreSQL would find rows where an index serves: plans of queries, by tables with rows."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection


def as_new(*tables: str) -> None:
    """Fresh counts, and indexes without the pages that other tests' rows left in them: of two that
    would do, the one that swelled less was chosen."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what waits to be checked is in the way
        for table in tables:
            cursor.execute(f"REINDEX TABLE {table}")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute(f"ANALYZE {', '.join(tables)}")


def plans(queries: Iterable[str], *tables: str) -> list[str]:
    """A plan for each query, by `tables` `as_new`. An index is only chosen where there is something
    to choose from: over an empty table any is as good, and which one comes is chance."""
    found = []
    as_new(*tables)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for sql in queries:
            cursor.execute(f"EXPLAIN {sql}")
            found.append("\n".join(line for (line,) in cursor.fetchall()))
    return found
