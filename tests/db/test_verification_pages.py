"""Reports, standings, `/verify` and badges as HTML: only what is stored, every state, nobody's
script."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import html
import io
import json
import re
import uuid
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

import pytest
from celery import current_app
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from attestation import bundle as bundles
from attestation import history, services
from attestation.engine.evidence import Evidence
from attestation.models import Endpoint, Finding, Outcome, Request, Standing, Verification
from attestation.selectors import ServiceKey
from devnet.attestation.vendors import Tcb
from inference.models import Chat, Turn
from marketplace import badge as badges
from marketplace import social
from marketplace.views_verification import SHOWN_HISTORY
from marketplace.views_verify import MAX_REQUEST_BYTES
from protocol import replies
from provider.tee.development.intel import DEBUG_ATTRIBUTES
from tests import factories
from tests.db import report_world as world
from tests.db.plans import plans
from tests.db.report_world import KEY, development, machine, path, stored, unreachable
from tests.db.verification_world import vendors
from tests.pure.attestation_cases import Case
from tests.pure.attestation_lab import ADDRESS, NOW, lab
from tests.pure.attestation_lab import KEY as SIGNER

pytestmark = pytest.mark.django_db

TAB = f"/services/inference/{factories.PETRA}/verification"
HOUR = dt.timedelta(hours=1)
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(autouse=True)
def market(db: None) -> None:
    cache.clear()
    factories.head()
    factories.contract()
    factories.service()


def shown(client: Client, url: str, status: int = 200) -> str:
    response = client.get(url)
    assert response.status_code == status
    return response.content.decode()


def attributes(page: str, testid: str, *names: str) -> list[tuple[str, ...]]:
    """Of each element with this test id, in order."""
    tags = re.findall(rf'<[^>]*data-testid="{testid}"[^>]*>', page)
    return [tuple(_attribute(tag, name) for name in names) for tag in tags]


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf'{name}="([^"]*)"', tag)
    return html.unescape(found[1]) if found else ""


def finding(run: Verification, kind: str) -> Finding:
    return Finding.objects.create(
        kind=kind, provider=factories.PETRA, other_provider=factories.BOB,
        service_kind="inference", service_name=KEY.service_name, subject="ab" * 16,
        verification=run, opened_at=timezone.now(),
    )  # fmt: skip


def answered(signer: str, serving: str = factories.INFERENCE) -> Turn:
    """An answer of Petra's that was checked: signed by this key."""
    owner = User.objects.get_or_create(address=factories.ALICE)[0]
    return Turn.objects.create(
        chat=Chat.objects.create(owner=owner), provider=factories.PETRA, prompt_key=uuid.uuid4(),
        process="test", state="answered", verdict="verified", signer=signer, url="https://p.example",
        model="m", serving=serving, input_price=1, output_price=1, max_tokens=10,
    )  # fmt: skip


# --- one report -----------------------------------------------------------------------------------


def test_a_report_shows_every_stored_row_and_all_five_questions(client: Client) -> None:
    run = development(machine(gpus=8))
    page = shown(client, path(run))
    assert len(attributes(page, "verdict-overall", "data-verdict")) == 1
    rows = attributes(page, "check-row", "data-check", "data-verdict")
    assert sorted(rows) == sorted((row["id"], row["verdict"]) for row in run.rows)
    questions = attributes(page, "verdict-question", "data-question")
    assert [name for (name,) in questions] == ["hardware", "key", "software", "gpu", "fresh"]
    assert run.content_hash in page
    assert "What this proves" in page and "What it does not prove" in page
    assert f"/api/v1/verifications/{run.pk}/bundle" in page


def test_a_report_is_made_from_the_stored_row_and_never_judged_again(client: Client) -> None:
    run = development()
    row = next(row for row in run.rows if row["id"] == "tdx.sig")
    row |= {"verdict": "fail", "got": "rewritten by this test"}
    Verification.objects.filter(pk=run.pk).update(
        rows=run.rows, overall="fail", questions={**run.questions, "hardware": "fail"}
    )
    page = shown(client, path(run))
    assert attributes(page, "verdict-overall", "data-verdict") == [("fail",)]
    assert ("tdx.sig", "fail") in attributes(page, "check-row", "data-check", "data-verdict")
    assert "rewritten by this test" in page
    assert "Do not send private data" in page


