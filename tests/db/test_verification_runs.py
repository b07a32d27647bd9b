"""One run from the listing to the stored verdict: real HTTP, real documents, every way to fail."""

from __future__ import annotations

import datetime as dt
import json
import threading
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from attestation import asking, bundle, history, runs, services, tasks, trust, verify
from attestation.engine.limits import MAX_BODY_BYTES
from attestation.errors import Busy, NoEvidence, TooSoon, UnknownService
from attestation.history import report
from attestation.models import (
    Document,
    Finding,
    Identity,
    Outcome,
    Retrieval,
    Standing,
    Trigger,
    Verification,
)
from attestation.pages import report_page
from attestation.selectors import ServiceKey, standing_of, verified_filter
from ledger.models import Service
from marketplace import conditions, reputation
from net.limits import Limits
from provider.tee.development.nvidia import Nvidia
from provider.tee.development.report import Machine
from tests.db.api_rows import INFERENCE, PETRA, address
from tests.db.verification_world import (
    KEY,
    SEED,
    Query,
    Reply,
    always,
    evidence,
    listed,
    provider,
    run,
    words,
)
from tests.db.verification_world import market as market  # a fixture
from tests.pure.attestation_lab import ADDRESS

pytestmark = pytest.mark.django_db


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LIMITS", Limits(connect=1, first_byte=0.5, between=0.5, total=2,
                        max_bytes=MAX_BODY_BYTES))  # fmt: skip
    monkeypatch.setattr(asking.ask, "__kwdefaults__", {"pauses": (0.01,)})


def test_complete_evidence_is_fetched_judged_and_kept() -> None:
    body = evidence(Machine(ADDRESS, gpus=2))
    with provider(always(body, headers={"Content-Type": "application/json"})) as server:
        listed(server.url)
        stored = run()
        path, query = server.asked[0]
    assert (path, len(server.asked)) == ("/v1/quote", 1)
    assert query == {"nonce": stored.nonce}
    assert len(bytes.fromhex(stored.nonce)) == 32
    assert (stored.outcome, stored.overall, stored.development) == ("judged", "dev-pass", True)
    verdicts = words(stored)
    assert (
        verdicts["tdx.tcb"] == verdicts["gpu1.measurements"] == verdicts["bind.onchain"] == "pass"
    )
    assert verdicts["gpu0.revocation"] == verdicts["nras.token"] == "pass"
    short = {row["id"] for row in stored.rows if row["verdict"] == "warn"}
    assert short == {"bind.nonce", "gpu.cpu_gpu"}, "no nonce in this layout, no binding on Hopper"
    assert (stored.questions["key"], stored.questions["fresh"]) == ("partial", "warn")
    assert stored.body is not None
    assert bytes(Document.objects.get(pk=stored.body_id).body) == body
    assert (stored.block, stored.onchain_signer, stored.acknowledged) == (100, ADDRESS, True)
    assert (stored.status, stored.headers["Content-Type"]) == (200, "application/json")
    assert stored.http_date is not None
    assert stored.attested_signer == ADDRESS
    assert len(stored.gpu_serials) == 2
    assert stored.ppid
    assert len(stored.compose_hash) == 64
    assert {ref["source"] for ref in stored.collateral} == {
        "tcb_info", "qe_identity", "pck_crl", "root_crl"
    }  # fmt: skip
    assert Document.objects.filter(pk__in=[r["sha256"] for r in stored.collateral]).count() == 4
    view = standing_of(KEY)
    assert (view.overall, view.verification_id) == ("dev-pass", stored.pk)
    assert (view.stale, view.unreachable_since, view.declared) == (False, None, "tee")


def test_a_stored_run_is_judged_again_to_the_same_rows_and_so_is_its_bundle() -> None:
    with provider(always(evidence())) as server:
        listed(server.url)
        run()
    stored = Verification.objects.get()
    again = verify.judge(runs.evidence_of(stored), runs.context_of(stored))  # type: ignore[arg-type]
    assert [runs.clean(vars(row)) for row in again.checks] == stored.rows
    assert again.questions() == stored.questions
    assert runs.content_hash(stored) == stored.content_hash
    brought, context = bundle.read(services.bundle(stored), trust.anchors())
    judged = verify.judge(brought, context)
    assert (judged.overall, judged.questions()) == (stored.overall, stored.questions)
    assert services.bundle(stored) == services.bundle(stored)
    changed = Verification.objects.get()
    changed.rows[0]["verdict"] = "warn"
    assert runs.content_hash(changed) != stored.content_hash


