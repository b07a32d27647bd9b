"""Facts across the market, and what is due when: rows of many services, a clock that is told."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestation import asking, findings, runs, selectors, services, standings, tasks
from attestation.findings_chain import signer_differs
from attestation.models import (
    Fact,
    Finding,
    Identity,
    Retrieval,
    Standing,
    Trigger,
    VerdictChange,
    Verification,
)
from attestation.selectors import ServiceKey
from chain.models import RawTransaction
from ledger import selectors as ledger
from ledger.models import Service, ServiceChange
from marketplace.findings import open_rows
from protocol.abi import INFERENCE_SERVING, encode_call
from provider.tee.development.intel import DEBUG_ATTRIBUTES
from provider.tee.development.report import Machine
from tests import factories
from tests.db import api_rows
from tests.db.api_rows import ALICE, BOB, CHARLIE, INFERENCE, PAUL, PETRA, address
from tests.db.verification_world import (
    KEY,
    Provider,
    Query,
    Reply,
    always,
    evidence,
    listed,
    provider,
    run,
)
from tests.db.verification_world import market as market  # a fixture
from tests.pure.attestation_lab import ADDRESS

pytestmark = pytest.mark.django_db
PAULS = ServiceKey("inference", PAUL, "inference-v1.0")


@pytest.fixture
def server() -> Iterator[Provider]:
    with provider(always(fresh())) as found:
        yield found


def fresh(name: str = "", **fields: Any) -> bytes:
    """Another quote of the same machine at each call, as hardware makes them."""
    return evidence(Machine(**{"address": ADDRESS, "fresh": True, **fields}), name)


def held(*facts: Fact) -> Counter[tuple[str, str, str]]:
    rows = Finding.objects.filter(closed_at__isnull=True)
    if facts:
        rows = rows.filter(kind__in=facts)
    return Counter(rows.values_list("kind", "provider", "other_provider"))


# --- the same thing elsewhere ---------------------------------------------------------------------


def test_one_machine_behind_two_providers_is_seen_once_and_let_go(server: Provider) -> None:
    listed(server.url)
    run()
    assert not held()
    with provider(always(fresh())) as second:
        listed(second.url, PAUL)
        run(PAULS)
        shared = held()
        assert shared == Counter(
            {
                (Fact.SAME_PPID, PAUL, PETRA): 1,
                (Fact.SAME_GPU, PAUL, PETRA): 1,
                (Fact.SIGNER_REUSED, PAUL, PETRA): 1,
            }
        )
        server.answer = always(fresh())
        run()  # the first one again: nothing is said a second time
        assert held() == shared
        for who in (PETRA, PAUL):
            assert len(selectors.findings(who, open_only=True)) == 3
        # Paul moves to a machine and a key of his own.
        second.answer = always(fresh("paul", address=CHARLIE))
        Service.objects.filter(provider=PAUL).update(tee_signer=CHARLIE)
        run(PAULS)
    assert not held()
    assert Finding.objects.count() == 3, "closed, not deleted"
    assert all(view.closed_at for view in selectors.findings(PETRA))


def test_the_other_side_may_let_go(server: Provider) -> None:
    listed(server.url)
    run()
    with provider(always(fresh())) as second:
        listed(second.url, PAUL)
        run(PAULS)
    server.answer = always(fresh("petra"))
    run()
    assert held() == Counter({(Fact.SIGNER_REUSED, PAUL, PETRA): 1})


def test_many_copies_of_one_machine_are_no_square_of_facts(server: Provider) -> None:
    for number in range(1, 7):
        listed(server.url, address(number))
        run(ServiceKey("inference", address(number), "inference-v1.0"))
    assert len(held(Fact.SAME_PPID)) == 5
    assert {other for _, _, other in held(Fact.SAME_PPID)} == {address(1)}


def test_whoever_passes_on_anothers_evidence_says_nothing_against_it(server: Provider) -> None:
    """Anybody may list a key of another's and hand over what its machine answers, first or not."""
    with provider(server.answer) as copier:
        listed(copier.url, PAUL, tee_signer_acknowledged=False)
        run(PAULS)
        listed(server.url)
        run()
        assert not held(), "the owner accepted that key for Petra alone"
        run(PAULS)
    assert {(who, other) for _fact, who, other in held()} == {(PAUL, PETRA), (PAUL, "")}
    run()
    assert held(Fact.IDENTICAL_EVIDENCE)[Fact.IDENTICAL_EVIDENCE, PAUL, PETRA] == 1
    assert PETRA not in {who for _fact, who, other in held() if other}
    (hers,) = (x for x in open_rows(PETRA) if x.kind == "identical_evidence" and x.other)
    assert (hers.other, hers.said) == (PAUL, "The other one:") and "nothing against" in hers.text


