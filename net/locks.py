"""One at a time over all processes, by PostgreSQL's advisory locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def alone(lock: int) -> Iterator[bool]:
    """Whether nobody else holds the lock of this number; if so, it is held until the block ends, or
    with its session, however that ends. Waits for nobody.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [lock])
        held: bool = cursor.fetchone()[0]
    try:
        yield held
    finally:
        if held:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [lock])


def in_turn(lock: int) -> None:
    """Waits until nobody else holds the lock of this number, and holds it until the transaction
    that it is called in ends.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