def test_collateral_is_asked_for_once_and_expired_documents_are_not_used() -> None:
    with provider(always(evidence())) as server:
        listed(server.url)
        run()
        fetched = Retrieval.objects.filter(source="tcb_info").count()
        run()
        assert Retrieval.objects.filter(source="tcb_info").count() == fetched == 1
        past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        Retrieval.objects.update(valid_until=past)
        with override_settings(PCS_URL="http://127.0.0.1:9"):
            stored = run()
    verdicts = words(stored)
    assert verdicts["tdx.tcb"] == verdicts["tdx.tcb_info"] == "not_checked"
    assert stored.questions["hardware"] not in ("pass", "fail")
    assert any(note["source"] == "tcb_info" for note in stored.notes)


def test_no_answer_is_no_verdict_and_keeps_the_last_one(impatient: None) -> None:
    with provider(always(evidence())) as server:
        listed(server.url)
        first = run()
        for reply in (
            Reply(status=503),
            Reply(status=429),
            Reply(b"x" * 99, cut=7),
            Reply(b"{}", wait=0.8),
            Reply(status=302, headers={"Location": "http://192.0.2.1/"}),
            Reply(b"zz", headers={"Content-Encoding": "gzip"}),
        ):
            server.answer = lambda path, query, reply=reply: reply  # type: ignore[misc]
            silent = run()
            assert (silent.outcome, silent.overall, silent.rows) == ("unreachable", "", [])
            assert silent.error
            view = standing_of(KEY)
            assert (view.overall, view.verification_id) == (first.overall, first.pk)
            assert view.stale
            assert view.unreachable_since is not None
        since = view.unreachable_since
        server.answer = always(evidence())
        assert run().overall == first.overall
    assert standing_of(KEY).unreachable_since is None
    assert run().outcome == "unreachable"
    assert standing_of(KEY).unreachable_since > since  # type: ignore[operator]
    days = timezone.now() - dt.timedelta(days=9)
    Standing.objects.update(unreachable_since=days)
    run()
    assert standing_of(KEY).unreachable_since == days
    # Nobody waited for days for an address that it has since now: it is asked again soon.
    Service.objects.update(url="http://127.0.0.1:1")
    assert run().outcome == "unreachable"
    assert standing_of(KEY).unreachable_since > since  # type: ignore[operator]


def test_nobody_is_asked_twice_by_a_patient_site_for_a_final_word(impatient: None) -> None:
    with provider(always(b"", status=503)) as server:
        listed(server.url)
        run()
        assert len(server.asked) == 2
        server.answer = always(b'{"error":"no\x01ne\x00"}', status=404)
        refused = run()
        assert len(server.asked) == 3
    assert (refused.outcome, refused.overall) == ("refused", "not_provided")
    assert refused.error == 'status 404: {"error":"none"}'
    assert set(refused.questions.values()) == {"not_provided"}
    assert standing_of(KEY).overall == "not_provided"
    with pytest.raises(NoEvidence):
        services.bundle(refused)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"quote":' * 70 + b"1" + b"}" * 70,
        json.dumps({"quote": "00" * 600, "event_log": "\x00", "vm_config": '"\x00"'}).encode(),
        b'{"quote":"\\u0000","report_data":"\\ud800"}',
        json.dumps({"quote": "\x00\x00", "tcb_info": {"a\x00": [1e308, 2**70]}}).encode(),
        json.dumps({"signing_address": "\x00" * 50, "nvidia_payload": "{}"}).encode(),
    ],
)  # fmt: skip
def test_whatever_a_provider_says_becomes_a_red_verdict(body: bytes) -> None:
    with provider(always(body)) as server:
        listed(server.url)
        stored = run()
    stored.refresh_from_db()
    assert stored.outcome == "judged"
    assert stored.overall in ("fail", "dev-partial", "dev-warn")
    assert "pass" not in stored.questions.values()
    assert "\x00" not in json.dumps(stored.rows) + json.dumps(stored.facts)
    assert not stored.attested_signer + stored.ppid + stored.compose_hash


def test_a_lie_beside_a_part_makes_no_better_word_than_the_part_alone() -> None:
    """GPUs without a machine, asked for with our own number and passed on."""

    def answer(path: str, query: Query, lie: str = "") -> Reply:
        found = Nvidia(SEED).payload(bytes.fromhex(query["nonce"]), 1)
        found["evidence_list"][0]["driver_version"] = lie
        return Reply(json.dumps({"signing_address": ADDRESS, "nvidia_payload": found}).encode())

    with provider(answer) as server:
        listed(server.url)
        assert run().overall == standing_of(KEY).overall == "dev-partial"
        server.answer = lambda path, query: answer(path, query, "1.2.3")
        assert run().overall == "dev-warn", "the engine's, for programs"
    assert standing_of(KEY).overall == "dev-partial"
    newest, first = (entry.alone for entry in history.of_service(KEY).items)
    assert newest.overall == newest.before == first.overall == "dev-partial", "in a list as well"
    assert reputation.verdicts(KEY).by_word == (("dev-partial", 2),)