def test_byte_identical_evidence_and_a_changed_compose_file(server: Provider) -> None:
    listed(server.url)
    first = run()
    second = run()
    assert held() == Counter({(Fact.IDENTICAL_EVIDENCE, PETRA, ""): 1})
    assert Finding.objects.get().detail["previous"] == str(first.pk)
    compose = json.dumps({"docker_compose_file": "services: {}\n"})
    server.answer = always(fresh(app_compose=compose))
    changed = run()
    assert held() == Counter({(Fact.COMPOSE_CHANGED, PETRA, ""): 1})
    detail = Finding.objects.get(kind=Fact.COMPOSE_CHANGED).detail
    assert (detail["before"], detail["after"]) == (second.compose_hash, changed.compose_hash)
    server.answer = always(fresh(app_compose=compose))
    run()
    assert held(), "it is shown for a while"
    Finding.objects.update(opened_at=timezone.now() - dt.timedelta(days=8))
    server.answer = always(fresh(app_compose=compose))
    run()
    assert not held()
    # Who hands over nothing in between has changed it all the same.
    server.answer = always(b"", status=404)
    run()
    server.answer = always(fresh())
    back = run()
    found = Finding.objects.get(kind=Fact.COMPOSE_CHANGED, closed_at=None).detail
    assert (found["before"], found["after"]) == (changed.compose_hash, back.compose_hash)


def test_one_key_named_by_two_providers_is_a_fact_of_the_chain_alone(server: Provider) -> None:
    server.answer = always(b"{}")
    listed(server.url)
    run()
    listed(server.url, PAUL)
    run(PAULS)
    signers = Counter({(Fact.SIGNER_REUSED, PAUL, PETRA): 1})
    assert held(Fact.SIGNER_REUSED) == signers
    run()
    assert held(Fact.SIGNER_REUSED) == signers, "once, whoever is looked at"
    Service.objects.filter(provider=PETRA).update(tee_signer=CHARLIE)
    run()
    assert not held(Fact.SIGNER_REUSED), "the other one gave it up"
    Service.objects.filter(provider=PAUL).update(tee_signer=CHARLIE)
    run(PAULS)
    assert held(Fact.SIGNER_REUSED) == signers
    Service.objects.update(tee_signer="0x" + "0" * 40)
    run(PAULS)
    assert not held(Fact.SIGNER_REUSED), "no key is nobody's key"


def test_forged_evidence_puts_nobody_under_suspicion(server: Provider) -> None:
    listed(server.url)
    run()
    known = Identity.objects.count()
    forged = json.loads(fresh())
    quote = bytearray.fromhex(forged["quote"])
    quote[640] ^= 1  # in the signature: the body still names Petra's machine
    forged["quote"] = quote.hex()
    with provider(always(json.dumps(forged).encode())) as second:
        listed(second.url, PAUL)
        stored = run(PAULS)
    assert (stored.overall, stored.ppid, stored.attested_signer) == ("fail", "", "")
    # Its GPU evidence is genuine, wherever it was taken from: that much is a fact.
    # So is the key that both name on chain.
    assert held() == Counter(
        {(Fact.SAME_GPU, PAUL, PETRA): 1, (Fact.SIGNER_REUSED, PAUL, PETRA): 1}
    )
    assert Identity.objects.filter(provider=PAUL, trait__in=("ppid", "signer")).count() == 0
    assert Identity.objects.filter(provider=PETRA).count() == known


