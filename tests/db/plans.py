"""How PostgreSQL would find rows where an index serves: plans of queries, by tables with rows."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection


def plans(queries: Iterable[str], *tables: str) -> list[str]:
    """A plan for each query, by fresh counts of `tables`. An index is only chosen where there is
    something to choose from: over an empty table any is as good, and which one comes is chance."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {', '.join(tables)}")
        cursor.execute("SET LOCAL enable_seqscan = off")
        for sql in queries:
            cursor.execute(f"EXPLAIN {sql}")
            found.append("\n".join(line for (line,) in cursor.fetchall()))
    return found