def test_facts_with_nul_bytes_and_endless_lists_are_stored() -> None:
    given = json.loads(evidence())
    given["vm_config"] = json.dumps({"num_gpus": 1, "a\x00b": "\x00", "many": list(range(50_000))})
    with provider(always(json.dumps(given).encode())) as server:
        listed(server.url)
        stored = run()
    stored.refresh_from_db()
    assert stored.overall == "dev-pass"
    assert stored.facts["vm_config"]["a\N{REPLACEMENT CHARACTER}b"] == "\N{REPLACEMENT CHARACTER}"
    assert len(json.dumps(stored.facts)) < 500_000


def test_more_than_two_megabytes_are_not_evidence(impatient: None) -> None:
    with provider(always(b"{" + b" " * (2 << 20))) as server:
        listed(server.url)
        stored = run()
    assert (stored.outcome, stored.body) == ("refused", None)
    assert "bytes" in stored.error


@pytest.mark.parametrize("url", ["http://169.254.169.254", "ftp://petra.example", "", "http://a b"])
def test_urls_that_are_not_asked_are_said_so(url: str) -> None:
    listed(url)
    stored = run()
    assert stored.outcome == Outcome.UNREACHABLE
    assert stored.error
    assert standing_of(KEY).overall == "never"


def test_a_signer_other_than_the_chains_is_a_fail() -> None:
    with provider(always(evidence())) as server:
        listed(server.url, tee_signer=address(0x999))
        stored = run()
        assert (stored.overall, words(stored)["bind.onchain"]) == ("fail", "fail")
        Service.objects.update(tee_signer="")
        assert words(run())["bind.onchain"] == "fail"
        Service.objects.update(tee_signer=ADDRESS, tee_signer_acknowledged=False)
        assert words(run())["bind.ack"] == "fail"


def test_a_verdict_about_another_listing_does_not_stay(impatient: None) -> None:
    with provider(always(evidence())) as server:
        listed(server.url)
        judged = run()
        passed = Service.objects.filter(verified_filter("pass"))
        never = Service.objects.filter(verified_filter("never"))
        assert passed.exists() and not never.exists()
    Service.objects.update(url="http://127.0.0.1:9")
    # Before anybody looked again, too: a worker may be busy, or away.
    view = standing_of(KEY)
    assert (view.overall, view.judged, view.changed) == ("never", "dev-pass", True)
    assert (view.questions, view.checked_at) == ({}, None)
    assert [entry.overall for entry in view.endpoints] == ["never"]
    assert never.exists() and not passed.exists()
    assert list(Service.objects.values_list(conditions.word(), flat=True)) == ["never"]
    assert not Service.objects.filter(conditions.proven("cpu")).exists()
    Service.objects.update(url=server.url)
    assert standing_of(KEY).overall == "dev-pass" and passed.exists()
    # Removed and listed again, it is another listing even where it says the same.
    Service.objects.update(removed=True)
    assert standing_of(KEY).overall == "dev-pass", "its page says what was known"
    tasks.sweep()
    Service.objects.update(removed=False)
    assert standing_of(KEY).overall == "never" and never.exists()
    assert judged == Verification.objects.get(), "reports stay"
    Service.objects.update(url="http://127.0.0.1:9")
    run()
    view = standing_of(KEY)
    assert (view.overall, view.verification_id) == ("never", None)
    assert view.unreachable_since is not None