def test_removed_services_share_nothing_any_more(server: Provider) -> None:
    listed(server.url)
    run()
    listed(server.url, PAUL)
    run(PAULS)
    assert held()
    Service.objects.filter(provider=PAUL).update(removed=True)
    tasks.sweep()
    assert not held()
    assert not Identity.objects.filter(provider=PAUL).exists()
    Service.objects.filter(provider=PAUL).update(removed=False)
    later = timezone.now() + tasks.LEAST * 2
    assert (PAULS, Trigger.CHANGED) in list(tasks.due(later))
    run(PAULS)
    shared = (Fact.SAME_PPID, Fact.SAME_GPU, Fact.SIGNER_REUSED)
    assert len(held(*shared)) == 3
    Service.objects.filter(provider=PETRA).update(removed=True)  # the other side of these facts
    tasks.sweep()
    assert not held(*shared)


# --- regressions ----------------------------------------------------------------------------------


def test_a_regression_opens_worsens_and_closes(server: Provider) -> None:
    listed(server.url)
    run()
    server.answer = always(b"", status=404)
    run()
    (gone,) = selectors.findings_for([PETRA, PAUL])[PETRA]
    assert (gone.kind, gone.detail["from"], gone.detail["to"]) == (
        "regression", "dev-pass", "not_provided"
    )  # fmt: skip
    server.answer = always(fresh(fields={"td_attributes": DEBUG_ATTRIBUTES}))
    run()
    (worse,) = selectors.findings(PETRA, open_only=True)
    assert (worse.detail["from"], worse.detail["to"]) == ("dev-pass", "fail")
    assert "tdx.debug" in worse.detail["rows"]
    run()
    assert len(held(Fact.REGRESSION)) == 1
    server.answer = always(fresh())
    run()
    assert not held(Fact.REGRESSION)
    assert Finding.objects.filter(kind=Fact.REGRESSION).count() == 2
    run()
    turns = VerdictChange.objects.order_by("pk").select_related("verification")
    assert [(row.change, row.before["overall"], row.after["overall"]) for row in turns] == [
        ("verification_regressed", "dev-pass", "not_provided"),
        ("verification_regressed", "not_provided", "fail"),
        ("verification_recovered", "fail", "dev-pass"),
    ]
    assert "tdx.debug" in turns[1].after["checks"]
    assert all(row.block == row.verification.block for row in turns)


def test_gpus_that_are_no_longer_shown_are_a_regression_until_they_are(server: Provider) -> None:
    """Every required row that is left still passes; whether there are GPUs is not said."""
    listed(server.url)
    run()
    for _ in range(2):
        stripped = json.loads(fresh())
        for member in ("nvidia_payload", "vm_config"):
            del stripped[member]
        server.answer = always(json.dumps(stripped).encode())
        stored = run()
        assert (stored.overall, stored.questions["gpu"]) == ("dev-partial", "not_provided")
        assert len(held(Fact.REGRESSION)) == 1
    (gone,) = selectors.findings(PETRA, open_only=True)
    assert "gpu.present" in gone.detail["rows"]
    server.answer = always(fresh())
    run()
    assert not held(Fact.REGRESSION)


