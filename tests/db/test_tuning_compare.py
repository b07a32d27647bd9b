"""Runs beside each other: one's own, what differs, the lowest loss, one line for each."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from finetune import comparing
from finetune.models import LogPart, Task
from tests import factories

pytestmark = pytest.mark.django_db
SETTINGS = (
    '{"neftune_noise_alpha": 5, "num_train_epochs": %s, "per_device_train_batch_size": 2, '
    '"learning_rate": 0.0002, "max_steps": 3}'
)


@pytest.fixture
def alice() -> User:
    return User.objects.for_address(factories.ALICE)


def run(user: User, log: str, minutes: int = 0, epochs: int = 1, **given: Any) -> Task:
    values: dict[str, Any] = {
        "user": user,
        "remote_id": uuid.uuid4(),
        "provider": factories.PETRA,
        "serving": factories.FINE_TUNING,
        "service_name": "f",
        "url": "http://127.0.0.1:9",
        "model": "m<b>",
        "model_hash": "",
        "dataset_hash": "0xda7a",
        "parameters": SETTINGS % epochs,
        "price_per_token": 1,
        "nonce": 1,
        "signature": "0x",
        "tee_signer": factories.PETRA,
        "progress": "Finished",
        "created_at": timezone.now() - dt.timedelta(minutes=minutes),
        "look_next": None,
    }
    task = Task.objects.create(**{**values, **given})
    LogPart.objects.create(task=task, offset=0, text=log)
    return task


def losses(*values: str) -> str:
    of = len(values)
    return "".join(f"step {n}/{of} loss: {loss}\n" for n, loss in enumerate(values, 1))


def test_what_differs_and_the_lowest_loss_and_a_line_for_each(alice: User) -> None:
    long = run(alice, losses("2.5", "1.5", "1.25"))
    brief = run(alice, losses("2.5", "1.75"), epochs=2, fee=10**16)
    page = comparing.page(alice, [str(long.pk), str(brief.pk), str(long.pk), "not-an-id"])
    assert [one.task for one in page.runs] == [long, brief]
    rows = {row.label: row for row in page.rows}
    assert rows["Epochs"].values == ("1", "2") and rows["Epochs"].differs
    assert rows["Learning rate"].values == ("0.0002", "0.0002")
    assert not rows["Base model"].differs and rows["Fee"].values == ("–", "0.01 0G")
    assert rows["Last loss"].values == ("1.25", "1.75") and rows["Last loss"].best == 0
    assert rows["First loss"].best is None and rows["Last evaluation loss"].best is None
    assert page.chart is not None
    drawn = [(p.number, [v.number for v in p.values]) for p in page.chart.points]
    assert drawn == [(1, ["2.5", "2.5"]), (2, ["1.5", "1.75"]), (3, ["1.25", ""])]
    assert len(page.chart.series) == 2 and page.chart.series[0].dash != page.chart.series[1].dash


def test_equal_unreadable_and_silent_runs_win_nothing(alice: User) -> None:
    same = [run(alice, losses("1.5")), run(alice, losses("1.50"))]
    (last,) = [r for r in comparing.page(alice, [str(t.pk) for t in same]).rows
               if r.label == "Last loss"]  # fmt: skip
    assert last.best is None
    odd = run(alice, "nothing here\n", parameters="{not json")
    page = comparing.page(alice, [str(odd.pk), str(same[0].pk)])
    (epochs,) = [row for row in page.rows if row.label == "Epochs"]
    assert epochs.values == ("–", "1")
    quiet = comparing.page(alice, [str(odd.pk), str(run(alice, "").pk)])
    assert quiet.chart is None and quiet.rows


def test_only_ones_own_are_shown_and_at_most_four(
    alice: User, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = [run(alice, losses("1"), minutes=n) for n in range(6)]
    others = run(User.objects.for_address(factories.BOB), losses("0.1"), model="secret-of-bob")
    query = "&".join(f"task={task.pk}" for task in [others, *mine])
    assert "Sign in" in client.get(f"/fine-tuning/compare?{query}").content.decode()
    client.force_login(alice)
    body = client.get(f"/fine-tuning/compare?{query}").content.decode()
    assert "secret-of-bob" not in body and "<b>" not in body.split("<main")[1]
    assert body.count("Run ") >= 4 and "Run 5" not in body
    one = client.get(f"/fine-tuning/compare?task={mine[0].pk}").content.decode()
    assert "choose another one" in one and "compare-runs" not in one
    assert "tuning-compare" in client.get("/fine-tuning").content.decode()
    # One that is too old to be offered is shown where it is named.
    monkeypatch.setattr(comparing, "_NEWEST", 2)
    page = comparing.page(alice, [str(mine[5].pk), str(mine[0].pk), str(others.pk)])
    assert [one.task for one in page.runs] == [mine[5], mine[0]]
    assert [task for task, _shown in page.choices] == [mine[0], mine[1], mine[5]]
