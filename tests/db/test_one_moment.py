"""What several statements do while somebody else commits between two of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts import history
from accounts.errors import Problem
from accounts.models import User
from alerts import deliver
from alerts import services as alerts
from alerts.kinds import Kind
from alerts.models import Rule
from finetune import wizard
from finetune.models import Draft
from inference import presets
from inference.models import OwnPreset
from ledger import selectors
from ledger.models import Ledger, Movement, SubAccount
from operators import flows
from operators.period import Period
from tests import factories
from tests.db.operator_world import World
from tests.factories import ALICE, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def committed_before(part: str, act: Callable[[], None]) -> Iterator[None]:
    """Somebody else commits `act` before the first statement that holds `part`; at the end, where a
    lock keeps it waiting."""
    acts = [act]

    def elsewhere() -> None:
        try:
            acts.pop()()
        finally:
            connection.close()

    other = Thread(target=elsewhere)

    def waiting() -> bool:
        rows = connection.connection.execute("SELECT FROM pg_locks WHERE NOT granted")
        return bool(rows.rowcount)

    def wrapped(execute: Any, sql: str, *given: Any) -> Any:
        if acts and part in sql:
            other.start()
            while other.is_alive() and not waiting():
                other.join(0.01)
        return execute(sql, *given)

    with connection.execute_wrapper(wrapped):
        yield
    assert not acts, f"nothing was asked with {part}"
    other.join(20)


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
    with committed_before('FROM "ledger_subaccount"', _transfer):
        found = selectors.account(ALICE)
    assert found.ledger is not None
    lies = sum(position.balance for position in found.positions)
    assert (found.ledger.available, lies) == (10 * ONE, 0)
    after = selectors.account(ALICE)
    assert after.ledger is not None
    assert (after.ledger.available, after.positions[0].balance) == (7 * ONE, 3 * ONE)


def test_a_statement_is_of_one_moment(funded: None) -> None:
    today = timezone.now().date()
    with committed_before('FROM "ledger_ledger"', _transfer):
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

    with committed_before('FROM "ledger_movement"', block):
        found = flows.books(PETRA, Period("all"), final)
    assert found.agrees and (found.settled, found.charged, found.logged) == (10, 10, 10)
    assert flows.books(PETRA, Period("all"), world.block).settled == 15


def test_a_rule_that_was_brought_back_at_the_last_second_is_there() -> None:
    rule = alerts.add(User.objects.for_address(ALICE), alerts.Wish(Kind.SIGNER, PETRA))
    alerts.delete(rule)
    said: list[bool] = []

    def restore() -> None:
        with suppress(Problem):  # too late
            alerts.restore(rule)
            said.append(True)

    with committed_before('DELETE FROM "alerts_rule"', restore):
        alerts.sweep(timezone.now() + alerts.UNDO_FOR)
    assert Rule.objects.filter(deleted_at=None).exists() == bool(said)


def test_a_try_at_once_is_one_however_often_it_is_pressed() -> None:
    user, now = User.objects.for_address(ALICE), timezone.now()
    hook = user.hooks.create(url="https://a.example", sealed_secret="s", created_at=now)
    due = {"tried": 1, "due_at": now + dt.timedelta(minutes=5)}
    row = user.deliveries.create(hook=hook, created_at=now, **due)
    with committed_before("SELECT 1", lambda: deliver.try_now(row)), transaction.atomic():
        deliver.try_now(row)
        connection.cursor().execute("SELECT 1")
    row.refresh_from_db()
    assert row.tried == 0


def test_a_preset_that_was_brought_back_at_the_last_second_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = User.objects.for_address(ALICE)
    preset = presets.save(user, "one", {}).id
    OwnPreset.objects.update(deleted_at=timezone.now() - presets.UNDO_FOR)
    monkeypatch.setattr(presets, "comes_back", lambda *_: True)  # a moment ago it did

    said: list[bool] = []

    def bring_back() -> None:
        said.append(presets.bring_back(user, preset))

    with committed_before('DELETE FROM "inference_ownpreset"', bring_back):
        presets.purge()
    assert OwnPreset.objects.filter(deleted_at=None).exists() == said[0]


def test_two_tabs_at_two_steps_of_one_draft_keep_what_both_say() -> None:
    factories.contract(kind="fine-tuning")
    draft = wizard.begin(User.objects.for_address(ALICE))
    other = Draft.objects.get(pk=draft.pk)
    root = "0x" + "ab" * 32
    wizard.choose_dataset(draft, None, root)
    other.parameters = other.parameters.replace("5", "4")
    wizard.configure(other)
    found = Draft.objects.get(pk=draft.pk)
    assert (found.dataset_hash, found.parameters) == (root, other.parameters)
    # What was written while it became a task in another tab stays, as a draft.
    Draft.objects.all().delete()
    wizard.configure(other)
    assert Draft.objects.get().parameters == other.parameters