def test_what_an_earlier_version_called_less_bad_is_no_news(server: Provider) -> None:
    """It counted a warning beside a missing part as the warning alone."""
    listed(server.url)
    run()
    less = json.loads(fresh())
    gpus = json.loads(less["nvidia_payload"])
    gpus["evidence_list"][0]["driver_version"] = "1.2.3"
    server.answer = always(json.dumps(less | {"nvidia_payload": gpus, "event_log": None}).encode())
    run()
    found = Finding.objects.get(kind=Fact.REGRESSION)
    assert (found.detail["to"], found.detail["to_level"]) == ("dev-partial", 2)
    found.detail |= {"to": "dev-warn", "to_level": 1}
    found.save()
    run()
    assert Finding.objects.get(kind=Fact.REGRESSION).closed_at is None


def test_a_recording_is_known_in_another_wrapping(server: Provider) -> None:
    listed(server.url)
    server.answer = always(fresh())
    run()
    assert not held(Fact.IDENTICAL_EVIDENCE)
    server.answer = always(fresh())
    run()
    assert not held(Fact.IDENTICAL_EVIDENCE), "made anew over the same values"
    recorded = json.loads(fresh())
    for spaces in (1, 2):
        server.answer = always(json.dumps(recorded, indent=spaces).encode())
        run()
    assert len(held(Fact.IDENTICAL_EVIDENCE)) == 1


def test_our_own_gaps_and_silence_are_no_regression(server: Provider, settings: Any) -> None:
    listed(server.url)
    run()
    Retrieval.objects.all().delete()
    settings.PCS_URL = settings.RIM_URL = settings.OCSP_URL = settings.NRAS_URL = "http://[::1]:9"
    server.answer = always(fresh())
    stored = run()
    assert stored.questions["hardware"] not in ("pass", "fail")
    server.answer = always(b"", status=503)
    run()
    assert not held(Fact.REGRESSION)
    # Nor do they hide one: it is worse than what was known before them.
    server.answer = always(fresh(fields={"td_attributes": DEBUG_ATTRIBUTES}))
    run()
    (worse,) = selectors.findings(PETRA, open_only=True)
    assert (worse.detail["from"], worse.detail["to"]) == ("dev-pass", "fail")


@pytest.mark.parametrize(
    ("overall", "withheld", "level"),
    [("pass", False, 0), ("dev-warn", True, 2), ("dev-warn", False, 1), ("partial", True, 2),
     ("partial", False, None), ("fail", False, 3), ("not_checked", False, None)],
)  # fmt: skip
def test_severity(overall: str, withheld: bool, level: int | None) -> None:
    rows = [{"verdict": "not_provided", "required": withheld}]
    assert findings.severity(overall, rows) == level


# --- the chain's own history ----------------------------------------------------------------------


def test_a_new_url_without_a_new_acknowledgement(server: Provider) -> None:
    listed(server.url)
    api_rows.change(change="acknowledged", block=50)
    run()
    assert not held()
    url: dict[str, Any] = {"before": {"url": "https://old.example"}, "after": {"url": server.url}}
    api_rows.change(change="url", block=60, **url)
    run()
    assert (Fact.URL_CHANGED, PETRA, "") in held()
    (found,) = [f for f in selectors.findings(PETRA) if f.kind == Fact.URL_CHANGED]
    assert (found.detail["before"], found.detail["block"]) == ("https://old.example", 60)
    assert tasks.sweep() == 0 and held(Fact.URL_CHANGED)
    # What the listing says stays as it was, so that nobody looks at it again for hours.
    api_rows.change(change="acknowledged", block=61)
    assert tasks.sweep() == 0 and not held(Fact.URL_CHANGED)
    api_rows.change(change="url", block=62, **url)
    run()
    assert held(Fact.URL_CHANGED)
    api_rows.change(change="unacknowledged", block=63)
    api_rows.change(change="acknowledged", block=64)
    run()
    assert (Fact.URL_CHANGED, PETRA, "") not in held()


