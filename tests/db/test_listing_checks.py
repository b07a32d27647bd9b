"""The setup checker and the private self-test against local providers, good and bad."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.db.models import F
from django.test import Client
from django.utils import timezone

from accounts.errors import Problem
from accounts.models import User
from attestation.models import Finding, Payment, Standing, Verification
from ledger.models import Service
from net import queue
from operators import selftest, setup, setup_results, tasks
from operators.models import ListingDraft, SelfTest, SetupRun
from operators.models_listing import JobState
from probes.models import Health, Probe
from protocol import keys
from tests import factories
from tests.db import probe_world, verification_world
from tests.db.probe_world import Peer
from tests.factories import BOB, PETRA
from tests.pure.attestation_lab import ADDRESS

pytestmark = pytest.mark.django_db
NAME = "inference-v1.0"


class _Handler(probe_world._Handler):
    """Hands over evidence, too."""

    def do_GET(self) -> None:
        if self.path.startswith("/v1/quote"):
            self.note()
            body = getattr(self.server, "evidence", b"")
            self.answer(200 if body else 404, body)
        else:
            super().do_GET()


@contextmanager
def broker(evidence: bytes) -> Iterator[Peer]:
    with probe_world.peer() as server:
        server.RequestHandlerClass = _Handler
        server.evidence = evidence  # type: ignore[attr-defined]
        yield server


@pytest.fixture
def petra(settings: Any, tmp_path: Path) -> Iterator[User]:
    cache.clear()
    settings.CHAIN_RPC_URLS = ("http://127.0.0.1:9",)  # the index alone
    factories.head()
    factories.contract()
    with verification_world.vendors(settings, tmp_path):
        yield User.objects.for_address(PETRA)


def offer(url: str, **given: Any) -> Service:
    values: dict[str, Any] = {
        "model": "llama-3",
        "tee_signer": ADDRESS,
        "input_price": 0,
        "output_price": 0,
    }
    return factories.service(PETRA, url=url, **{**values, **given})


def checked(user: User, *, draft: bool = False) -> dict[str, str]:
    run = setup.start(user, "inference", NAME, draft=draft)
    tasks.check_setup(str(run.pk))
    run.refresh_from_db()
    assert run.state == "done" and run.finished_at is not None
    assert [one["id"] for one in run.checks] != []
    assert {one["id"] for one in run.checks} == set(setup_results.TITLES)
    # Nothing is said to be wrong without what to do about it.
    assert all(one["fix"] for one in run.checks if one["state"] in ("bad", "warn")), run.checks
    return {one["id"]: one["state"] for one in run.checks}


def untouched() -> None:
    for model in (Verification, Standing, Finding, Payment, Probe, Health):
        assert not model._default_manager.exists(), model


def test_a_good_provider_is_green_and_nothing_public_comes_of_it(petra: User) -> None:
    with broker(verification_world.evidence()) as server:
        offer(server.url)
        for rival in ("one", "two", "three"):
            factories.service(factories.address(rival), model="llama-3", output_price=5)
        Service.objects.filter(provider=PETRA).update(output_price=0)
        found = checked(petra)
    # An address and http are what a development network allows; a price of nothing is beside
    # every market.
    assert {id for id, state in found.items() if state != "ok"} == {"dns", "tls", "price"}
    untouched()


def test_each_fault_is_named_at_its_check(petra: User) -> None:
    with broker(b"") as server:
        server.manners.models = b'{"data": [{"id": "other"}]}'
        server.manners.cors = {}
        server.manners.pieces = tuple(probe_world.event(content="w ") for _ in range(9))
        row = offer(
            server.url,
            stake=0,
            tee_signer_acknowledged=False,
            additional_info="{broken",
        )
        factories.service(factories.address("rival"), model="llama-3", output_price=1)
        found = checked(petra)
        expected = dict.fromkeys(
            ("stake", "info", "models", "cors", "usage", "evidence", "acknowledged"), "bad"
        )
        assert {id: found[id] for id in expected} == expected
        assert (found["price"], found["signer"]) == ("warn", "not_checked")
        # Somebody else's evidence: read, and of another key.
        server.evidence = verification_world.evidence()  # type: ignore[attr-defined]
        Service.objects.filter(pk=row.pk).update(tee_signer=BOB, input_price=5, output_price=5)
        server.manners.chat_status = 401
        again = checked(petra)
        assert (again["signer"], again["evidence"]) == ("bad", "bad")
        assert (again["stream"], again["usage"]) == ("not_checked", "not_checked")
    down = checked(petra)
    assert (down["models"], down["evidence"], down["dns"]) == ("bad", "bad", "warn")
    untouched()


def customers_key(provider: str) -> str:
    fields = keys.KeyFields(BOB, provider, 1, 2, "nonce", 0, 255)
    return keys.encode(keys.raw_message(fields), "0x" + "12" * 65)


def test_a_customers_key_pays_the_one_question_about_streams_and_is_forgotten(petra: User) -> None:
    key = customers_key(PETRA)
    at, given = "/operator/setup", {"service": f"inference:{NAME}", "key": key}
    browser = Client()
    browser.force_login(petra)
    with broker(verification_world.evidence()) as server:
        offer(server.url, input_price=5, output_price=5)

        def states() -> tuple[str, str]:
            answer = browser.post(at, given)
            assert answer.status_code == 302, answer.content.decode()
            run = SetupRun.objects.latest("created_at")
            tasks.check_setup(str(run.pk))
            run.refresh_from_db()
            assert key not in str(vars(run)) and not cache.get(setup._key_of(run))
            assert key not in browser.get(f"{at}/{run.pk}").content.decode()
            found = {one["id"]: one["state"] for one in run.checks}
            return found["stream"], found["usage"]

        def said() -> str:
            checks = SetupRun.objects.latest("created_at").checks
            return next(str(one["found"]) for one in checks if one["id"] == "stream")

        assert states() == ("ok", "ok")
        paid = [asked for *_, asked in server.asked if asked.get("Authorization")]
        assert [asked["Authorization"] for asked in paid] == [f"Bearer {key}"]
        server.manners.chat_status = 401
        assert states() == ("bad", "not_checked") and "refused the key" in said()
        for status, state in ((404, "bad"), (429, "not_checked")):
            server.manners.chat_status = status
            assert states() == (state, "not_checked") and f"with status {status}." in said()
        server.manners.status = 503
        assert states() == ("not_checked", "not_checked") and "no answer to read" in said()
        server.manners.status, server.manners.chat_status = 200, 401
        others = customers_key(BOB)
        for wrong, why in ((others, "another provider"), ("app-sk-x", "no provider key")):
            refused = browser.post(at, {**given, "key": wrong})
            page = refused.content.decode()
            assert refused.status_code == 400 and why in page and wrong not in page
        given["key"] = ""
        assert states() == ("not_checked", "not_checked")
    untouched()


def test_hosts_nobody_should_be_sent_to_are_not_asked(petra: User, settings: Any) -> None:
    offer("http://127.0.0.1:4004")
    settings.ALLOW_PRIVATE_PROVIDERS = False
    found = checked(petra)
    assert found["dns"] == "bad"
    assert {found[id] for id in ("models", "tls", "cors", "evidence", "signer")} == {"not_checked"}


def test_a_draft_can_be_checked_before_it_is_published(petra: User) -> None:
    with broker(verification_world.evidence()) as server:
        with pytest.raises(Problem, match="published no such service"):
            setup.start(petra, "inference", NAME, draft=False)
        ListingDraft.objects.create(
            user=petra,
            kind="inference",
            service_name=NAME,
            typed={"url": server.url, "model": "llama-3", "tee_signer": ADDRESS},
        )
        with pytest.raises(Problem, match="input price, output price"):
            setup.start(petra, "inference", NAME, draft=True)
        ListingDraft.objects.update(
            typed={
                **{"url": server.url, "model": "llama-3", "tee_signer": ADDRESS},
                **{"input_price": "0", "output_price": "0"},
            }
        )
        found = checked(petra, draft=True)
        assert found["models"] == found["cors"] == found["signer"] == "ok"
        assert found["stake"] == found["acknowledged"] == "not_checked"


def test_runs_are_private_bounded_and_never_hang(
    petra: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer("http://127.0.0.1:4004")
    run = setup.start(petra, "inference", NAME, draft=False)
    with monkeypatch.context() as patched, pytest.raises(Problem, match="under way"):
        patched.setattr(setup, "_key_of", lambda row: "the-key")
        setup.start(petra, "inference", NAME, draft=False, key=customers_key(PETRA))
    assert cache.get("the-key") is None, "no worker would take it"
    mine, theirs = Client(), Client()
    mine.force_login(petra)
    theirs.force_login(User.objects.for_address(BOB))
    at = f"/operator/setup/{run.pk}"
    assert b"Waiting for a worker" in mine.get(at).content
    assert b"every 1s" in mine.get(at, headers={"HX-Request": "true"}).content
    assert theirs.get(at).status_code == 404
    assert b"Connect the wallet of your service" in Client().get(at).content
    assert mine.get(f"/operator/setup/{uuid.uuid4()}").status_code == 404
    for state, minutes, broken in (
        ("queued", 9, False),
        ("queued", 11, True),
        ("running", 6, True),
    ):
        # Waiting in line is not running.
        SetupRun.objects.update(
            state=state, created_at=timezone.now() - dt.timedelta(minutes=minutes)
        )
        assert (b"broke off" in mine.get(at).content) == broken
    for _ in range(setup.LIMIT - 2):
        SetupRun.objects.all().delete()
        setup.start(petra, "inference", NAME, draft=False)
    SetupRun.objects.all().delete()
    answer = mine.post("/operator/setup", {"service": f"inference:{NAME}"})
    assert answer.status_code == 429 and b"Too many requests" in answer.content
    tasks.check_setup(str(run.pk))  # a run that is gone
    for number in range(setup.MOST_AT_ONCE + setup.MOST_WAITING):
        other = User.objects.for_address(factories.address(f"crowd {number}"))
        sort = SetupRun if number % 2 else SelfTest
        sort.objects.create(user=other, kind="inference", url="https://x.example")
    cache.clear()
    with pytest.raises(Problem, match="Many checks"):
        setup.start(petra, "inference", NAME, draft=False)


def test_a_person_has_one_check_and_others_wait_in_the_order_they_came(
    petra: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def put(_task: str, key: str, **_: Any) -> bool:
        told.append(key)
        return True

    monkeypatch.setattr(queue, "put", put)

    def ask(user: User, sort: type[SetupRun] | type[SelfTest]) -> SetupRun | SelfTest:
        row = sort(user=user, kind="inference", url="https://x.example")
        task = setup.SETUP_TASK if sort is SetupRun else setup.SELF_TEST_TASK
        return setup.queued(row, task)

    first = ask(petra, SetupRun)
    with pytest.raises(Problem, match="A check of yours"):
        ask(petra, SelfTest)  # no second one of another sort either
    crowd = [User.objects.for_address(factories.address(f"waits {n}")) for n in range(5)]
    rows = [first, *(ask(user, SelfTest) for user in crowd)]
    assert told == [str(row.pk) for row in rows]
    under_way, (fourth, fifth, sixth) = rows[: setup.MOST_AT_ONCE], rows[setup.MOST_AT_ONCE :]
    # They wait for long, and have their five minutes all the same.
    for sort in (SetupRun, SelfTest):
        sort.objects.update(created_at=F("created_at") - dt.timedelta(minutes=4))
    for row in under_way:
        taken = setup.take(type(row), str(row.pk))
        assert taken is not None and timezone.now() - taken.created_at < dt.timedelta(minutes=2)
        assert setup.take(type(row), str(row.pk)) is None  # the same task once more
    told.clear()
    assert setup.take(SelfTest, str(fifth.pk)) is None and told == []
    setup.end(first, JobState.DONE)
    assert told == [str(fourth.pk)]
    # Nobody goes first who came later; and where the task of who did is lost, it is told again.
    assert setup.take(SelfTest, str(fifth.pk)) is None
    assert told == [str(fourth.pk)] * 2
    assert setup.take(SelfTest, str(fourth.pk)) is not None
    # A run whose worker died holds its place for five minutes.
    SetupRun.objects.all().delete()
    old = timezone.now() - setup.GIVEN_UP_AFTER
    dead = [*(row.pk for row in under_way), fourth.pk]
    SelfTest.objects.filter(pk__in=dead).update(created_at=old)
    told.clear()
    for _ in range(2):  # and tells nobody: the page of whoever waits does, not at every look
        assert setup.seen(SelfTest.objects.get(pk=sixth.pk)).open
    assert told == [str(fifth.pk)]
    assert setup.take(SelfTest, str(fifth.pk)) is not None
    # The last in line waits for two rounds that take all their time, and for what tells it so.
    late = timezone.now() - 2 * setup.GIVEN_UP_AFTER - dt.timedelta(seconds=setup.REMINDED_EVERY)
    SelfTest.objects.filter(pk=sixth.pk).update(created_at=late)
    assert setup.seen(SelfTest.objects.get(pk=sixth.pk)).open
    assert setup.take(SelfTest, str(sixth.pk)) is not None


def test_many_wallets_at_one_address_leave_places_to_others(petra: User) -> None:
    def ask(number: int, caller: str) -> SetupRun:
        user = User.objects.for_address(factories.address(f"crowd {number}"))
        row = SetupRun(user=user, kind="inference", url="https://x.example")
        return setup.queued(row, setup.SETUP_TASK, caller)

    first, *_ = [ask(number, "198.51.100.7") for number in range(setup.MOST_FROM_ONE)]
    with pytest.raises(Problem, match="Many checks"):
        ask(8, "198.51.100.7")
    ask(9, "198.51.100.8")
    setup.end(first, JobState.DONE)
    assert ask(8, "198.51.100.7").state == JobState.QUEUED


@pytest.mark.django_db(transaction=True)
def test_many_may_ask_at_once_and_no_more_begin_than_may() -> None:
    most = setup.MOST_AT_ONCE + setup.MOST_WAITING
    crowd = [User.objects.for_address(factories.address(n)) for n in range(most + 3)]
    runs = [SetupRun(user=user, kind="inference", url="https://x.example") for user in crowd]
    SetupRun.objects.bulk_create(runs[: most - 1])
    late, outcomes = runs[most - 1 :], []
    barrier = threading.Barrier(len(late))

    def ask(run: SetupRun) -> None:
        barrier.wait()
        try:
            setup.queued(run, setup.SETUP_TASK)
            outcomes.append("made")
        except Problem as problem:
            outcomes.append(problem.code)
        connection.close()

    threads = [threading.Thread(target=ask, args=(run,)) for run in late]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["busy", "busy", "busy", "made"]


def test_the_self_test_judges_like_the_public_engine_and_says_it_to_one_person(
    petra: User,
) -> None:
    with broker(verification_world.evidence()) as server:
        offer("http://127.0.0.1:4004")
        run = selftest.start(petra, "inference", NAME, server.url, "")
        tasks.judge_evidence(str(run.pk))
        run.refresh_from_db()
        (report,) = run.reports
        verdicts = {row["id"]: row["verdict"] for row in report["rows"]}
        assert report["overall"].startswith("dev-") and verdicts["bind.onchain"] == "pass"
        # Nor can an answer be taken for one about real hardware.
        assert all(answer.startswith("dev-") for answer in report["questions"].values())
        SelfTest.objects.update(created_at=timezone.now() - dt.timedelta(minutes=9))
        other = selftest.start(petra, "inference", NAME, server.url, BOB)
        tasks.judge_evidence(str(other.pk))
        other.refresh_from_db()
        assert other.reports[0]["overall"] == "fail"
        # A warning stands for nothing that is missing, as it does not of a published service.
        less = json.loads(verification_world.evidence())
        gpus = json.loads(less["nvidia_payload"])
        gpus["evidence_list"][0]["driver_version"] = "1.2.3"
        less |= {"nvidia_payload": gpus, "event_log": None}
        server.evidence = json.dumps(less).encode()  # type: ignore[attr-defined]
        SelfTest.objects.update(created_at=timezone.now() - dt.timedelta(minutes=9))
        third = selftest.start(petra, "inference", NAME, server.url, "")
        tasks.judge_evidence(str(third.pk))
        third.refresh_from_db()
        assert third.reports[0]["overall"] == "dev-partial"
    mine, theirs = Client(), Client()
    mine.force_login(petra)
    theirs.force_login(User.objects.for_address(BOB))
    shown = mine.get(f"/operator/selftest/{other.pk}").content.decode()
    assert 'data-check="bind.onchain" data-verdict="fail"' in shown
    assert "from the bundle" not in shown, "nothing is kept of it but its rows"
    asked = re.findall(r"<dt>(\w+ \w+) ", shown)
    assert asked == ["Is it", "Does that", "Is the", "Are the", "Was it"]
    assert theirs.get(f"/operator/selftest/{other.pk}").status_code == 404
    with pytest.raises(Problem, match="cannot be asked"):
        selftest.start(petra, "inference", NAME, "http://169.254.169.254/", "")
    untouched()