def test_a_failure_says_in_words_what_is_wrong_and_what_to_do(client: Client) -> None:
    run = development(machine(fields={"td_attributes": DEBUG_ATTRIBUTES}))
    leave = "Do not send private data, and retrieve what you hold there."
    said = {path(run): "runs in debug mode: whoever", TAB: "failed our check: the report says"}
    for url, words in said.items():
        part = failures(shown(client, url))
        assert words in part and leave in part and "You hold" not in part
        assert "dcap-qvl" not in part, "the second verifier repeats it"
    user = User.objects.create(address=factories.ALICE)
    factories.sub_account(balance=4_100_000_000_000_000_000)
    client.force_login(user)
    for url in (path(run), TAB):
        part = html.unescape(failures(shown(client, url)))
        assert "You hold" in part and "4.1" in part and "action=retrieve" in part
    brought = stored(
        Evidence("report", lab().body(machine(fields={"td_attributes": DEBUG_ATTRIBUTES}))),
        lab().context(machine()),
        key=None,
    )
    page = html.unescape(shown(client, path(brought)))
    assert "Failed: “TD is not in debug mode”. The machine runs" in failures(page)
    for about_a_provider in ("retrieve what", "Only its operator", "The provider handed over"):
        assert about_a_provider not in page, "it is nobody's"
    Standing.objects.update(checked_at=timezone.now() - 25 * HOUR)
    assert "You hold" in failures(shown(client, TAB)), "a failure does not wear off"
    nothing = stored(
        None, lab().context(machine()), outcome=Outcome.REFUSED, age=dt.timedelta(minutes=2)
    )
    Verification.objects.filter(pk=nothing.pk).update(overall="not_provided")
    assert leave in failures(shown(client, path(run))), "silence takes nothing back"
    development(age=dt.timedelta(minutes=1))
    part = failures(shown(client, path(run)))
    assert "runs in debug mode" in part and leave not in part and "You hold" not in part


def failures(page: str) -> str:
    start = page.index('data-testid="failures"')
    return page[start : page.index("</div></div>", start)]


def test_what_differs_is_marked_and_the_failed_step_is_open(client: Client) -> None:
    made = machine()
    run = stored(
        Evidence("report", lab().body(made)),
        lab().context(made, onchain_signer=factories.ALICE),
    )
    page = shown(client, path(run))
    row = page[page.index('data-check="bind.onchain"') :]
    row = row[: row.index("</li>")]
    assert "<details open>" in row
    marked = "".join(re.findall("<mark>(.*?)</mark>", row))
    assert marked and not set(marked) - set("0123456789abcdefABCDEFx")
    assert "retrieve what you hold" in row


def test_eight_equal_gpus_are_one_line_and_open_where_one_differs(client: Client) -> None:
    run = development(machine(gpus=8))
    page = shown(client, path(run))
    fold = page.index("8 of 8 GPUs agree")
    assert '<details class="card fold">' in page[fold - 80 : fold]
    row = next(row for row in run.rows if row["id"] == "gpu3.sig")
    row["verdict"] = "fail"
    Verification.objects.filter(pk=run.pk).update(rows=run.rows)
    page = shown(client, path(run))
    fold = page.index("8 GPUs, and they differ")
    assert '<details class="card fold" open>' in page[fold - 80 : fold]


def test_exhibits_show_log_compose_and_certificates(client: Client) -> None:
    run = development()
    page = shown(client, path(run))
    for heading in ("Event log", "Compose file", "Certificate chains", "Raw evidence"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("as signed") == 4  # every register replays to the quote's
    assert "mutable</b>" in page or "pinned</b>" in page


def test_development_evidence_says_so_and_proves_nothing(client: Client) -> None:
    run = development()
    page = shown(client, path(run))
    assert run.overall.startswith("dev-")
    assert "<strong>Development evidence.</strong> It chains to roots" in page
    assert "Nothing outside this network" in page
    assert 'data-verdict="dev-pass"' in page and 'class="verdict" data-verdict="pass"' not in page


def test_no_verdict_is_shown_where_no_evidence_came(client: Client) -> None:
    page = shown(client, path(unreachable()))
    assert "could not be reached" in page and "no answer within 5 s" in page
    assert attributes(page, "verdict-question", "data-question") == []
    assert attributes(page, "verdict-overall", "data-verdict") == [("never",)]
    assert "tried <" in page and "checked <" not in page and "engine –" not in page
    assert "No evidence came, so no key is attested." in page
    refused = stored(None, lab().context(machine()), outcome=Outcome.REFUSED, error="status 404")
    assert "handed over no evidence" in shown(client, path(refused))


def test_an_old_report_is_expired_and_still_says_what_it_was(client: Client) -> None:
    run = development(age=25 * HOUR)
    page = shown(client, path(run))
    assert attributes(page, "verdict-overall", "data-verdict") == [("expired",)]
    assert "it was" in page and run.overall in page and "it counts no more" in page
    assert overall(client, run)[1].startswith("Expired · "), "so does the picture of its link"
    # What failed goes on counting where a provider is chosen (`StandingView.failed`).
    Verification.objects.update(overall="fail")
    # However often nobody answered since.
    for _ in range(SHOWN_HISTORY):
        unreachable()
    page = shown(client, path(run))
    assert "It failed, and where a provider is chosen that counts" in page
    assert "counts no more" not in page
    for age in (25, 73):
        Standing.objects.update(overall="fail", checked_at=timezone.now() - age * HOUR)
        page = shown(client, TAB)
        assert "It failed, and where a provider is chosen that counts" in page, age
        assert "counts no more" not in page and "No verdict that still counts" not in page, age


HOSTILE = "<script>alert(1)</script>\u202e\x07'\"><img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff\xfe\x00",
        json.dumps({HOSTILE: HOSTILE}).encode(),
        json.dumps({"quote": HOSTILE, "event_log": [{"imr": 9, "event": HOSTILE}]}).encode(),
        json.dumps({"intel_quote": "00", "info": {"tcb_info": HOSTILE}}).encode(),
        json.dumps(
            {
                "quote": "",
                "event_log": [
                    {"imr": 0, "event_type": 1, "digest": "00", "event": HOSTILE},
                    {"imr": 3, "event_type": 0x08000001, "event": HOSTILE, "event_payload": "3c"},
                ],
                "tcb_info": {
                    "app_compose": json.dumps({"docker_compose_file": f"image: {HOSTILE}\n" * 3})
                },
            }
        ).encode(),
        json.dumps({"evidence": HOSTILE, "compose_content": HOSTILE}).encode(),
        json.dumps(
            {"signing_address": HOSTILE, "nvidia_payload": [{"certificate": HOSTILE}]}
        ).encode(),
    ],
)
def test_hostile_evidence_is_shown_and_inert(client: Client, body: bytes) -> None:
    run = stored(Evidence("report", body), lab().context(machine()), error=HOSTILE, url=HOSTILE)
    page = shown(client, path(run))
    inside = page.split("</head>")[1]
    assert "<script>" not in inside and "<img src=x" not in inside
    assert "\u202e" not in page and "\x07" not in page