def test_holders_whose_key_became_another(server: Provider) -> None:
    listed(server.url)
    for user, block in ((ALICE, 30), (BOB, 30), (BOB, 71)):
        api_rows.movement(user=user, kind="transfer", block=block)
    for user in (ALICE, BOB, CHARLIE):
        api_rows.sub_account(user=user)
    signers: dict[str, Any] = {
        "before": {"tee_signer": address(7)},
        "after": {"tee_signer": ADDRESS},
    }
    api_rows.change(change="signer", block=70, **signers)
    run()
    (found,) = [f for f in selectors.findings(PETRA) if f.kind == Fact.SIGNER_DIFFERS]
    assert (found.detail["accounts"], found.detail["unknown"]) == (1, 1)
    assert (found.detail["before"], found.detail["after"]) == (address(7), ADDRESS)
    (listing,) = ledger.services_of(PETRA)
    # Other changes push it out of no list.
    moves = {"serving": INFERENCE, "change": "url", "block": 75, "at": timezone.now()}
    ServiceChange.objects.bulk_create(
        [ServiceChange(provider=PETRA, sequence=number, **moves) for number in range(201)]
    )
    # By the call that leaves no log: not another's, nor a withdrawal, nor one that failed.
    calls = ((PAUL, True, 1, 81), (ALICE, False, 1, 82), (ALICE, True, 0, 83), (ALICE, True, 1, 84))
    for sender, yes, status, block in calls:
        assert signer_differs(listing)
        called = encode_call(INFERENCE_SERVING, "acknowledgeTEESigner", PETRA, yes)
        row = RawTransaction.objects.create(
            **{"hash": f"0x{block:064x}", "block_hash": f"0x{block:064x}", "block_number": block},
            **{"index": 0, "sender": sender, "to": INFERENCE, "value": 0},
            **{"input": called, "status": status},
        )
    assert not signer_differs(listing)
    row.delete()
    # By money that was on its way back, and not by a fee that ate it.
    taken = {"user": ALICE, "kind": "refund_cancelled", "tx_hash": factories.tx_hash("back")}
    api_rows.movement(**taken, block=85)
    assert not signer_differs(listing)
    eaten = api_rows.movement(**{**taken, "kind": "settlement"}, block=85)
    assert signer_differs(listing)
    eaten.delete()
    run()
    assert not held(Fact.SIGNER_DIFFERS)
    # Who goes, and comes again with another key, changed it.
    for block, key in ((90, address(8)), (95, ADDRESS)):
        api_rows.change(change="removed", block=block, before={"tee_signer": key}, after=None)
        api_rows.change(change="registered", block=block, before=None, sequence=1)
    (seen,) = signer_differs(listing)
    assert seen.detail is not None
    told = [seen.detail[name] for name in ("before", "after", "block", "accounts")]
    assert told == [address(8), ADDRESS, 90, 2]


# --- what is due ----------------------------------------------------------------------------------


def due(now: dt.datetime | None = None) -> dict[ServiceKey, Trigger]:
    return dict(tasks.due(now or timezone.now()))


def test_new_and_changed_listings_are_due_at_once(server: Provider) -> None:
    listed(server.url, tee_signer="")
    assert due() == {KEY: Trigger.LISTED}
    assert tasks.sweep() == 1
    assert due() == {}
    for change in (
        {"tee_signer": ADDRESS},
        {"url": server.url + "/"},
        {"additional_info": "{}"},
        {"tee_signer_acknowledged": False},
        {"model": "other"},
        {"verifiability": "x"},
    ):
        Service.objects.update(**change)
        assert due() == {}, "not within half a minute of the last run"
        Standing.objects.update(tried_at=timezone.now() - tasks.LEAST)
        assert due() == {KEY: Trigger.CHANGED}, change
        tasks.sweep()
        assert due() == {}
    Standing.objects.update(tried_at=timezone.now() + dt.timedelta(days=1))
    assert due() == {KEY: Trigger.SCHEDULE}, "a clock was wrong: that verdict would last too long"
    Service.objects.update(input_price=9, stake=1, updated_at_unix=5)
    Standing.objects.update(tried_at=timezone.now() - tasks.LEAST)
    assert due() == {}
    triggers = Verification.objects.order_by("started_at").values_list("trigger", flat=True)
    assert list(triggers) == ["listed"] + ["changed"] * 6
    assert {tried.get("nonce") for _, tried in server.asked} == set(
        Verification.objects.values_list("nonce", flat=True)
    )


