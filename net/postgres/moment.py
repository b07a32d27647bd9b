"""Several reads that are of one moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections, models, router, transaction


@contextmanager
def one_moment(model: type[models.Model]) -> Iterator[None]:
    """All that is read inside, where rows of `model` are read, is as it was at the first statement,
    whatever is committed meanwhile; nothing can be written. In a transaction that has begun before
    it changes nothing.
    """
    alias = router.db_for_read(model)
    if connections[alias].in_atomic_block:
        yield
        return
    with transaction.atomic(alias):
        with connections[alias].cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
