"""`/ops`: what it shows, what its buttons do, what failures keep, and readiness."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from django.conf import settings as site
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import limits
from accounts.errors import TooMany
from accounts.models import User
from accounts.roles import Role
from chain.models import Head, NodeState
from inference import lifespan
from inference.hub import Hub
from ledger.models import Reconciliation
from marketplace import api_readiness, doctor, presence, traffic
from moderation.models import Act
from ops import alarms, failures, jobs
from ops.models import Job, JobState
from tests import factories
from tests.db.test_admin import member

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client: Client) -> User:
    user = member(Role.ADMIN, "admin")
    client.force_login(user)
    return user


@pytest.fixture
def queued() -> None:
    """What reaches the real queue stays there, as no worker runs."""
    presence.client().delete(presence.QUEUE)


def in_queue() -> list[str]:
    rows: Any = presence.client().lrange(presence.QUEUE, 0, -1)
    return [orjson.loads(row)["headers"]["task"] for row in rows]


# --- the page -------------------------------------------------------------------------------------


def test_the_page_says_what_is_wrong_and_where_to_read_on(client: Client, admin: User) -> None:
    factories.head(halted=True, error="block 7 has <b>two</b> parents")
    NodeState.objects.create(
        chain_id=site.CHAIN_ID,
        position=0,
        name="https://one.example",
        state="resting",
        reason="HTTP 503",
        updated_at=timezone.now(),
    )
    presence.client().delete(presence.TASKS, presence.WEB)
    failures.keep("probes.sweep", "1", ValueError("no"), [], {})
    html = client.get("/ops").content.decode()
    shown = set(re.findall(r'data-alarm="(\w+)"', html))
    assert {"halted", "no_node", "worker", "failures"} <= shown
    assert "two&lt;/b&gt; parents" in html
    presence.ran("probes.sweep", 12, True)
    part = client.get("/ops?part=live", headers={"HX-Request": "true"}).content.decode()
    assert 'data-alarm="worker"' not in part and "12 ms" in part
    assert "<html" not in part and "on time" in part


def test_nothing_is_overdue_on_the_day_a_site_is_made(client: Client, admin: User) -> None:
    factories.head()
    tables = MigrationRecorder.Migration.objects
    tables.update(applied=timezone.now() - timedelta(minutes=50))
    assert 'data-alarm="compared"' not in client.get("/ops").content.decode()
    tables.update(applied=timezone.now() - timedelta(minutes=70))
    assert 'data-alarm="compared"' in client.get("/ops").content.decode()
    Reconciliation.objects.create(at=timezone.now(), scope=Reconciliation.SAMPLE, block=7)
    assert 'data-alarm="compared"' not in client.get("/ops").content.decode()


def test_every_alarm_has_its_place_in_the_runbook() -> None:
    headings = re.findall(r"(?m)^#+ (.+)$", (Path(site.BASE_DIR) / "docs/runbook.md").read_text())
    anchors = {re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") for heading in headings}
    assert set(alarms.ANCHORS.values()) <= anchors
    source = Path(alarms.__file__).read_text()
    assert set(re.findall(r'Alarm\(\s*"(\w+)"', source)) == set(alarms.ANCHORS)


def test_the_page_costs_the_same_however_much_there_is(
    client: Client, admin: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    factories.head()

    def cost() -> int:
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connection) as seen:
            assert client.get("/ops").status_code == 200
        return len(seen)

    client.get("/ops")
    few = cost()
    for number in range(30):
        failures.keep(f"a.task{number}", "1", ValueError("no"), [number], {})
        Job.objects.create(
            name="doctor", state=JobState.ENDED, created_at=timezone.now(), started_by=admin
        )
    assert cost() == few


def test_it_stands_while_redis_is_away(client: Client, admin: User, settings: Any) -> None:
    factories.head()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    html = client.get("/ops").content.decode()
    assert 'data-alarm="redis"' in html and "Redis does not answer" in html


def test_an_auditor_looks_and_an_admin_acts(client: Client) -> None:
    client.force_login(member(Role.AUDITOR, "auditor"))
    html = client.get("/ops").content.decode()
    assert (
        "only admins act" in html and "Retry" not in html and 'data-testid="ops-doctor"' not in html
    )
    assert client.post("/ops/jobs", {"name": "doctor"}).status_code == 403
    row = failures.keep("probes.sweep", "1", ValueError("no"), [], {})
    assert client.post(f"/ops/failures/{row.pk}", {"act": "retry"}).status_code == 403
    assert not Job.objects.exists() and not Act.objects.exists()


def test_whom_the_door_is_closed_to_learns_where_staff_signs_in(client: Client) -> None:
    for path in ("/ops?part=x&y", "/ops/announcements", "/moderation", "/moderation/record"):
        refused = client.get(path)
        html = refused.content.decode()
        assert refused.status_code == 403
        assert f'href="/ops/sign-in?next={quote(path, safe="")}">Staff sign-in</a>' in html
    assert "Staff sign-in" not in client.post("/ops/jobs").content.decode(), "a lost form"


# --- commands -------------------------------------------------------------------------------------


def test_a_button_is_its_command_and_leaves_a_record(
    client: Client, admin: User, queued: None
) -> None:
    factories.head()
    answer = client.post("/ops/jobs", {"name": "prune_dry_run"})
    job = Job.objects.get()
    assert answer["Location"] == f"/ops/jobs/{job.pk}" and in_queue() == ["ops.run_job"]
    act = Act.objects.get()
    assert (act.area, act.action, act.actor) == ("ops", "command_started", admin.address)
    twice = client.post("/ops/jobs", {"name": "prune_dry_run"})
    assert twice.status_code == 409 and Job.objects.count() == 1
    assert jobs.run(str(job.pk)) == JobState.ENDED
    assert jobs.run(str(job.pk)) is None, "nobody runs it again"
    page = client.get(f"/ops/jobs/{job.pk}").content.decode()
    assert re.search(r"by <span [^>]*><span [^>]*>0x[^<]*</span></span>, ended <time", page)
    assert "reconciliations: 0 would go" in page and "part=output" not in page


@pytest.mark.parametrize("typed", ["", "Replay", "replay!"])
def test_what_destroys_wants_its_name_typed(
    client: Client, admin: User, queued: None, typed: str
) -> None:
    answer = client.post("/ops/jobs", {"name": "replay", "typed": typed})
    assert answer.status_code == 422 and not Job.objects.exists() and in_queue() == []
    assert Act.objects.get().action == "command_refused"


def test_what_destroys_wants_a_fresh_signature(client: Client, admin: User, queued: None) -> None:
    """A browser that was left open, or a session that was taken, is not enough."""
    press = {"name": "replay", "typed": "replay"}
    session = client.session
    session["proved_at"] = int(time.time()) - 601
    session.save()
    answer = client.post("/ops/jobs", press)
    assert answer.status_code == 403 and "at most 10 minutes old" in answer.content.decode()
    assert 'name="typed" value="replay"' in answer.content.decode()
    assert not Job.objects.exists() and Act.objects.get().action == "command_refused"
    session["proved_at"] = int(time.time())
    session.save()
    assert client.post("/ops/jobs", press).status_code == 302 and Job.objects.get().name == "replay"


def test_a_command_that_fails_says_so_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, stdout: Any, **__: Any) -> None:
        stdout.write("asking https://user:pass@node.example/v1/key\n" + "x" * jobs.MOST_OUTPUT)
        raise RuntimeError("Bearer app-sk-abcdef is wrong")

    monkeypatch.setattr(jobs, "call_command", run)
    job = Job.objects.create(name="doctor", created_at=timezone.now())
    assert jobs.run(str(job.pk)) == JobState.FAILED
    job.refresh_from_db()
    assert job.code == 1 and job.cut and len(job.output) <= jobs.MOST_OUTPUT
    assert "RuntimeError" in job.output and "app-sk" not in job.output
    for secret in ("pass", "v1/key"):
        assert secret not in job.output


@pytest.mark.django_db(transaction=True)
def test_a_command_that_the_database_refuses_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(*_: Any, **__: Any) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 1")
            cursor.execute("SELECT pg_sleep(60)")

    monkeypatch.setattr(jobs, "call_command", run)
    job = Job.objects.create(name="doctor", created_at=timezone.now())
    assert jobs.run(str(job.pk)) == JobState.FAILED
    job.refresh_from_db()
    (line,) = job.output.splitlines()
    assert line.startswith("database: canceling statement") and "statement_timeout%3D0" in line


def test_a_job_whose_worker_died_makes_room(admin: User, queued: None) -> None:
    old = timezone.now() - timedelta(hours=1)
    dead = Job.objects.create(name="doctor", state=JobState.RUNNING, created_at=old, beat_at=old)
    assert dead.lost()
    job = jobs.start("doctor", admin)
    dead.refresh_from_db()
    assert dead.state == JobState.LOST and job.state == JobState.WAITING


def test_limits_that_were_hit_are_counted_without_who(client: Client, admin: User) -> None:
    factories.head()
    presence.client().delete(traffic.KEY, *presence.client().keys(f"{traffic.HITS}*"))
    limits.take_hits()
    for _ in range(3):
        with pytest.raises(TooMany):
            limits.spend(f"chat:{admin.address}", admin.address, limit=-1, seconds=60)
    asyncio.run(traffic.tell(Hub()))
    part = client.get("/ops?part=live", headers={"HX-Request": "true"}).content.decode()
    assert re.search(r'<dt class="mono">chat</dt>\s*<dd>3</dd>', part)
    metrics = client.get("/metrics").content.decode()
    assert 'limits_hit_total{limit="chat"} 3.0' in metrics and admin.address not in metrics


# --- readiness ------------------------------------------------------------------------------------


def test_ready_only_when_caught_up(client: Client, settings: Any) -> None:
    assert client.get("/readyz").status_code == 503, "nothing is indexed yet"
    factories.head()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True}), "detail is for staff"
    Head.objects.update(indexed_block=10)
    assert client.get("/readyz").status_code == 503, "far behind"
    # A node that is down for a day: what is known stays readable, and says how old it is.
    before = timezone.now() - timedelta(days=1)
    factories.head(checked_at=before, updated_at=before, error="no node answers")
    assert client.get("/readyz").status_code == 200
    client.force_login(member(Role.AUDITOR, "auditor"))
    detail = client.get("/readyz").json()
    assert detail["indexer"] == "stale" and detail["caught_up"] and detail["migrations"] == "ok"
    client.force_login(member(Role.MODERATOR, "moderator"))
    assert client.get("/readyz").json() == {"ready": True}
    settings.METRICS_TOKEN = "token"
    headers = {"Authorization": "Bearer token"}
    assert "cache" in client.get("/readyz", headers=headers).json()


def test_not_ready_when_something_is_missing(
    client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.head()
    client.force_login(member(Role.ADMIN, "admin"))
    lifespan.ENDING.set()
    try:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["process"]) == (503, "ending")
    finally:
        lifespan.ENDING.clear()
    assert client.get("/readyz").status_code == 200
    monkeypatch.setattr(api_readiness, "_seen", set())
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'ops'")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["migrations"]) == (503, "missing")


# --- numbers for Prometheus -----------------------------------------------------------------------


def test_metrics_tell_of_work_and_outcomes(client: Client) -> None:
    presence.client().delete(presence.QUEUE, presence.WEB, presence.TASKS)
    presence.client().lpush(presence.QUEUE, "one", "two")
    said = {
        "at": time.time(),
        "pid": 7,
        "sockets": {"chat": 2, "live": 3},
        "memory": 1,
        "ending": 0,
    }
    presence.client().hset(presence.WEB, "a", orjson.dumps(said))
    presence.client().hset(presence.WEB, "gone", orjson.dumps({**said, "at": 0}))
    presence.ran("probes.sweep", 5, True)
    text = client.get("/metrics").content.decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines["queue_waiting"]) == 2 and float(lines["web_processes"]) == 1
    assert float(lines['websockets{kind="live"}']) == 3
    assert float(lines['task_last_run{task="probes.sweep"}']) > 0
    assert float(lines["settlements_items"]) == 0
    presence.client().delete(presence.QUEUE)


def test_the_doctor_sees_a_clock_that_is_behind_the_chain() -> None:
    assert doctor._clock(60).ok
    wrong = doctor._clock(61)
    assert not wrong.ok and not wrong.fatal and wrong.text.startswith("61 s behind")
    assert wrong.text.endswith("unless days were skipped on this chain")