def test_a_separated_model_is_judged_apart() -> None:
    other = address(0xBEEF)
    info = {"TargetSeparated": True, "TargetTeeAddress": other}

    def answer(path: str, query: Query) -> Reply:
        if path == "/v1/quote":
            return Reply(evidence(Machine(ADDRESS, gpus=0)))
        assert (path, query["model"]) == ("/v1/proxy/attestation/report", "ll/ama 3&x=1")
        return Reply(evidence(Machine(other, gpus=2), "model"))

    with provider(answer) as server:
        listed(server.url, additional_info=json.dumps(info), model="ll/ama 3&x=1")
        broker, model = services.verify(KEY, Trigger.COMMAND)
        assert (broker.endpoint, model.endpoint) == ("broker", "model")
        assert broker.nonce != model.nonce
        assert (broker.onchain_signer, model.onchain_signer) == (ADDRESS, other)
        view = standing_of(KEY)
        assert (view.overall, view.declared) == ("dev-pass", "separated")
        assert broker.questions["gpu"] == "not_provided"
        assert view.questions["gpu"] == "pass"
        assert {entry.endpoint for entry in view.endpoints} == {"broker", "model"}
        server.answer = lambda path, query: (
            answer(path, query) if path == "/v1/quote" else Reply(evidence(Machine(ADDRESS)))
        )
        services.verify(KEY, Trigger.COMMAND)
        assert standing_of(KEY).overall == "fail"
        server.answer = answer
        services.verify(KEY, Trigger.COMMAND)
        assert Identity.objects.filter(endpoint="model", trait="gpu").count() == 2
        # It has one machine from now on: what the other was known by is nobody's here.
        Finding.objects.create(
            kind="same_gpu",
            provider=PETRA,
            service_kind=KEY.kind,
            service_name=KEY.service_name,
            opened_at=timezone.now(),
            detail={"endpoint": "model"},
        )
        Service.objects.update(additional_info="{}")
        services.verify(KEY, Trigger.COMMAND)
        assert not Identity.objects.filter(endpoint="model").exists()
        assert not Finding.objects.filter(kind="same_gpu", closed_at=None).exists()
        # And none that it shows evidence of.
        Service.objects.update(verifiability="OpML")
        services.verify(KEY, Trigger.COMMAND)
        assert not Identity.objects.exists()


@pytest.mark.parametrize(
    ("fields", "overall", "word"),
    [
        ({"additional_info": '{"ProviderType":"standard"}'}, "not_provided", "standard provider"),
        ({"verifiability": "OpML"}, "not_checked", "declared, not verifiable here yet"),
        ({"verifiability": "ZKML"}, "not_checked", "declared, not verifiable here yet"),
    ],
)
def test_services_without_a_tee_are_labelled_and_not_asked(
    fields: dict[str, str], overall: str, word: str
) -> None:
    with provider(always(b"")) as server:
        listed(server.url, **fields)
        stored = run()
        assert not server.asked
    assert (stored.overall, standing_of(KEY).overall) == (overall, overall)
    assert word in stored.rows[0]["got"]
    view = report(stored.pk)
    assert view is not None
    page = report_page(view, [], now=timezone.now(), site="")
    assert {row.why.partition(":")[0] for row in page.questions} == {"The provider was not asked"}


def test_a_centralized_provider_is_judged_by_its_broker_and_labelled() -> None:
    info = json.dumps({"ProviderType": "centralized", "TargetSeparated": True})
    with provider(always(evidence(Machine(ADDRESS, gpus=0)))) as server:
        listed(server.url, additional_info=info)
        stored = run()
    assert (stored.overall, standing_of(KEY).declared) == ("dev-pass", "centralized")


def test_one_run_at_a_time() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(path: str, query: Query) -> Reply:
        entered.set()
        leave.wait(10)
        return Reply(evidence())

    with provider(slow) as server:
        listed(server.url)
        second: list[BaseException] = []

        def rush() -> None:
            assert entered.wait(10)
            try:
                services._take(KEY)
            except Busy as error:
                second.append(error)
            finally:
                leave.set()

        thread = threading.Thread(target=rush)
        thread.start()
        run()
        thread.join(10)
        assert len(second) == 1
        assert len(server.asked) == 1
        assert run().overall == "dev-pass"  # the lock is free again


def test_unknown_services_are_refused() -> None:
    for key in (KEY, ServiceKey("inference", PETRA, "no-such-contract"), ServiceKey("x", "", "")):
        with pytest.raises(UnknownService):
            services.verify(key, Trigger.COMMAND)
        with pytest.raises(UnknownService):
            services.verify_now(key)


def test_asking_is_limited_to_once_a_minute_and_provider(
    impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **_: queued.append(name))
    listed("http://127.0.0.1:9")
    assert services.verify_now(ServiceKey("inference", PETRA, ""), by=7) == KEY
    with pytest.raises(TooSoon) as refused:
        services.verify_now(KEY)
    assert 1 <= refused.value.retry_after <= 60
    assert queued == [services.TASK]
    assert tasks.answer.name == services.TASK
    assert services.is_running(KEY)
    assert tasks.answer() == 1
    assert not services.is_running(KEY)
    stored = Verification.objects.get()
    assert (stored.trigger, stored.requested_by) == ("asked", 7)
    assert tasks.answer() == 0


def test_a_run_costs_a_bounded_number_of_statements(django_assert_max_num_queries: Any) -> None:
    with provider(always(evidence())) as server:
        listed(server.url)
        run()
        with django_assert_max_num_queries(40, connection=connection):
            run()
    assert Standing.objects.filter(serving=INFERENCE).count() == 1
