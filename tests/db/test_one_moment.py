"""What several statements read while the follower commits a block between two of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import history
from ledger import selectors
from ledger.models import Ledger, Movement, SubAccount
from operators import flows
from operators.period import Period
from tests import factories
from tests.db.operator_world import World
from tests.factories import ALICE, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def committed_after(table: str, act: Callable[[], None]) -> Iterator[None]:
    """Somebody else commits `act` as soon as rows of `table` were read for the first time."""
    acts = [act]

    def elsewhere() -> None:
        try:
            acts.pop()()
        finally:
            connection.close()

    def wrapped(execute: Any, sql: str, *given: Any) -> Any:
        found = execute(sql, *given)
        if acts and f'FROM "{table}"' in sql:
            other = Thread(target=elsewhere)
            other.start()
            other.join(20)
        return found

    with connection.execute_wrapper(wrapped):
        yield
    assert not acts, f"{table} was not read"


def _transfer() -> None:
    """3 0G go from the compute account into the sub-account, in one block."""
    now = timezone.now()
    pair = {"serving": INFERENCE, "provider": PETRA}
    sides: tuple[tuple[str, int, int, dict[str, str]], ...] = (
        ("available", -3, 7, {}), ("sub_account", 3, 3, pair)
    )  # fmt: skip
    for balance, amount, after, where in sides:
        Movement.objects.create(
            user=ALICE, kind="transfer", balance=balance, amount=amount * ONE,
            balance_after=after * ONE, block=2, at=now, sequence=1, source="event", **where,
        )  # fmt: skip
    Ledger.objects.update(available=7 * ONE, block=2)
    SubAccount.objects.update(balance=3 * ONE, block=2)


@pytest.fixture
def funded() -> None:
    factories.contract()
    factories.purse(available=10 * ONE, total=10 * ONE, block=1)
    factories.sub_account(balance=0, block=1)
    Movement.objects.create(
        user=ALICE, kind="deposit", balance="available", amount=10 * ONE, balance_after=10 * ONE,
        block=1, at=timezone.now() - dt.timedelta(days=62), sequence=1, source="event",
    )  # fmt: skip


def test_no_money_is_in_two_places_or_in_none(funded: None) -> None:
    with committed_after("ledger_ledger", _transfer):
        found = selectors.account(ALICE)
    assert found.ledger is not None
    lies = sum(position.balance for position in found.positions)
    assert (found.ledger.available, lies) == (10 * ONE, 0)
    after = selectors.account(ALICE)
    assert after.ledger is not None
    assert (after.ledger.available, after.positions[0].balance) == (7 * ONE, 3 * ONE)


def test_a_statement_is_of_one_moment(funded: None) -> None:
    today = timezone.now().date()
    with committed_after("ledger_movement", _transfer):
        sheet = history.statement(ALICE, today.replace(day=1), today)
    assert sheet.adds_up and sheet.closing.available == 10 * ONE


def test_books_are_of_the_blocks_that_they_name() -> None:
    world = World()
    world.name("a model")
    world.settle(ALICE, "success", 10)
    final = world.block

    def block() -> None:
        world.next_block()
        world.settle(ALICE, "success", 5)

    with committed_after("ledger_settlement", block):
        found = flows.books(PETRA, Period("all"), final)
    assert found.agrees and (found.settled, found.charged, found.logged) == (10, 10, 10)
    assert flows.books(PETRA, Period("all"), world.block).settled == 15