def test_the_schedule_has_a_jitter_of_its_own_and_backs_off_from_silence() -> None:
    now = timezone.now()
    rows = [Standing(provider=address(n), kind="inference", tried_at=now) for n in range(500)]
    waits = sorted((tasks.next_run(row) - now) / tasks.INTERVAL for row in rows)
    assert 0.8 <= waits[0] < 0.81 < 0.99 < waits[-1] <= 1
    assert tasks.next_run(rows[0]) == tasks.next_run(rows[0])
    silent = Standing(provider=PETRA, tried_at=now, unreachable_since=now)
    assert tasks.next_run(silent) - now == tasks.FIRST_RETRY
    silent.unreachable_since = now - dt.timedelta(minutes=30)
    assert tasks.next_run(silent) - now == dt.timedelta(minutes=30)
    silent.unreachable_since = now - dt.timedelta(days=9)
    assert tasks.next_run(silent) - now == tasks.INTERVAL


def test_what_is_due_costs_the_same_for_many_services(server: Provider) -> None:
    for number in range(1, 11):
        listed(server.url, address(number))
    with CaptureQueriesContext(connection) as asked:
        assert len(due()) == 10
    assert len(asked) == 3, "contracts, unlike ones, schedule"
    assert tasks.sweep() == 10
    assert due() == {}
    assert len(due(timezone.now() + tasks.INTERVAL)) == 10
    assert len(server.asked) == 10


def test_runs_that_visitors_ask_for_put_no_paid_one_off(server: Provider, settings: Any) -> None:
    listed(server.url)
    assert tasks.sweep() == 1
    run(trigger=Trigger.ASKED)
    own = Verification.objects.exclude(trigger=Trigger.ASKED)
    own.update(started_at=timezone.now() - tasks.INTERVAL)
    Standing.objects.update(tried_at=timezone.now() - tasks.LEAST)
    assert due() == {}
    settings.SITE_WALLET_KEY = "11" * 32
    settings.SITE_WALLET_PROVIDERS = frozenset({address(7)})
    assert due() == {}
    settings.SITE_WALLET_PROVIDERS = frozenset({PETRA})
    assert due() == {KEY: Trigger.SCHEDULE}
    run(trigger=Trigger.SCHEDULE)
    assert due() == {}


