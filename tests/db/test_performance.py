"""The Performance tab and its API: the same numbers everywhere, a bounded number of queries, and
example data that says so wherever it is."""

from __future__ import annotations

import csv
import datetime as dt
import io
import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from inference.models import Chat, State, Turn
from inference.timings import Timings, timings
from ledger import selectors as ledger
from probes import counting, examples, fold, selectors
from probes.fold import CELL, DAY
from probes.models import Bucket, Health, Probe
from probes.selectors import Spread
from tests.db import api_rows
from tests.db.api_rows import INFERENCE, PAUL, PETRA

pytestmark = pytest.mark.django_db
PAGE = f"/services/inference/{PETRA}/performance"
API = f"/api/v1/services/inference/{PETRA}"


@pytest.fixture(autouse=True)
def market() -> None:
    api_rows.head()
    api_rows.contracts()
    api_rows.service(PETRA)
    api_rows.service(PAUL)


def measure(*states: str, **fields: Any) -> None:
    """One probe in each of the last cells, the newest state last."""
    now = timezone.now()
    cells = []
    for age, state in enumerate(reversed(states)):
        at = fold.floor(now, CELL) - age * CELL
        Probe.objects.create(
            serving=INFERENCE, provider=PETRA, kind="inference", service_name="inference-v1.0",
            at=at, url="", state=state, **fields,
        )  # fmt: skip
        cells.append((INFERENCE, PETRA, at))
    counting.recount(cells)
    row = Health(
        serving=INFERENCE, provider=PETRA, kind="inference", service_name="inference-v1.0",
        state=states[-1], since=now, checked_at=now, note="No answer in time", tls_days=3,
    )  # fmt: skip
    row.save()
    counting.refresh([row], now)


def test_page_api_and_csv_say_the_same(client: Client) -> None:
    measure("up", "up", "degraded", "down", answer_ms=40, first_token_ms=900, tokens=21,
            stream_ms=1_000)  # fmt: skip
    found = client.get(f"{API}/health").json()
    assert found["uptime"] == {"percent": "75.00", "probes": 4, "cells": 4}
    assert found["first_token_ms"] == {"p50": 900, "p95": 900, "n": 4}
    assert found["tokens_per_second"] == {"p50": "20.0", "p5": "20.0", "n": 4}
    assert [cell["state"] for cell in found["cells"][-5:]] == [
        "none", "up", "up", "degraded", "down",
    ]  # fmt: skip
    assert found["cells"][0] == {
        **found["cells"][0], "state": "none", "uptime": None, "probes": 0, "answer_ms": None,
    }  # fmt: skip
    assert not found["example"] and found["now"]["note"] == "No answer in time"
    rows = list(csv.DictReader(io.StringIO(client.get(f"{API}/health.csv").content.decode())))
    assert len(rows) == 96
    assert rows[-1]["state"] == "down" and rows[-1]["uptime_percent"] == "0.00"
    assert rows[0]["state"] == "no data" and rows[0]["uptime_percent"] == ""
    page = client.get(PAGE).content.decode()
    assert "Up 75.00 % of the measured time in the last 24 hours" in page
    assert "Half of its answers begin within 900 ms" in page
    assert "96 cells of 15 minutes, oldest first: 2 up, 1 degraded, 1 down, 92 no data" in page
    assert "3 days left" in page and "example data" not in page
    now = timezone.now()
    Health.objects.update(since=now - 2 * DAY)  # down for two days: what was seen is that old
    assert "1 day left" in client.get(PAGE).content.decode()
    Health.objects.update(since=now - 4 * DAY)
    page = client.get(PAGE).content.decode()
    assert "has ended" in page and "-1 days" not in page
    Health.objects.update(state="degraded", tls_days=None)
    assert "not asked over TLS" not in client.get(PAGE).content.decode(), "its URL is https"
    service = client.get(API).json()
    assert service["health"]["uptime"]["last_24h"] == found["uptime"]
    assert client.get(f"/api/v1/services/inference/{PAUL}").json()["health"] is None


def test_hostile_windows_and_unknown_services(client: Client) -> None:
    assert client.get(f"{PAGE}?window=%00<script>").status_code == 200
    assert client.get(f"{API}/health?window=1y").status_code == 422
    assert client.get(f"/services/inference/{api_rows.ALICE}/performance").status_code == 404
    for suffix in ("", ".csv"):
        path = f"/api/v1/services/inference/{api_rows.ALICE}/health{suffix}"
        assert client.get(path).status_code == 404
    api_rows.tuning(PAUL)
    queue = client.get(f"/services/fine-tuning/{PAUL}/performance")
    assert queue.status_code == 200 and "has not been probed" in queue.content.decode()
    examples.seed(ledger.services_of(PAUL))
    queue = client.get(f"/services/fine-tuning/{PAUL}/performance")
    assert "Half of the time its queue length comes within" in queue.content.decode()
    assert "first token" not in queue.content.decode()
    assert "It has not been probed yet" in client.get(PAGE).content.decode()
    empty = client.get(f"{API}/health?window=90d").json()
    assert len(empty["cells"]) == 90 and empty["now"]["state"] == "none"


