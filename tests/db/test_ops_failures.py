"""Failures of background work in `/ops`: how they are kept, and each handled once."""

from __future__ import annotations

import io
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import shared_task
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from accounts.models import User
from marketplace.celery import app
from marketplace.models import Announcement, AnnouncementKind, Update
from moderation import audit
from moderation.models import Act
from net import queue
from ops import failures
from ops.models import FailedTask, FailureState, Job, PasswordAccount
from tests import factories
from tests.db.test_ops import admin as admin
from tests.db.test_ops import in_queue
from tests.db.test_ops import queued as queued

pytestmark = pytest.mark.django_db


@shared_task(name="tests.fails")
def fails(*args: Any, **kwargs: Any) -> None:
    raise ValueError(f"cannot use {args}")


def test_the_workers_own_signal_keeps_a_failure_without_secrets() -> None:
    """The task runs as a worker runs it; only what is harmless is kept."""
    app.loader.import_default_modules()
    assert failures.arguments(["app-sk-abc"], {}) == ([failures.REMOVED], {}, False)
    secrets = ("app-sk-" + "a" * 60, "0x" + "ab" * 65, "what the doctor told me about it")
    uuid = "123e4567-e89b-12d3-a456-426614174000"
    for _ in range(3):
        fails.apply(
            args=(7, uuid, secrets[0]), kwargs={"signature": secrets[1], "said": secrets[2]}
        )
    row = FailedTask.objects.get()
    assert (row.name, row.times, row.whole, row.error) == ("tests.fails", 3, False, "ValueError")
    assert row.args == [7, uuid, failures.REMOVED] and not row.can_retry
    kept = repr({field.name: getattr(row, field.name) for field in row._meta.concrete_fields})
    for secret in secrets:
        assert secret not in kept
    assert "in fails" in row.trace


def test_a_failure_is_queued_again_once(client: Client, admin: User, queued: None) -> None:
    row = failures.keep("inference.check_reply", "1", ValueError("no"), [42], {})
    assert client.post(f"/ops/failures/{row.pk}", {"act": "retry"}).status_code == 302
    assert in_queue() == ["inference.check_reply"]
    assert client.post(f"/ops/failures/{row.pk}", {"act": "retry"}).status_code == 409
    assert in_queue() == ["inference.check_reply"]
    row.refresh_from_db()
    assert (row.state, row.handled_by) == (FailureState.RETRIED, admin)
    assert Act.objects.get().action == "failure_retry"
    again = failures.keep("inference.check_reply", "1", ValueError("no"), [42], {})
    assert again.pk != row.pk, "it is news that it failed again"
    assert client.post(f"/ops/failures/{again.pk}", {"act": "dismiss"}).status_code == 302
    unknown = failures.keep("os.system", "1", ValueError("no"), [], {})
    assert client.post(f"/ops/failures/{unknown.pk}", {"act": "retry"}).status_code == 409


def test_all_failures_are_handled_at_once_but_none_that_nobody_saw(
    client: Client, admin: User, queued: None
) -> None:
    factories.head()
    for number in range(3):
        failures.keep("probes.sweep", str(number), ValueError("no"), [number], {})
    failures.keep("alerts.sweep", "9", ValueError("no"), ["a secret, perhaps"], {})
    failures.keep("gone.task", "9", ValueError("no"), [], {})
    html = client.get("/ops").content.decode()
    assert "Retry all 3 that can be" in html and "Dismiss all 5" in html
    seen = re.search(r'name="seen" value="([\d.]+)"', html)[1]  # type: ignore[index]
    later = failures.keep("probes.sweep", "8", ValueError("later"), [], {})
    just_after = datetime.fromtimestamp(float(seen), UTC) + timedelta(milliseconds=1)
    FailedTask.objects.filter(pk=later.pk).update(last_at=just_after)
    assert client.post("/ops/failures", {"act": "retry", "seen": seen}).status_code == 302
    assert in_queue() == ["probes.sweep"] * 3
    assert client.post("/ops/failures", {"act": "dismiss", "seen": seen}).status_code == 302
    assert [row.pk for row in FailedTask.objects.filter(state=FailureState.OPEN)] == [later.pk]
    acts = list(Act.objects.order_by("number").values_list("action", "after"))
    assert acts == [("failures_retry", '{"number":3}'), ("failures_dismiss", '{"number":2}')]
    for wrong in (
        {"act": "retry"},
        {"act": "erase", "seen": seen},
        {"act": "retry", "seen": "٣.000000"},
    ):
        assert client.post("/ops/failures", wrong).status_code == 422