def test_slow_and_broken_providers_do_not_keep_the_others_waiting(
    server: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(path: str, query: Query) -> Reply:
        return Reply(b"x" * 50, cut=5)

    monkeypatch.setattr(asking.ask, "__kwdefaults__", {"pauses": (0.01,)})
    with provider(torn) as other:
        for number in range(1, 6):
            listed(other.url, address(number))
        listed(server.url)
        assert tasks.sweep() == 6
    assert Standing.objects.get(provider=PETRA).overall == "dev-pass"
    assert Standing.objects.filter(unreachable_since__isnull=False).count() == 5
    assert cache.add("attestation:sweeping", 1), "given back"
    Standing.objects.all().delete()
    assert tasks.sweep() == 0, "one at a time"


def test_an_error_of_ours_in_one_service_is_logged_and_the_rest_go_on(
    server: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listed(server.url, PAUL)
    listed(server.url)
    real = services._target

    def broken(key: ServiceKey) -> Any:
        if key.provider == PAUL:
            raise RuntimeError("planted")
        return real(key)

    monkeypatch.setattr(services, "_target", broken)
    assert tasks.sweep() == 2
    assert Standing.objects.get().provider == PETRA
    assert caplog.text.count("a verification failed") == 1
    assert due() == {}, "not again at once"


# --- several endpoints ----------------------------------------------------------------------------


def said(overall: str, **fields: Any) -> dict[str, Any]:
    questions = dict.fromkeys(("hardware", "key", "software", "gpu", "fresh"), "pass")
    return {"overall": overall, "questions": questions, "development": False, "error": "",
            "checked_at": "2026-05-01T12:00:00+00:00", "verification": "x", **fields}  # fmt: skip


@pytest.mark.parametrize(
    ("broker", "model", "whole"),
    [("pass", "pass", "pass"), ("pass", "warn", "warn"), ("fail", "pass", "fail"),
     ("dev-pass", "dev-warn", "dev-warn"), ("dev-pass", "fail", "fail"),
     ("pass", "partial", "partial"), ("pass", "not_provided", "not_provided"),
     ("dev-pass", "not_provided", "not_provided"), ("dev-not_checked", "", "dev-partial"),
     ("pass", "", "partial"), ("warn", "", "partial"), ("not_checked", "pass", "partial"),
     ("warn", "partial", "partial"), ("dev-warn", "not_checked", "dev-partial"),
     ("not_checked", "not_checked", "not_checked"), ("", "", "")],
)  # fmt: skip
def test_two_endpoints_are_as_good_as_the_worse_one(broker: str, model: str, whole: str) -> None:
    endpoints = {"broker": said(broker), "model": said(model)}
    found = standings.together(endpoints)
    assert found.overall == whole
    if broker and not model:
        assert set(found.questions.values()) == {"partial"}


def test_a_warning_does_not_stand_for_a_required_part_that_was_not_seen() -> None:
    """Of one machine or of two: where money is judged by it, a warning counts as seen."""
    rows = [
        {"id": "tdx.service_td", "verdict": "warn", "required": True},
        {"id": "tdx.tcb", "verdict": "not_checked", "required": True},
        {"id": "bind.tls", "verdict": "fail", "required": False},
        {"id": "bind.body_sig", "verdict": "not_provided", "required": False},
        {"id": "gpu0.driver_version", "verdict": "fail", "required": False},
        {"id": "gpu0.chain", "verdict": "not_provided", "required": True},
    ]
    warned = {"hardware": "warn", "key": "warn", "gpu": "warn"}
    unseen = Verification(
        overall="warn", questions=warned, rows=rows, finished_at=timezone.now(), development=False
    )
    alone = standings.together({"broker": standings.said(unseen, {})})
    found = alone.questions
    assert [found[name] for name in warned] == ["partial", "warn", "partial"]
    assert alone.overall == "partial", "of a service it is the one word, too"
    model = said("partial", questions={"hardware": "partial"})
    both = standings.together({"broker": said("warn", questions=warned), "model": model})
    assert both.questions["hardware"] == "partial"


def test_clean_keeps_what_a_database_can_hold() -> None:
    given = {"a\x00": ["\ud800", float("inf"), 2**80, b"\x01", (1, None)], "b": True}
    assert runs.clean(given) == {
        "a\N{REPLACEMENT CHARACTER}": ["?", "inf", 2**80, "01", [1, None]], "b": True
    }  # fmt: skip
    assert len(json.dumps(runs.clean([[0] * 1000] * 1000))) < 400_000


def test_listings_of_other_contracts_stay_apart(server: Provider) -> None:
    listed(server.url)
    Service.objects.create(
        provider=PETRA, serving=api_rows.TUNING, kind="fine-tuning", url=server.url,
        tee_signer=ADDRESS, tee_signer_acknowledged=True, block=1, created_block=1,
    )  # fmt: skip
    assert tasks.sweep() == 2
    assert {(s.kind, s.serving, s.overall) for s in Standing.objects.all()} == {
        ("inference", INFERENCE, "dev-pass"),
        ("fine-tuning", api_rows.TUNING, "dev-pass"),
    }
    assert not held(Fact.SAME_PPID), "one provider's two services on one machine are no news"