def test_rows_with_any_value_are_shown(client: Client) -> None:
    run = development()
    run.rows[0] |= {"expected": ["a", 1], "got": {"b": None}, "detail": HOSTILE, "verdict": "fail"}
    run.rows[1] |= {"expected": "", "got": 0, "title": HOSTILE, "source": HOSTILE}
    Verification.objects.filter(pk=run.pk).update(rows=run.rows)
    assert "<script>" not in shown(client, path(run)).split("</head>")[1]


def test_a_page_costs_the_same_for_many_gpus_and_a_long_history(client: Client) -> None:
    def cost(url: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            shown(client, url)
        return len(captured)

    first = development(machine(gpus=1))
    cost("/")  # what is counted once per block is kept from here on
    cost(path(first))  # and who signed the newest answer
    few = cost(path(first)), cost(TAB), cost("/")
    for hours in range(1, 9):
        development(machine(gpus=4), age=hours * HOUR)
    last = development(machine(gpus=8))
    cost("/")  # what is counted once per verdict, too
    assert (cost(path(last)), cost(TAB), cost("/")) == few
    assert max(few) <= 20


def test_what_a_verdict_changed_from_is_found_behind_many_of_the_other_machine() -> None:
    good, bad = machine(), machine(fields={"td_attributes": DEBUG_ATTRIBUTES})
    first = development(good, endpoint=Endpoint.MODEL, age=9 * HOUR)
    for hours in range(3, 8):
        development(good, age=hours * HOUR)
    development(bad, endpoint=Endpoint.MODEL, age=HOUR)
    (newest,) = history.of_service(KEY, page_size=1).items
    assert (newest.before, newest.overall) == ("dev-pass", "fail")
    assert "hardware" in newest.changed
    # And without reading all that were ever made: they are kept.
    for hours in range(10, 310):
        first.pk, first.started_at = uuid.uuid4(), timezone.now() - hours * HOUR
        first.save(force_insert=True)
    with CaptureQueriesContext(connection) as asked:
        assert len(history.of_service(KEY, page_size=3).items) == 3
    (plan,) = plans([asked[-1]["sql"]], "attestation_verification")
    assert plan.count("Limit") == plan.count("verification_runs") == 2, plan


def test_the_address_with_the_hash_leads_to_nothing_else(client: Client) -> None:
    run = development()
    hashed = f"{path(run)}-{run.content_hash[:16]}"
    for address in (path(run), hashed, f"{path(run)}-{run.content_hash}"):
        page = shown(client, address)
        assert f'rel="canonical" href="http://127.0.0.1:8000{hashed}"' in page
        assert f"/og/verifications/{run.pk}.png" in page
        assert attributes(page, "permalink", "href") == [(hashed,)]
        assert f'href="{path(run)}.json"' in page
    other = "0" * 16 if run.content_hash[0] != "0" else "1" * 16
    for wrong in (other, run.content_hash[:15], run.content_hash + "0", "x" * 16):
        shown(client, f"{path(run)}-{wrong}", 404)


def test_what_came_later_stands_apart_from_what_the_hash_covers(client: Client) -> None:
    def since(page: str) -> str:
        start = page.index('data-testid="since"')
        return page[start : page.index("</section>", start)]

    run = development(age=2 * HOUR)
    finding(run, "same_ppid")
    part = since(shown(client, path(run)))
    assert "not covered by its hash" in part and 'data-finding="same_ppid"' in part
    assert "No newer verdict" in part
    assert "never changed" in shown(client, path(run))
    later = development(age=HOUR)
    for _ in range(SHOWN_HISTORY):
        unreachable()
    part = since(shown(client, path(run)))
    assert "Checked again" in part and path(later) in part and "No newer" not in part
    Verification.objects.update(finished_at=timezone.now() - 25 * HOUR)
    assert "older than a day" in since(shown(client, path(later)))
    Verification.objects.filter(pk=run.pk).update(hash_version=1)
    assert "of the older kind" in shown(client, path(run))


def test_the_keys_are_compared_in_words(client: Client) -> None:
    def keys(run: Verification) -> list[tuple[str, ...]]:
        page = shown(client, path(run))
        start = page.index('data-testid="keys"')
        part = page[start : page.index("</section>", start)]
        return [
            (found[0], re.sub("<svg.*?</svg>|<[^>]*>", "", found[1]))
            for found in re.findall(r'data-verdict="(\w+)".*?class="mark">(.*?)</span>', part, re.S)
        ]

    equal, different = "Equal to the attested key.", "Different from the attested key"
    run = development()
    assert keys(run)[1:] == [
        ("pass", equal), ("not_checked", "No signed answer of this service was checked here yet.")
    ]  # fmt: skip
    for signer, word, said in ((ADDRESS, "pass", equal), (factories.ALICE, "warn", different)):
        cache.clear()
        factories.head()
        answered(signer)
        # What she signs with in another contract has another key, and another report.
        answered(factories.BOB, factories.FINE_TUNING)
        assert keys(run)[2][0] == word and said in keys(run)[2][1]
    made = machine()
    other = stored(
        Evidence("report", lab().body(made)),
        lab().context(made, onchain_signer=factories.ALICE),
        declared="separated",
    )
    assert keys(other)[1][0] == "fail" and different in keys(other)[1][1]
    assert len(keys(other)) == 2, "the broker of a separated model signs no answers"
    # Without Intel's documents nothing says that the machine is one.
    gap = stored(Evidence("report", lab().body(made)), lab().context(made, collateral=None))
    assert gap.attested_signer and "counts for nothing" in keys(gap)[0][1]
    chips = attributes(shown(client, path(gap)), "verdict-question", "data-verdict")
    assert (gap.questions["hardware"], chips[0]) == ("warn", ("dev-partial",))
    assert keys(gap)[1] == ("not_checked", "Not compared: there is no attested key.")
    model = development(made, endpoint=Endpoint.MODEL, declared="separated")
    assert len(keys(model)) == 3, "the model does"
    assert "as the listing declares it" in shown(client, path(model))


def test_others_verifiers_are_asked_with_what_the_bundle_holds(
    client: Client, shared: Path, settings: Any
) -> None:
    case = Case("real/near-direct-8gpu")
    run = stored(case.evidence, case.context())
    page = html.unescape(shown(client, path(run)))
    with zipfile.ZipFile(io.BytesIO(services.bundle(run))) as archive:
        quote, request = archive.read("quote.bin"), json.loads(archive.read("nras-request.json"))
    given = json.loads(case.evidence.body)
    assert quote.hex() == given["intel_quote"]
    assert request["nonce"] and len(request["evidence_list"]) == 8
    assert f"https://proof.t16z.com/reports/{hashlib.sha256(quote).hexdigest()}" in page
    for part, address in (
        ("quote.bin", "https://cloud-api.phala.com/api/v1/attestations/verify"),
        ("nras-request.json", "https://nras.attestation.nvidia.com/v3/attest/gpu"),
    ):
        assert f"unzip -p evidence-{str(run.pk)[:8]}.zip {part} | curl -fsS" in page
        assert address in page
    digest = re.findall("sha256:([0-9a-f]{64})", page)[0]
    assert f"https://search.sigstore.dev/?hash=sha256:{digest}" in page
    assert "this site had no list of them" in page
    # A key of another kind than the chain's (ed25519), in a quote that is genuine.
    assert run.facts["signer"] in page and "counts for nothing" not in page
    assert "no signer on chain equals it" in page
    brought = stored(case.evidence, case.context(), key=None)
    mine = shown(client, path(brought))
    chips = attributes(mine, "verdict-question", "data-verdict")
    assert brought.questions["fresh"] == "pass" and chips[4] == ("partial",)
    assert "nobody here had chosen it" in mine and "Our nonce" not in mine
    # Under a development network's roots it fails, and is none of that network's.
    foreign = stored(case.evidence, replace(case.context(), anchors=lab().anchors))
    judged = shown(client, path(foreign))
    assert foreign.development and "chains to none of them" in judged
    assert "It chains to roots" not in judged
    # A provider may have one in each serving contract: asked again is the one of this report.
    assert (
        f"verify_service {run.provider} --kind {run.kind} --service-name {run.service_name}" in page
    )
    # Outside verifiers know no development roots.
    assert "unzip -p" not in shown(client, path(development()))


def test_firmware_that_is_behind_is_said_and_shown_without_a_check_mark(
    client: Client, shared: Path
) -> None:
    case = Case("real/0g-llm")
    run = stored(case.evidence, case.context())
    page = shown(client, path(run))
    verdict = re.search(r'<span[^>]*data-testid="verdict-overall".*?</span>', page, re.S)
    assert run.overall == "warn" and verdict is not None
    assert "triangle-alert" in verdict[0] and "shield-check" not in verdict[0]
    part = page[page.index('data-testid="warnings"') :]
    part = part[: part.index("</ul>")]
    assert "OutOfDate" in part and "INTEL-SA-01036" in part
    assert "Required, but not seen" in part and "sends nothing there" in part
    row = page[page.index('data-check="tdx.tcb"') :]
    assert "<details open>" in row[: row.index("</summary>")], "the advisories need no click"
    assert 'data-testid="warnings"' not in shown(client, path(development()))
    for row in run.rows:
        if row["verdict"] in ("not_provided", "not_checked"):
            row["verdict"] = "pass"
    Verification.objects.filter(pk=run.pk).update(rows=run.rows)
    assert "these alone do not stop" in shown(client, path(run))


def test_parsed_fields_of_quote_and_gpus_are_shown(client: Client) -> None:
    run = development(machine(gpus=2))
    run.facts["gpu1"]["driver"] = HOSTILE
    Verification.objects.filter(pk=run.pk).update(facts=run.facts)
    page = shown(client, path(run))
    page = page[page.index('data-testid="fields"') :]
    for fact in ("vbios", "board", "ueid", "leaf"):
        assert run.facts["gpu0"][fact] and run.facts["gpu0"][fact] in page
    for fact in ("mr_td", "rtmr0", "ppid", "fmspc", "report_data"):
        assert run.facts[fact] in page
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page


def test_reports_that_never_were_are_404(client: Client) -> None:
    shown(client, "/verifications/00000000-0000-0000-0000-000000000000", 404)
    shown(client, "/verifications/1", 404)


# --- a service's standing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "basis", "word"),
    [
        (HOUR, {}, "dev-pass"),
        (25 * HOUR, {}, "expired"),
        (73 * HOUR, {}, "never"),
        (HOUR, {"url": "https://another.example"}, "never"),
    ],
)
def test_every_list_says_the_present_verdict(
    client: Client, age: dt.timedelta, basis: dict[str, str], word: str
) -> None:
    Standing.objects.all().delete()
    run = development(age=age)
    Verification.objects.filter(pk=run.pk).update(overall="dev-pass")
    Standing.objects.update(overall="dev-pass", basis=basis)
    service = f"/services/inference/{factories.PETRA}"
    for url in ("/", f"/providers/{factories.PETRA}", service, TAB, f"{service}/raw"):
        found = attributes(shown(client, url), "service-verdict", "data-verdict")
        assert set(found) == {(word,)}, url
    assert f'data-verdict="{word}"' in shown(client, f"/playground/chat?provider={factories.PETRA}")
    assert f'verdicts_services{{verdict="{word}"}} 1.0' in shown(client, "/metrics")
    assert ("The listing changed after the last check" in shown(client, TAB)) == bool(basis)
    said = {
        "dev-pass": "We checked development evidence",
        "expired": "Our last check is more than a day old",
        "never": "Our last check is more than three days old",
    }[word]
    said = "We have not checked its attestation as it is listed now" if basis else said
    assert said in shown(client, service)
    plain = word.removeprefix("dev-")
    assert 'data-count="1"' in shown(client, f"/?verified={plain}")
    assert 'data-count="0"' in shown(client, "/?verified=fail")


