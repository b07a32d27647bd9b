"""Two things at once in one transaction: one database connection, lent to a thread."""

from __future__ import annotations

import threading

import pytest
from django.db import DatabaseError, connection, transaction

from chain.background import in_background
from chain.models import Head

pytestmark = pytest.mark.django_db(transaction=True)
LATE = LookupError("the database was asked")


def add(number: int) -> None:
    Head.objects.create(chain_id=number)


def test_the_work_belongs_to_the_transaction_around_it() -> None:
    threads: list[str] = []

    def work() -> None:
        threads.append(threading.current_thread().name)
        add(1)

    with transaction.atomic(), in_background(work, otherwise=LATE):
        pass
    assert threads == ["in_background"]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        with in_background(lambda: add(2), otherwise=LATE):
            pass
        assert Head.objects.count() == 2
        raise ZeroDivisionError
    assert [head.chain_id for head in Head.objects.all()] == [1]


def test_errors_of_both_sides_arrive_and_leave_nothing() -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        add(3)
        with in_background(lambda: connection.cursor().execute("SELECT 1/0"), otherwise=LATE):
            pass
    with (
        pytest.raises(KeyError),
        transaction.atomic(),
        in_background(lambda: add(4), otherwise=LATE),
    ):
        raise KeyError
    # The block may not use what it has lent, and has it back afterwards.
    lent = in_background(lambda: add(5), otherwise=LATE)
    with pytest.raises(LookupError, match="was asked"), transaction.atomic(), lent:
        Head.objects.count()
    assert Head.objects.count() == 0