def test_an_answer_is_kept_until_something_was_measured(client: Client) -> None:
    # A window moves on before the first probe, too.
    now = timezone.now()
    for state in (selectors.state, selectors.state_within):
        assert [*state(now)] != [*state(now + CELL)]
    measure("up")
    for path in (API, f"{API}/health"):
        tag = client.get(path)["ETag"]
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
        Health.objects.get(provider=PETRA).save()
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_the_number_of_queries_does_not_grow(
    client: Client, django_assert_max_num_queries: Any
) -> None:
    examples.seed(ledger.services_of(PETRA))
    for window in ("24h", "7d", "90d"):
        with django_assert_max_num_queries(13):
            assert client.get(f"{PAGE}?window={window}").status_code == 200
        with django_assert_max_num_queries(9):
            client.get(f"{API}/health?window={window}")


def test_example_data_says_so_and_never_replaces_measurements(client: Client) -> None:
    measure("down", "down")
    real = set(Bucket.objects.values_list("pk", "good"))
    now = timezone.now()
    added = examples.seed(ledger.services_of(PETRA) + ledger.services_of(PAUL), now)
    assert added > 2 * 90 + 2 * 200
    assert real <= set(Bucket.objects.values_list("pk", "good"))
    assert examples.seed(ledger.services_of(PAUL), now) == 0, "a second run adds nothing"
    found = client.get(f"{API}/health").json()
    assert found["example"] and found["now"]["example"] and found["now"]["state"] == "down"
    marked = [cell for cell in found["cells"] if cell["example"]]
    assert marked and all(cell["state"] != "none" for cell in marked)
    page = client.get(PAGE).content.decode()
    assert page.count("example data</span>") >= 4
    for path in ("/models", "/providers"):
        assert "example data</span>" in client.get(path).content.decode(), path
    rows = csv.DictReader(io.StringIO(client.get(f"{API}/health.csv").content.decode()))
    assert {row["example_data"] for row in rows} == {"", "true"}
    other = client.get(f"/api/v1/services/inference/{PAUL}").json()["health"]
    assert other["example"] and other["uptime"]["last_90d"]["cells"] > 80 * 96
    # Hours and days are told by the same outages.
    hours = Bucket.objects.filter(provider=PAUL, span=3600, start__gte=now - 8 * DAY)
    day = fold.floor(now, DAY) - 2 * DAY
    within = [row for row in hours if day <= row.start < day + DAY]
    whole = Bucket.objects.get(provider=PAUL, span=86_400, start=day)
    assert abs(sum(row.answered for row in within) - whole.answered) <= 24
    assert dt.timedelta(0) <= now - max(row.start for row in hours) < dt.timedelta(hours=2)


def test_metrics_count_what_was_measured(client: Client) -> None:
    measure("up", "down")
    examples.seed(ledger.services_of(PAUL))
    text = client.get("/metrics").content.decode()
    assert 'probes_services{state="down"} 1.0' in text
    assert 'probes_services{state="up"} 0.0' in text, "examples are not counted"
    (age,) = [float(line.split()[1]) for line in text.splitlines()
              if line.startswith("probes_age_seconds ")]  # fmt: skip
    assert 0 <= age < 120


# --- answers of people who share their times ------------------------------------------------------


def answer(user: User, first_token_ms: int, **fields: Any) -> None:
    chat = Chat.objects.get_or_create(owner=user, provider=PETRA)[0]
    values = {"completion_tokens": 101, "total_ms": first_token_ms + 5_000, **fields}
    Turn.objects.create(
        chat=chat, prompt_key=uuid.uuid4(), state=State.ANSWERED, process="test", provider=PETRA,
        serving=INFERENCE, url="", model="", input_price=1, output_price=1, max_tokens=10,
        first_token_ms=first_token_ms, **values,
    )  # fmt: skip


def test_only_those_who_share_count_and_never_so_few_that_they_are_seen(client: Client) -> None:
    measure("up")
    people = [User.objects.for_address(api_rows.address(n)) for n in range(1, 5)]
    for user in people:  # before anybody shared
        answer(user, 9_000)
    for user in people[:3]:
        client.force_login(user)
        page = client.get(PAGE).content.decode()
        assert "You do not share yours" in page
        done = client.post("/sharing", {"share": "yes", "next": f"{PAGE}?window=7d#shared"})
        assert (done.status_code, done["Location"]) == (302, f"{PAGE}?window=7d#shared")
    for n in range(9):
        answer(people[n % 2], 100 * (n + 1))
    assert timings(INFERENCE, PETRA) == Timings(), "nine answers of two people"
    answer(people[1], 1_000)
    assert timings(INFERENCE, PETRA) == Timings(), "ten answers of two people"
    answer(people[2], 1_100, completion_tokens=None)
    answer(people[2], 1_100, total_ms=1_101)  # came in one piece
    answer(people[3], 50_000)  # never shared
    found = timings(INFERENCE, PETRA)
    assert found.first_token == Spread(600, 1_100, 12)
    assert found.tokens is None, "speeds of two people only"
    assert "median 600 ms, 19 of 20 within 1.1 s, 12 answers" in client.get(PAGE).content.decode()
    assert timings(INFERENCE, PAUL) == Timings()
    # Taken back: out at once, also what was answered while it was shared.
    for _ in range(2):
        client.post("/sharing", {"share": "no", "next": "//evil.example/"})
    assert timings(INFERENCE, PETRA) == Timings()
    assert client.post("/sharing", {"next": "https://evil.example/"})["Location"] == "/"
    client.logout()
    assert client.post("/sharing", {"share": "yes"}).status_code == 403
    assert "/sharing" not in client.get(PAGE).content.decode()
    assert client.get("/sharing").status_code == 405
