"""Images made in the background: every state, every owner, every restart, and each paid once."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
import requests

from tests.live.media_upstream import MediaUpstream, drawn, picture
from tests.live.provider_lab import MODEL, ONE, Broker, Lab, Person, served
from tests.live.signed import verdict
from tests.waiting import eventually

PRICE = 10**17
GENERATIONS, EDITS, JOBS = (
    "/v1/async/images/generations",
    "/v1/async/images/edits",
    "/v1/async/jobs",
)


@pytest.fixture
def upstream() -> Iterator[MediaUpstream]:
    app = MediaUpstream()
    with served(app) as url:
        app.url = url + "/v1"
        yield app
        app.held = False


def broker_for(lab: Lab, upstream: MediaUpstream, **jobs: Any) -> Broker:
    service = {"type": "text-to-image", "input_price": 0, "output_price": PRICE}
    made = Broker(
        lab,
        lab.person(),
        upstream.url,
        service=service,
        jobs=jobs,
        limits={"requests_per_minute": 1000},
        chain={"cache_seconds": 1},
    ).start()
    lab.acknowledge(made.address)
    return made


@pytest.fixture
def broker(lab: Lab, upstream: MediaUpstream) -> Iterator[Broker]:
    made = broker_for(lab, upstream)
    yield made
    if made.alive:
        made.stop()


def customer(lab: Lab, broker: Broker, amount: int = 5 * ONE) -> Person:
    person = lab.person()
    lab.fund(person, broker.address, amount)
    return person


def wish(prompt: str = "cat", **more: Any) -> bytes:
    return json.dumps({"model": MODEL, "prompt": prompt, **more}).encode()


def submit(broker: Broker, user: Person, body: bytes, path: str = GENERATIONS) -> requests.Response:
    return broker.ask(user.provider_key(broker.address), body, path=path)


def submitted(broker: Broker, user: Person, body: bytes) -> str:
    answer = submit(broker, user, body)
    assert answer.status_code == 202 and answer.json()["status"] == "pending", answer.text
    assert answer.json().keys() == {"jobId", "status"}
    return str(UUID(answer.json()["jobId"]))


def look(broker: Broker, user: Person | None, job: str) -> requests.Response:
    headers = {"Authorization": user.provider_key(broker.address)} if user else {}
    return requests.get(f"{broker.url}{JOBS}/{job}", headers=headers, timeout=10)


def in_state(broker: Broker, user: Person, job: str, *states: str) -> requests.Response:
    """The job once it is in one of `states`."""

    def found() -> requests.Response | None:
        answer = look(broker, user, job)
        assert answer.status_code == 200, answer.text
        return answer if answer.json()["status"] in states else None

    answer: requests.Response = eventually(found)
    return answer


def error(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def test_a_job_from_question_to_proof(lab: Lab, broker: Broker, upstream: MediaUpstream) -> None:
    user = customer(lab, broker)
    upstream.held = True
    body = wish(n=2, response_format="b64_json")
    job = submitted(broker, user, body)
    working = in_state(broker, user, job, "processing")
    assert working.headers["Retry-After"] == "5" and "ZG-Res-Key" not in working.headers
    assert working.json()["data"] is None and broker.owes(user) == 0
    upstream.held = False
    done = in_state(broker, user, job, "completed")
    assert "Retry-After" not in done.headers and done.headers["Provider"] == broker.address
    found = done.json()
    assert found["jobId"] == job and found["errorMessage"] == ""
    assert found["createdAt"] <= found["updatedAt"] and found["updatedAt"].endswith("Z")
    assert upstream.bodies == [body]
    # The upstream's answer, byte for byte, inside ours.
    assert drawn(2) in done.content
    chat_id = done.headers["ZG-Res-Key"]
    assert verdict(broker, chat_id, body, picture(0), picture(1)) == "verified"
    assert broker.owes(user) == 2 * PRICE


def test_an_edit_behind_urls(lab: Lab, broker: Broker, upstream: MediaUpstream) -> None:
    user = customer(lab, broker)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n\x00\r\n'
        b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ncat\r\n'
        b'--b\r\nContent-Disposition: form-data; name="response_format"\r\n\r\nurl\r\n--b--\r\n'
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = broker.ask(user.provider_key(broker.address), body, path=EDITS, headers=kind)
    done = in_state(broker, user, answer.json()["jobId"], "completed", "failed")
    sent = upstream.bodies[0]
    assert b'name="model"\r\n\r\nlab-model' in sent and b"\r\n\r\nb64_json\r\n" in sent
    assert upstream.headers[0]["content-type"] == kind["Content-Type"]
    assert upstream.headers[0]["authorization"] == "Bearer upstream-secret"
    (row,) = done.json()["data"]["data"]
    assert requests.get(row["url"], timeout=10).content == picture(0)
    assert broker.owes(user) == PRICE


def test_only_the_owner_sees_a_job(lab: Lab, broker: Broker) -> None:
    owner, other = customer(lab, broker), customer(lab, broker)
    job = submitted(broker, owner, wish())
    assert error(look(broker, other, job)) == (
        403,
        "you do not have permission to access this job",
    )
    assert look(broker, None, job).status_code == 400
    for unknown in ("0" * 36, "x", "..%2f..", "'; DROP TABLE job; --"):
        assert look(broker, owner, unknown).status_code == 404
    assert error(look(broker, owner, "0" * 36)) == (404, "job not found")


def test_what_cannot_be_done_is_refused_or_fails_free_of_charge(lab: Lab, broker: Broker) -> None:
    user = customer(lab, broker)
    assert error(submit(broker, user, b"")) == (400, "request body is required")
    status, said = error(submit(broker, user, wish(n=99)))
    assert status == 400 and said.startswith("validate request: n must be")
    refused = in_state(broker, user, submitted(broker, user, wish("refuse")), "failed")
    assert refused.json()["errorMessage"] == (
        'provider returned status 400: {"error":{"message":"no cats"}}'
    )
    for word in ("denied", "hosted", "html"):
        failed = in_state(broker, user, submitted(broker, user, wish(word)), "failed")
        assert failed.json()["errorMessage"] == "provider request failed"
        assert "ZG-Res-Key" not in failed.headers and "secret" not in failed.text
    assert broker.owes(user) == 0
    poor = customer(lab, broker, ONE)
    assert "insufficient balance" in error(submit(broker, poor, wish()))[1]


def test_what_was_held_back_for_a_job_is_free_again(lab: Lab, broker: Broker) -> None:
    user = customer(lab, broker, ONE + 3 * PRICE)
    in_state(broker, user, submitted(broker, user, wish("refuse", n=3)), "failed")
    in_state(broker, user, submitted(broker, user, wish("fewer", n=3)), "completed")
    assert broker.owes(user) == 2 * PRICE
    # One picture is left to be paid for.
    in_state(broker, user, submitted(broker, user, wish(n=1)), "completed")
    assert "insufficient balance" in error(submit(broker, user, wish()))[1]


def test_open_jobs_count_against_the_balance(
    lab: Lab, broker: Broker, upstream: MediaUpstream
) -> None:
    user = customer(lab, broker, ONE + 3 * PRICE)
    upstream.held = True
    job = submitted(broker, user, wish(n=2))
    in_state(broker, user, job, "processing")
    status, said = error(submit(broker, user, wish(n=2)))
    assert status == 400 and "unsettled fees 0.200000 0G + current request fee 0.200000 0G" in said
    # Not even a restart forgets what is promised.
    broker.stop(signal.SIGKILL)
    broker.start()
    assert "insufficient balance" in error(submit(broker, user, wish(n=2)))[1]
    other = submitted(broker, user, wish(n=1))
    upstream.held = False
    for done in (job, other):
        in_state(broker, user, done, "completed")
    assert broker.owes(user) == 3 * PRICE
    assert "insufficient balance" in error(submit(broker, user, wish()))[1]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_restart_interrupts_nothing_for_good(
    lab: Lab, broker: Broker, upstream: MediaUpstream, how: int
) -> None:
    user = customer(lab, broker)
    upstream.held = True
    jobs = [submitted(broker, user, wish(n=1)) for _ in range(4)]
    in_state(broker, user, jobs[1], "processing")  # two workers, so two wait
    assert look(broker, user, jobs[3]).json()["status"] == "pending"
    assert broker.stop(how) < 3
    upstream.held = False
    broker.start()
    chat_ids = {in_state(broker, user, job, "completed").headers["ZG-Res-Key"] for job in jobs}
    assert len(chat_ids) == 4 and broker.owes(user) == 4 * PRICE
    assert len(upstream.bodies) == 6  # the interrupted two were made again, and paid once
    # Results outlive a restart as well.
    broker.stop(how)
    broker.start()
    done = look(broker, user, jobs[0])
    assert done.json()["status"] == "completed" and broker.owes(user) == 4 * PRICE
    assert verdict(broker, done.headers["ZG-Res-Key"], wish(n=1), picture(0)) == "verified"


def test_a_job_that_may_be_what_ends_the_broker_is_given_up(
    lab: Lab, broker: Broker, upstream: MediaUpstream
) -> None:
    user = customer(lab, broker)
    upstream.held = True
    job = submitted(broker, user, wish())
    for _ in range(2):
        in_state(broker, user, job, "processing")
        broker.stop(signal.SIGKILL)
        broker.start()
    failed = in_state(broker, user, job, "failed")
    assert "restarted" in failed.json()["errorMessage"]
    assert broker.owes(user) == 0
    broker.stop()
    with closing(sqlite3.connect(broker.state / "broker.sqlite3")) as db:
        ((body, tries),) = db.execute("SELECT body, tries FROM job").fetchall()
    assert (body, tries) == (b"", 2)  # and nobody's words are kept for longer than needed


def test_a_result_that_cannot_be_written_down_is_free_of_charge(lab: Lab, broker: Broker) -> None:
    broker.stop()
    with closing(sqlite3.connect(broker.state / "broker.sqlite3")) as db:
        db.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON job WHEN NEW.status = 'completed'"
            " BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    broker.start()
    user = customer(lab, broker, ONE + PRICE)
    for _ in range(2):  # what was held back for it is free again
        # No work is taken until the disk takes anything.
        taken = eventually(
            lambda: (it := submit(broker, user, wish(n=1))).status_code == 202 and it
        )
        failed = in_state(broker, user, taken.json()["jobId"], "failed")
        assert failed.json()["errorMessage"] == "internal error"
    assert broker.owes(user) == 0 and "disk full" in broker.log


def test_the_queue_has_an_end_and_shares(lab: Lab, upstream: MediaUpstream) -> None:
    made = broker_for(lab, upstream, queue=8, workers=1)
    greedy, others = customer(lab, made), [customer(lab, made) for _ in range(3)]
    upstream.held = True
    full = (400, "submit async job: async job queue is full, please try again later")
    for user in (greedy, *others):
        for _ in range(2):
            submitted(made, user, wish())
        answer = submit(made, user, wish())
        assert error(answer) == full and answer.headers["Retry-After"] == "5"
    late = customer(lab, made)
    assert error(submit(made, late, wish())) == full
    upstream.held = False
    eventually(lambda: made.owes(greedy) == 2 * PRICE)
    eventually(lambda: submit(made, late, wish()).status_code == 202)
    made.stop()


def test_results_and_pictures_expire(lab: Lab, upstream: MediaUpstream) -> None:
    made = broker_for(lab, upstream, keep_seconds=2)
    user = customer(lab, made)
    job = submitted(made, user, wish(response_format="url"))
    done = in_state(made, user, job, "completed")
    url = done.json()["data"]["data"][0]["url"]
    assert requests.get(url, timeout=10).status_code == 200
    time.sleep(2.1)
    assert error(look(made, user, job)) == (404, "job not found")
    assert error(requests.get(url, timeout=10)) == (404, "image not found or expired")
    # The debt and the proof stay.
    assert made.owes(user) == PRICE
    chat_id = done.headers["ZG-Res-Key"]
    assert verdict(made, chat_id, wish(response_format="url"), picture(0)) == "verified"
    made.stop()
    made.start()  # sweeps
    made.stop()
    with closing(sqlite3.connect(made.state / "broker.sqlite3")) as db:
        assert db.execute("SELECT count(*) FROM job").fetchall() == [(0,)]
        assert db.execute("SELECT count(*) FROM picture").fetchall() == [(0,)]


def test_a_provider_need_not_offer_jobs(lab: Lab, upstream: MediaUpstream) -> None:
    made = broker_for(lab, upstream, workers=0)
    user = customer(lab, made)
    disabled = (503, "async processing is not enabled")
    assert error(submit(made, user, wish())) == disabled
    assert error(look(made, user, "0" * 36)) == disabled
    assert submit(made, user, wish(), path="/v1/proxy/images/generations").status_code == 200
    made.stop()


def test_polling_has_a_limit(lab: Lab, broker: Broker) -> None:
    user = customer(lab, broker)
    job = submitted(broker, user, wish())
    if time.time() % 60 > 45:
        time.sleep(61 - time.time() % 60)
    headers = {"Authorization": user.provider_key(broker.address)}
    with requests.Session() as session:
        url = f"{broker.url}{JOBS}/{job}"
        codes = [session.get(url, headers=headers, timeout=10).status_code for _ in range(121)]
    assert codes[0] == 200 and codes[-1] == 429
