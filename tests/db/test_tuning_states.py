"""Fine-tuning where a provider, or our own queue, does what the pages did not expect."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.app import app_or_default
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from devnet import accounts as cast
from finetune import (
    broker,
    deploying,
    follow,
    offers,
    reading,
    results,
    selectors,
    stages,
    wizard,
)
from finetune.models import Dataset, DatasetState, LogPart, Passage, ProviderFacts, Task
from ledger import selectors as ledger
from ledger.models import SubAccount
from net import queue
from protocol import tuning
from tests import factories
from tests.db.test_keys_lasting import signed_in

pytestmark = pytest.mark.django_db
HASH = "0x" + "ab" * 32


@pytest.fixture(autouse=True)
def chain(settings: Any) -> None:
    cache.clear()
    settings.ALLOW_PRIVATE_PROVIDERS = True
    factories.head()
    factories.contract(kind="fine-tuning", address=factories.FINE_TUNING)


@pytest.fixture
def alice() -> User:
    return User.objects.for_address(cast.user(1).address)


def made(user: User, *, named: bool = True, **more: Any) -> Task:
    """A task whose result the chain names, or not yet."""
    values: dict[str, Any] = {
        "provider": factories.PETRA,
        "serving": factories.FINE_TUNING,
        "service_name": "fine-tuning-v1.0",
        "url": "http://127.0.0.1:1",
        "model": "m",
        "parameters": "{}",
        "progress": tuning.DELIVERED,
        **more,
    }
    now = timezone.now()
    task = Task.objects.create(
        user=user, remote_id=uuid4(), price_per_token=1, nonce=1, created_at=now, **values
    )
    result = {"id": str(task.remote_id), "model_root_hash": HASH, "acknowledged": False}
    if named:
        factories.sub_account(
            user=user.address,
            provider=task.provider,
            serving=task.serving,
            deliverables=[{**result, "settled": False, "timestamp": int(now.timestamp())}],
        )
    return task


def settle(settled: bool) -> None:
    """The one result on the chain is paid for, or not."""
    held = SubAccount.objects.get()
    held.deliverables = [{**one, "settled": settled} for one in held.deliverables]
    held.save()


@pytest.mark.parametrize("said", ["", "[]", '{"num_train_epochs": 1e999}', "{" * 5_000])
def test_settings_that_cannot_be_read_are_shown_as_such(alice: User, said: str) -> None:
    """What a provider says of a task that was made with another program."""
    held = Dataset.objects.create(user=alice, name="d", size=1, tokens=7, state=DatasetState.GOOD)
    task = made(alice, parameters=said, dataset=held)
    answer = signed_in(cast.user(1)).get(f"/fine-tuning/tasks/{task.pk}")
    text = answer.content.decode()
    assert answer.status_code == 200 and 'data-testid="settings-unreadable"' in text
    assert "our estimate" not in text and "not counted yet" in text
    assert "per 1M tokens and epoch" in text and "task-told" not in text
    Task.objects.update(looked_at=timezone.now())
    assert (
        b'data-testid="task-told"' in signed_in(cast.user(1)).get(answer.wsgi_request.path).content
    )
    assert "task-images" not in text


def test_how_far_it_came_is_said_while_it_trains_and_where_it_failed() -> None:
    curve, now = reading.curve(reading.parse("step 4/10 loss 2.75")), timezone.now()
    for progress in (*tuning.STAGES, tuning.FAILED):
        said = selectors.left(Task(progress=progress, created_at=now, looked_at=now), curve)
        assert (said == "step 4 of 10") is (progress in (tuning.TRAINING, tuning.FAILED)), progress


# --- what stands in a result's way, and what it cost ------------------------------------------


def test_a_list_of_results_costs_the_same_for_few_and_many(
    alice: User, django_assert_max_num_queries: Any
) -> None:
    for provider in (factories.PETRA, factories.address("two"), factories.address("three")):
        made(alice, provider=provider)
        held = ledger.account(alice.address).positions
        with django_assert_max_num_queries(3):
            rows = selectors.task_rows(alice, held, 20)
        assert all(row.deadline for row in rows)


def test_more_providers_of_the_base_model_cost_no_more_queries(alice: User) -> None:
    task, counted = made(alice), []
    for provider in (factories.PETRA, factories.address("two"), factories.address("three")):
        factories.service(provider, model=task.model)
        factories.sub_account(user=alice.address, provider=provider)
        with CaptureQueriesContext(connection) as queries:
            places = deploying.places(task)
        counted.append(len(queries))
    assert len(places) == 3 and all(place.position for place in places)
    assert all("amount=2" in place.top_up for place in places), "reserve, and something to spend"
    assert len(set(counted)) == 1


def test_a_failed_task_says_what_it_cost_and_can_be_reported(alice: User) -> None:
    task = made(alice, fee=10**16, progress=tuning.FAILED)
    Passage.objects.create(task=task, stage=tuning.TRAINING, at=task.created_at)
    factories.service(kind="fine-tuning", serving=factories.FINE_TUNING, provider=task.provider)
    client = signed_in(cast.user(1))

    def shown() -> str:
        return client.get(f"/fine-tuning/tasks/{task.pk}").content.decode()

    assert "Nothing was charged." in shown() and 'data-testid="task-report"' in shown()
    # The chain says that it was paid for, whatever its provider says of its fee.
    settle(True)
    assert "Nothing was charged." not in shown() and "<dd>not yet</dd>" not in shown()
    settle(False)
    assert hashlib.sha256(b"{}").hexdigest() in shown()
    stepper = shown().partition('class="stepper"')[2].partition("</ol>")[0]
    assert stepper.count("<time") == 1
    # Where the chain names none, nothing is awaited, and nobody will check what it was then.
    SubAccount.objects.update(deliverables=[])
    assert "<dd>nothing was settled</dd>" in shown() and "Nothing was logged." in shown()
    assert shown().count("was not checked then") == 2
    # Of one that is asked after no more nobody says that it is.
    Task.objects.update(error="Its log cannot be read.", looked_at=timezone.now(), look_next=None)
    assert "nobody asks again" in shown() and "we keep asking" not in shown()


def test_a_provider_that_tells_nothing_any_more_is_said_to_be_silent(alice: User) -> None:
    """One that is gone for good, or answers 404 for ever: in the list too, with what to do."""
    task = made(alice, named=False, progress=tuning.TRAINING, error="The provider says: no task.")
    told = timezone.now() - timedelta(days=3)
    log = "".join(f"2026-01-01T00:00:{n:02}Z step {n}/30 loss: 1.5\n" for n in range(20))
    LogPart.objects.create(task=task, offset=0, text=log)
    client, said = signed_in(cast.user(1)), 'data-testid="task-silent"'

    def shown(path: str) -> str:
        return client.get(path).content.decode()

    here = f"/fine-tuning/tasks/{task.pk}"
    for looked_at, failures, silent in (
        (timezone.now(), 2, False),  # it may be back in a minute
        (told, 0, False),
        (told, 2, False),  # nobody asked for days: we stood still, or it was found just now
        (told, 5, True),
        (None, 5, False),  # made a moment ago
    ):
        Task.objects.update(looked_at=looked_at, failures=failures)
        assert (said in shown(here)) is (said in shown("/fine-tuning")) is silent
        assert ("by the pace" in shown(here)) is not silent
    Task.objects.update(created_at=told)
    assert "nothing told yet" in shown("/fine-tuning") and said in shown(here)
    Task.objects.update(progress=tuning.FAILED)
    assert said not in shown(here) + shown("/fine-tuning")


@pytest.fixture
def answering() -> Iterator[Any]:
    """Serves with a handler; the server and its address."""
    with ExitStack() as stack:

        def serve(handler: type[BaseHTTPRequestHandler]) -> tuple[ThreadingHTTPServer, str]:
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(server.shutdown)
            return server, f"http://127.0.0.1:{server.server_port}"

        yield serve


# --- a log that cannot be had ------------------------------------------------------------------


class _Logging(BaseHTTPRequestHandler):
    """A provider of a training task whose log is `server.log`; None: it refuses to tell it."""

    def do_GET(self) -> None:
        found = self.server.log if self.path.endswith("/log") else self.server.told  # type: ignore[attr-defined]
        self.send_response(500 if found is None else 200)
        self.end_headers()
        self.wfile.write(found or b'{"error": "disk full"}')

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.django_db(transaction=True)
def test_a_task_goes_on_whatever_becomes_of_its_log(alice: User, answering: Any) -> None:
    """Reminders of the deadline rest on how far a task is."""
    server, url = answering(_Logging)
    task = made(alice, progress=tuning.TRAINING, url=url)
    said = {"id": str(task.remote_id), "progress": tuning.DELIVERED, "fee": "7"}
    server.told, server.log = json.dumps(said).encode(), None
    follow.look(task)
    task.refresh_from_db()
    assert task.progress == tuning.DELIVERED and task.fee == 7 and task.failures == 0
    assert task.error == "Its log cannot be read. The provider says: disk full."
    # What it counted before the training stays: a charge above it is marked.
    server.told = json.dumps({**said, "fee": "70"}).encode()
    follow.look(task)
    task.refresh_from_db()
    assert task.fee == 7
    # A long one is read as far as it is kept, and no further.
    server.log = b"x" * (broker.MOST_LOG_BYTES + (1 << 20))
    follow.look(task)
    task.refresh_from_db()
    assert task.log_bytes == broker.MOST_LOG_BYTES and not task.error
    # One that breaks off is not one that became shorter.
    server.log = None
    follow.look(task)
    task.refresh_from_db()
    assert task.log_bytes == broker.MOST_LOG_BYTES and not task.log_restarted
    # Nor is what was asked for earlier and came later, while somebody else looked too.
    server.log = b"short"
    Task.objects.update(looked_at=timezone.now() + timedelta(minutes=1))
    follow.look(task)
    task.refresh_from_db()
    assert task.log_bytes == broker.MOST_LOG_BYTES and not task.log_restarted
    # Nor does a failure that comes late stand where a newer answer does.
    server.told = None
    follow.look(task)
    task.refresh_from_db()
    assert task.failures == 0 and task.error.startswith("Its log")


@pytest.mark.django_db(transaction=True)
def test_a_log_that_is_another_one_at_every_look_is_written_a_few_times(
    alice: User, answering: Any
) -> None:
    server, url = answering(_Logging)
    task = made(alice, progress=tuning.TRAINING, url=url)
    server.told = json.dumps({"id": str(task.remote_id), "progress": tuning.TRAINING}).encode()
    kept: list[str] = []
    for look in range(5):
        server.log = (b"%d" % look) + b"x" * broker.MOST_LOG_BYTES
        follow.look(task)
        task.refresh_from_db()
        kept.append(selectors.log_text(task)[:1])
    assert kept == ["0", "1", "2", "2", "2"] and task.log_taken == follow.MOST_TAKEN
    assert task.failures == 0 and task.look_next is not None
    page = signed_in().get(f"/fine-tuning/tasks/{task.pk}", headers={"accept-language": "de"})
    assert "Das Protokoll wurde zu oft umgeschrieben" in page.content.decode()
    # The whole of a line without an end is in the download alone.
    assert len(page.content) < 10**5 and "x…" in page.content.decode()


class _Meeting(_Logging):
    """Hangs until another provider is asked too."""

    def do_GET(self) -> None:
        try:
            self.server.barrier.wait(10)  # type: ignore[attr-defined]
        except threading.BrokenBarrierError:
            self.server.told = None  # type: ignore[attr-defined]
        super().do_GET()


@pytest.mark.django_db(transaction=True)
def test_a_provider_that_hangs_holds_up_no_other(alice: User, answering: Any) -> None:
    barrier = threading.Barrier(2)
    for _ in range(2):
        server, url = answering(_Meeting)
        due = timezone.now() - timedelta(minutes=1)
        task = made(alice, named=False, progress=tuning.TRAINING, url=url, look_next=due)
        said = {"id": str(task.remote_id), "progress": tuning.TRAINED}
        server.told, server.log, server.barrier = json.dumps(said).encode(), b"", barrier
    assert follow.look_at_due() == 2
    assert {task.progress for task in Task.objects.all()} == {tuning.TRAINED}


def test_a_provider_with_many_tasks_takes_no_others_turn(alice: User) -> None:
    now = timezone.now()
    for _ in range(follow.BATCH + 1):
        made(alice, named=False, look_next=now - timedelta(minutes=9))
    other = made(alice, named=False, provider=factories.address("b"), look_next=now)
    found = follow.claimed(Task.objects.all(), now, follow.BATCH)
    assert other in found and len(found) == 1 + follow.BATCH // 4
    # What is claimed is nobody else's; the rest comes next.
    assert not set(found) & set(follow.claimed(Task.objects.all(), now, follow.BATCH))


@pytest.mark.django_db(transaction=True)
def test_one_round_of_looks_at_a_time_leaves_workers_to_others(alice: User) -> None:
    from finetune import tasks

    made(alice, named=False, look_next=timezone.now())
    elsewhere = connection.copy()
    with elsewhere.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [tasks.LOOKS])
    assert tasks.sweep() == 0
    elsewhere.close()
    assert tasks.sweep() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("day", ["0001-01-01", "2026-05-01", "9999-12-31"])
@pytest.mark.parametrize("zone", ["+15:00", "-15:00", "+23:59", "-23:59"])
def test_times_that_a_database_cannot_hold_break_nothing(
    alice: User, answering: Any, day: str, zone: str
) -> None:
    server, url = answering(_Logging)
    task = made(alice, progress=tuning.TRAINING, url=url)
    said = {"id": str(task.remote_id), "progress": tuning.TRAINED}
    said["updatedAt"] = f"{day}T00:00:00{zone}"
    server.told, server.log = json.dumps(said).encode(), b""
    follow.look(task)
    assert tuning.TRAINED in dict(stages.times(task))


def test_what_another_address_said_is_not_shown_of_the_new_one(alice: User) -> None:
    factories.service(kind="fine-tuning", serving=factories.FINE_TUNING, url="http://127.0.0.1:1")
    listing = ledger.service("fine-tuning", factories.PETRA)
    assert listing is not None
    ProviderFacts.objects.create(
        provider=listing.provider, serving=listing.serving, url="http://127.0.0.1:2", pending=7,
        asked_at=timezone.now(), told_at=timezone.now(),
    )  # fmt: skip
    assert offers.refresh_due() == 1  # nobody answers there
    assert offers.pending(listing) is None


@pytest.mark.django_db(transaction=True)
def test_a_task_that_was_found_has_its_models_name_and_no_made_up_times(
    alice: User, answering: Any
) -> None:
    server, url = answering(_Logging)
    factories.service(kind="fine-tuning", serving=factories.FINE_TUNING, url=url)
    listing = ledger.service("fine-tuning", factories.PETRA)
    assert listing is not None
    own = broker.Model("small", HASH, "", "", "", False)
    ProviderFacts.objects.create(
        provider=listing.provider, serving=listing.serving, url=url, models_told=[asdict(own)],
        asked_at=timezone.now(), told_at=timezone.now(),
    )  # fmt: skip
    said = {
        "id": str(uuid4()), "progress": tuning.FINISHED, "preTrainedModelHash": HASH,
        "createdAt": "2026-05-01T10:00:00Z", "updatedAt": "2026-05-01T11:00:00Z",
    }  # fmt: skip
    # One that nobody can read hides no other.
    server.told, server.log = json.dumps([{"progress": "Gone"}, said]).encode(), b""
    assert follow.adopt(alice, listing) == 1
    server.told = json.dumps(said).encode()
    follow.look(Task.objects.get())
    task = Task.objects.get()
    assert task.model == "small" and task.model_hash == HASH
    # What lay between was heard of today, and had been over in May.
    known = {step.label for step in stages.steps(task, None) if step.at}
    assert known == {tuning.INIT, tuning.FINISHED}


@pytest.mark.django_db(transaction=True)
def test_one_click_may_be_two(alice: User) -> None:
    barrier = threading.Barrier(4)
    for _ in range(wizard.MOST_DRAFTS):
        wizard.begin(alice)

    def click() -> None:
        barrier.wait()
        wizard.begin(alice)
        connection.close()

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert alice.tuning_drafts.count() == wizard.MOST_DRAFTS


# --- without a queue ------------------------------------------------------------------------------


@pytest.fixture
def no_queue() -> Iterator[None]:
    """Celery whose broker is a port at which nobody listens."""
    real = app_or_default()
    Celery("dead", broker="redis://127.0.0.1:1/0").set_current()
    yield
    real.set_current()


def test_a_dead_queue_is_an_answer(alice: User, no_queue: None, settings: Any) -> None:
    from finetune.tasks import sweep

    assert queue.put("finetune.sweep") is False and queue.put(sweep) is False
    # Beat has no signature and begins no fetch: the door says so, and nothing seems under way.
    settings.STORAGE_INDEXER_URL = "http://127.0.0.1:1"
    task = made(alice)
    client = signed_in(cast.user(1))
    door, body = f"/fine-tuning/tasks/{task.pk}/fetch", json.dumps({"from": "storage"})
    answer = client.post(door, body, content_type=JSON)
    assert answer.status_code == 503 and answer.json()["code"] == "queue_down"
    task.refresh_from_db()
    assert task.result_state == results.State.FAILED
    # A dataset that waits to be read is found by beat: nobody has to know.
    answer = client.post(
        "/fine-tuning/datasets", json.dumps({"name": "d", "size": 1}), content_type=JSON
    )
    here = f"/fine-tuning/datasets/{answer.json()['id']}"
    client.put(f"{here}/pieces/0", b"{", "application/octet-stream")
    finished = client.post(f"{here}/finish", "{}", content_type=JSON)
    assert finished.status_code == 200 and finished.json()["state"] == DatasetState.CHECKING


JSON = "application/json"