def test_what_cannot_be_recorded_is_not_done(
    client: Client, admin: User, queued: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is of every act: one that is not in it must not have happened."""
    failure = failures.keep("inference.check_reply", "1", ValueError("no"), [42], {})
    incident = Announcement.objects.create(
        kind=AnnouncementKind.INCIDENT, title="Nodes are slow", starts_at=timezone.now()
    )

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("the connection was lost")

    monkeypatch.setattr(audit, "record", away)
    client.raise_request_exception = False
    said = {"kind": "incident", "title": "Nodes are away", "text": "We look."}
    for path, values in (
        ("/ops/jobs", {"name": "doctor"}),
        (f"/ops/failures/{failure.pk}", {"act": "retry"}),
        ("/ops/failures", {"act": "dismiss", "seen": f"{time.time():.6f}"}),
        ("/ops/announcements", said),
        (f"/ops/announcements/{incident.pk}", {"act": "end", "text": "Over."}),
    ):
        assert client.post(path, values).status_code == 503
    monkeypatch.setattr("sys.stdin", io.StringIO("a long enough password\n"))
    with pytest.raises(OperationalError):
        call_command("create_staff", "ada")
    assert in_queue() == [] and not Job.objects.exists()
    assert FailedTask.objects.get().state == FailureState.OPEN
    assert Announcement.objects.get().ends_at is None and not Update.objects.exists()
    assert not PasswordAccount.objects.exists()


def test_what_the_queue_refuses_stays_open_and_what_it_took_is_recorded(
    client: Client, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.head()
    for number in range(3):
        failures.keep("probes.sweep", str(number), ValueError("no"), [number], {})
    room = [True]

    def put(name: str, *args: Any, **_: Any) -> bool:
        if not room:
            failures.keep(name, "later", ValueError("no"), list(args), {})  # by a worker
        return bool(room) and room.pop()

    monkeypatch.setattr(queue, "put", put)
    seen = f"{time.time():.6f}"
    assert client.post("/ops/failures", {"act": "retry", "seen": seen}).status_code == 503
    assert FailedTask.objects.filter(state=FailureState.OPEN).count() == 2
    assert client.post("/ops/failures", {"act": "retry", "seen": seen}).status_code == 503
    row = FailedTask.objects.filter(state=FailureState.OPEN).earliest("pk")
    assert client.post(f"/ops/failures/{row.pk}", {"act": "retry"}).status_code == 503
    assert FailedTask.objects.filter(state=FailureState.OPEN, handled_at=None).count() == 2
    acts = [act.action for act in Act.objects.order_by("number")]
    refused = "command_refused"
    assert acts == ["failures_retry", refused, "failures_retry", refused, "failure_retry", refused]


def test_a_retry_of_all_that_dies_midway_queues_nothing_twice(
    client: Client, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.head()
    rows = [failures.keep("probes.sweep", "1", ValueError("no"), [n], {}) for n in range(4)]
    taken: list[int] = []
    dying = True

    def put(name: str, *args: Any, **_: Any) -> bool:
        taken.append(args[0])
        if args[0] == 1 and dying:
            raise SystemExit  # the process ends after the queue has it
        if args[0] == 3:
            failures.keep(name, "2", ValueError("no"), list(args), {})  # by a fast worker
        return True

    monkeypatch.setattr(queue, "put", put)
    everything = {"act": "retry", "seen": f"{time.time():.6f}"}
    with pytest.raises(SystemExit):
        client.post("/ops/failures", everything)
    assert taken == [0, 1]
    assert [act.after for act in Act.objects.all()] == ['{"number":4}']
    assert client.get("/ops").content.decode().count("A retry of it broke off") == 1
    dying = False
    assert client.post("/ops/failures", everything).status_code == 302
    assert taken == [0, 1, 2, 3]
    # What broke off is said, and its retry waits for a decision; what failed again is news.
    left = FailedTask.objects.filter(state=FailureState.OPEN).order_by("pk")
    assert [(row.pk, row.cut_off) for row in left] == [(rows[1].pk, True), (rows[3].pk, False)]
    assert client.post(f"/ops/failures/{rows[1].pk}", {"act": "retry"}).status_code == 409
    left.filter(pk=rows[1].pk).update(handled_at=timezone.now() - FailedTask.CLAIM)
    assert "Retry all 1 that can be" in client.get("/ops").content.decode()
    assert client.post(f"/ops/failures/{rows[1].pk}", {"act": "retry"}).status_code == 302
    assert taken == [0, 1, 2, 3, 1]


def test_failures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MOST", 5)
    for number in range(9):
        failures.keep(f"a.task{number}", "1", ValueError("no"), [], {})
    assert set(FailedTask.objects.values_list("name", flat=True)) == {
        f"a.task{number}" for number in range(4, 9)
    }