def test_a_good_word_does_not_hide_that_no_gpu_was_shown(client: Client) -> None:
    development()
    chat = f"/playground/chat?provider={factories.PETRA}"
    places = ("/", f"/services/inference/{factories.PETRA}", chat)
    assert not any("GPU not proven" in shown(client, url) for url in places)
    Standing.objects.all().delete()
    development(machine(gpus=0))
    for url in places:
        assert "GPU not proven" in shown(client, url), url
    # A preview keeps its words for weeks: the moment, not how long ago.
    kept = re.search('og:description" content="([^"]*)"', shown(client, places[1]))
    assert kept and re.search(r"Evidence checked \d+ \w+ \d{4} \d\d:\d\d UTC\.", kept[1])
    asks = 'class="button%s" href="/playground/chat'
    assert asks % " primary" in shown(client, places[1])
    Standing.objects.update(overall="fail")
    assert not any("GPU not proven" in shown(client, url) for url in places)
    # Where nothing private should be sent, to send something is not what the page is for.
    failed = shown(client, places[1])
    assert asks % "" in failed and asks % " primary" not in failed
    # The sentence at the head of the page does not say less than its badge.
    assert "Evidence failed our check" in failed
    Standing.objects.update(overall="not_provided")
    assert "No evidence to check was given" in shown(client, places[1])


def test_three_facts_stay_three(client: Client) -> None:
    development()
    page = shown(client, f"/services/inference/{factories.PETRA}")
    facts = re.findall(r'<span class="who">(.*?)</span>', page)
    assert facts == ["Owner of the 0G contract", "You", "0G Market"]
    assert "See the report" in page


def test_silence_keeps_the_verdict_and_says_since_when(client: Client) -> None:
    development()
    Standing.objects.update(unreachable_since=timezone.now() - HOUR)
    page = shown(client, TAB)
    assert "Unreachable since" in page and "the last verdict, not a new one" in page
    assert "no answer" in shown(client, "/")
    never = "It was never checked with success"
    assert never not in page and "no other provider showed this machine" in page
    Standing.objects.update(checked_at=timezone.now() - 73 * HOUR)
    page = shown(client, TAB)
    assert never not in page and "Nothing could be compared" in page
    Standing.objects.update(tried_at=timezone.now())
    asked = shown(client, f"{TAB}?asked={int(timezone.now().timestamp()) - 1}")
    assert "Asked just now, without an answer" in asked and "Checked just now" not in asked
    Standing.objects.update(overall="", checked_at=None)
    assert never in shown(client, TAB)


def test_findings_are_told_on_both_sides(client: Client) -> None:
    factories.service(factories.BOB)
    finding(development(), "same_ppid")
    for provider, other in ((factories.PETRA, factories.BOB), (factories.BOB, factories.PETRA)):
        page = shown(client, f"/services/inference/{provider}/verification")
        assert "One machine behind two providers" in page
        assert f'href="/providers/{other}"' in page


def test_a_regression_says_from_what_to_what(client: Client) -> None:
    Finding.objects.create(
        kind="regression", provider=factories.PETRA, service_kind="inference",
        service_name=KEY.service_name, subject="broker", opened_at=timezone.now(),
        detail={"from": "pass", "to": "fail"},
    )  # fmt: skip
    for url in (TAB, f"/services/inference/{factories.PETRA}", f"/providers/{factories.PETRA}"):
        assert "From “Verified” to “Failed”" in shown(client, url)


def test_anybody_may_ask_for_a_check_once_a_minute(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **_: queued.append(name))
    first = client.post(TAB)
    assert first.status_code == 302 and first["Location"].startswith(f"{TAB}?asked=")
    assert queued == [services.TASK]
    assert "is being asked for its evidence" in shown(client, first["Location"])
    second = client.post(TAB)
    assert second.status_code == 429 and int(second["Retry-After"]) > 0
    assert "checked just now" in second.content.decode()
    swapped = client.post(TAB, headers={"HX-Request": "true"})
    assert swapped.status_code == 200 and "checked just now" in swapped.content.decode()
    assert len(queued) == 1
    Request.objects.all().delete()
    assert "waits for its turn" in shown(client, first["Location"])
    development(age=dt.timedelta(seconds=-1))
    assert "Checked just now" in shown(client, first["Location"])
    assert Client(enforce_csrf_checks=True).post(TAB).status_code == 403


def test_one_address_cannot_have_the_whole_market_checked_all_day(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_app, "send_task", lambda name, **_: None)
    answers = []
    for _ in range(21):
        cache.delete(f"attestation:asked:{factories.PETRA}")  # another provider each time
        answers.append(client.post(TAB))
    assert [answer.status_code for answer in answers] == [302] * 20 + [429]
    assert "You asked for many checks" in answers[-1].content.decode()
    assert int(answers[-1]["Retry-After"]) > 0


# --- /verify --------------------------------------------------------------------------------------


def test_a_pasted_report_gets_the_same_page_as_a_providers(
    client: Client, settings: Any, tmp_path: Path
) -> None:
    with vendors(settings, tmp_path):  # else NVIDIA itself is asked, three times for each document
        body = lab().body(machine()).decode()
        response = client.post("/verify", {"text": body})
        assert response.status_code == 302
        page = shown(client, response["Location"])
        assert "Evidence somebody brought" in page
        assert 'og:title" content="Evidence somebody brought"' in page, "also where it is shared"
        assert len(attributes(page, "verdict-question", "data-question")) == 5
        run = Verification.objects.get()
        assert (run.provider, run.endpoint) == ("", "upload")
        assert Standing.objects.count() == 0
        # Editors and shells put marks before a text, or write it in two bytes a character.
        for saved in (body.encode("utf-8-sig"), body.encode("utf-16")):
            response = client.post("/verify", {"file": SimpleUploadedFile("report.json", saved)})
            assert response.status_code == 302
        assert len(set(Verification.objects.values_list("body_id", flat=True))) == 1


def test_a_bundle_is_judged_as_its_report_was(
    client: Client, settings: Any, tmp_path: Path
) -> None:
    anchors = tmp_path / "anchors.json"
    anchors.write_text(json.dumps(lab().anchors_document))
    settings.ATTESTATION_ANCHORS = str(anchors)
    run = development()
    bundle = io.BytesIO(services.bundle(run))
    bundle.name = "evidence.zip"
    response = client.post("/verify", {"file": bundle})
    assert response.status_code == 302
    again = Verification.objects.get(pk=response["Location"].rsplit("/", 1)[1])
    assert (again.overall, again.questions, again.rows) == (run.overall, run.questions, run.rows)
    judged = dt.datetime.fromtimestamp(NOW, dt.UTC)
    for _round in range(2):
        with patch.object(timezone, "now", return_value=judged + HOUR):
            assert overall(client, again) == ("dev-pass", "Verified development evidence"), "ours"
        # It lasts no longer than the report does, whenever it is brought.
        assert overall(client, again) == ("expired", f"Expired · {judged:%d %b %Y %H:%M} UTC")
        again = services.judge_upload(services.Upload(bundle=services.bundle(again)))


def overall(client: Client, run: Verification) -> tuple[str, str]:
    """The one word of a report's page, and what its picture begins with."""
    ((word,),) = attributes(shown(client, path(run)), "verdict-overall", "data-verdict")
    with patch.object(social, "Card", wraps=social.Card) as card:
        client.get(f"/og{path(run)}.png")
    chip = str(card.call_args.args[3])
    return word, chip if word == "expired" else chip.partition(" · ")[0]


def check_row(page: str, id: str) -> str:
    """One row of the checks, as the page has it."""
    part = page[page.index(f'data-check="{id}"') :]
    return part[: part.find('data-testid="check-row"')]


def _signed_answer() -> dict[str, Any]:
    """An exchange that somebody else had with the attested key."""
    request, response = b"00" * 24, b"an answer"
    text = replies.signed_text(replies.sha256_hex(request), replies.sha256_hex(response))
    signed = {"text": text, "signature": replies.sign_text(text, SIGNER)}
    return {
        "random": request.decode(), "request": base64.b64encode(request).decode(),
        "response": base64.b64encode(response).decode(),
        "signature": {**signed, "signing_address": ADDRESS},
    }  # fmt: skip


def test_what_only_its_bringer_says_is_not_shown_as_verified(
    client: Client, settings: Any, tmp_path: Path
) -> None:
    """Anybody can pack a file that says what the chain names and which number was sent."""
    anchors = tmp_path / "anchors.json"
    anchors.write_text(json.dumps(lab().anchors_document))
    settings.ATTESTATION_ANCHORS = str(anchors)
    made = machine()
    evidence = Evidence("report", lab().body(made))
    behind = lab().context(made, Tcb("OutOfDate"))
    run = services.judge_upload(services.Upload(bundle=bundles.write(evidence, behind)))
    assert run.overall == "dev-warn", "nor as verified with warnings"
    found = attributes(shown(client, path(run)), "verdict-overall", "data-verdict")
    assert found == [("dev-partial",)]
    known = lab().context(made, challenge=_signed_answer())
    run = services.judge_upload(services.Upload(bundle=bundles.write(evidence, known)))
    assert run.overall == "dev-pass" and run.questions["key"] == "pass"
    page = html.unescape(shown(client, path(run)))
    assert attributes(page, "verdict-overall", "data-verdict") == [("dev-partial",)]
    chips = attributes(page, "verdict-question", "data-question", "data-verdict")
    assert ("key", "dev-partial") in chips and ("gpu", "dev-pass") in chips
    assert ("fresh", "dev-partial") in chips, "nobody here asked for it, with a number or without"
    assert "nobody here asked the chain" in page and "this site, from the chain" not in page
    assert "NVIDIA, and this site its signature" not in page, "by keys that came with the file"
    word = "against the word of whoever brought it"
    theirs = ("bind.onchain", "bind.ack", "bind.nonce", "bind.challenge", "nras.token")
    assert all(word in check_row(page, id) for id in theirs)
    assert word not in check_row(page, "tdx.sig")
    assert overall(client, run)[1] == "Development evidence, partly verified"
    # Nor once this site has packed it: the report is ours, what it rests on is not.
    for _round in range(2):
        run = services.judge_upload(services.Upload(bundle=services.bundle(run)))
        assert run.notes[0]["text"].endswith(", of a file that somebody brought")
        page = shown(client, path(run))
        assert attributes(page, "verdict-overall", "data-verdict") == [("dev-partial",)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Choose a file or paste"),
        ({"text": '{"a":'}, "cannot be read"),
        ({"text": "[" * 5000}, "cannot be read"),
        ({"text": '{"quote": ""}', "onchain_signer": "0x12"}, "not an address"),
        ({"text": '{"quote": ""}', "onchain_signer": f"0x{'aA' * 20}"}, "wrong checksum"),
        ({"text": '{"quote": ""}', "nonce": "zz"}, "not hex"),
        ({"text": (b"\x04\0\x02\0\x81\0\0\0" + bytes(600)).hex()}, "This is a quote alone"),
        (
            {"text": '{"checks": [], "content_hash": "", "evidence_sha256": ""}'},
            "Bring the file of “Download evidence”",
        ),
    ],
)
def test_what_cannot_be_judged_is_told(client: Client, given: dict[str, str], words: str) -> None:
    response = client.post("/verify", given)
    assert response.status_code == 400
    page = html.unescape(response.content.decode())
    assert words in page and pasted(page) == given.get("text", "")
    assert Verification.objects.count() == 0


def pasted(page: str) -> str:
    (text,) = re.findall(r'<textarea[^>]* name="text"[^>]*>(.*?)</textarea>', page, re.S)
    return str(text)


def test_a_zip_bomb_and_a_flood_are_refused_before_they_are_read(client: Client) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report.json", bytes(64 << 20))
    bomb.seek(0)
    bomb.name = "bomb.zip"
    assert client.post("/verify", {"file": bomb}).status_code == 400
    flood = client.post("/verify", data=bytes(MAX_REQUEST_BYTES + 1), content_type=FORM)
    assert flood.status_code == 413
    assert Client(enforce_csrf_checks=True).post("/verify", {"text": "{}"}).status_code == 403
    long = client.post("/verify", {"text": "x" * (1 << 20)})
    assert long.status_code == 413 and "bring it as a file" in long.content.decode()
    for _ in range(12):
        last = client.post("/verify", {"text": "{oops"})
    assert last.status_code == 429 and "Retry-After" in last
    assert pasted(last.content.decode()) == "{oops", "to be sent again"


def test_what_one_address_may_leave_here_for_ever_is_bounded(client: Client) -> None:
    def bring(path: str = "/verify") -> int:
        large = io.BytesIO(b"x" * (4 << 20))
        large.name = "report.json"
        response = client.post(path, {"file": large})
        if response.status_code == 429:
            assert int(response["Retry-After"]) > 60
        return response.status_code

    assert [bring() for _ in range(5)] == [400, 400, 400, 400, 429]
    assert bring("/verify?what=answer") == 400, "an answer is looked at and not kept"


# --- badges ---------------------------------------------------------------------------------------


def badge(client: Client, address: str = factories.PETRA) -> tuple[int, str]:
    response = client.get(f"/badge/{address}.svg")
    assert response["Content-Type"] == "image/svg+xml"
    assert "max-age=300" in response["Cache-Control"]
    root = ElementTree.fromstring(response.content)
    assert {element.tag.rsplit("}")[-1] for element in root.iter()} <= {
        "svg", "title", "rect", "path", "g", "text"
    }  # fmt: skip
    return response.status_code, "".join(root.itertext())


def test_a_badge_says_the_present_verdict(client: Client) -> None:
    assert badge(client)[1].endswith("Not checked yet")
    development()
    assert "evelopment evidence" in badge(client)[1] and "UTC" in badge(client)[1]
    Standing.objects.update(checked_at=timezone.now() - 25 * HOUR)
    assert "Expired" in badge(client)[1]
    Standing.objects.update(checked_at=timezone.now() - 73 * HOUR)
    assert badge(client)[1].endswith("Not checked yet")
    assert badge(client, factories.ALICE) == (404, "0G Market: Not listed0G MarketNot listed")
    assert client.get("/badge/nobody.svg").status_code == 404
    assert client.get(f"/badge/{factories.PETRA.lower()}.svg").status_code == 302


def test_a_badge_says_the_worst_of_several_services(client: Client) -> None:
    development()
    factories.contract(kind="fine-tuning")
    factories.service(kind="fine-tuning")
    made = machine()
    tuning = ServiceKey("fine-tuning", factories.PETRA, "fine-tuning-v1.0")
    body, context = lab().body(made), lab().context(made, onchain_signer=factories.ALICE)
    world.stored(Evidence("report", body), context, key=tuning)
    assert "Failed" in badge(client)[1]


def test_a_badge_says_the_measured_uptime_and_is_embedded_as_printed(client: Client) -> None:
    unmeasured = client.get(f"/badge/{factories.PETRA}.svg?show=uptime").content.decode()
    assert "Uptime not measured" in unmeasured
    page = client.get(f"/services/inference/{factories.PETRA}/verification").content.decode()
    said = html.unescape(page)
    for picture in re.findall(r'<img src="(?:http://[^/"]+)(/badge/[^"]+)"', said):
        first = client.get(picture)
        assert first.status_code == 200 and first["Cache-Control"] == "public, max-age=300"
        again = client.get(picture, headers={"If-None-Match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert said.count("](http") >= 2
    noon = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    assert "Up 98.76 % in 7 d by 600 probes · 01 May 12:00 UTC" in badges.uptime(
        9_876, 600, noon, False
    )
    assert badges._TONES["warn"] in badges.uptime(9_876, 600, noon, False)
    assert "(example data)" in badges.uptime(10_000, 600, noon, True)
