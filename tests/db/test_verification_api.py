"""What is known about services as programs read it: fields, filters, tags, reports, bundles."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestation import published, runs, verify
from attestation.engine import references
from attestation.models import Standing, Verification
from attestation.selectors import ServiceKey, standing_of, standings
from provider.tee.development.report import Machine
from tests.db import api_rows
from tests.db.api_rows import BOB, INFERENCE, PAUL, PETRA, address
from tests.db.test_api import get
from tests.db.verification_world import KEY, always, evidence, listed, provider, run
from tests.db.verification_world import market as market  # a fixture
from tests.pure.attestation_lab import ADDRESS

pytestmark = pytest.mark.django_db


def standing(provider: str, overall: str, hours: float = 0, **fields: Any) -> Standing:
    return Standing.objects.create(
        provider=provider,
        kind="inference",
        service_name="inference-v1.0",
        serving=INFERENCE,
        overall=overall,
        questions={"hardware": "pass"},
        checked_at=timezone.now() - dt.timedelta(hours=hours) if overall else None,
        **fields,
    )


def found(client: Client, word: str) -> set[str]:
    items = get(client, f"/services?verified={word}", "list_services")["items"]
    return {item["provider"] for item in items}


def test_age_turns_a_verdict_grey_and_then_into_none(client: Client) -> None:
    moments = {0.0: "pass", 23.9: "pass", 24.1: "expired", 71.9: "expired", 72.1: "never"}
    for number, (hours, shown) in enumerate(moments.items(), 1):
        who = address(number)
        listed("https://a.example", who)
        standing(who, "pass", hours)
        view = standing_of(ServiceKey("inference", who, "inference-v1.0"))
        assert (view.overall, view.judged) == (shown, "pass")
        assert view.stale == (shown == "expired")
        assert bool(view.questions) == (shown != "never")
        body = get(client, f"/services/inference/{who}", "get_service")["attestation"]
        assert (body or {"overall": "never"})["overall"] == shown
    assert found(client, "pass") == {address(1), address(2)}
    assert found(client, "expired") == {address(3), address(4)}
    assert found(client, "never") == {address(5)}


def test_every_word_finds_its_services_and_no_others(client: Client) -> None:
    words = ("pass", "warn", "partial", "fail", "not_provided", "not_checked", "dev-warn", "")
    for number, word in enumerate(words, 1):
        listed("https://a.example", address(number))
        standing(address(number), word, development=word.startswith("dev-"))
    listed("https://a.example", BOB)
    assert found(client, "pass") == {address(1)}
    assert found(client, "warn") == {address(2), address(7)}
    assert found(client, "not_provided") == {address(5)}
    assert found(client, "never") == {address(8), BOB}
    assert found(client, "expired") == set()
    assert len(found(client, "")) == 9
    # A standing of another contract says nothing about this one.
    Standing.objects.filter(provider=address(1)).update(serving=api_rows.TUNING)
    assert found(client, "pass") == set()


def test_a_list_costs_the_same_however_long_it_is(client: Client) -> None:
    def cost(path: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as asked:
            get(client, path)
        return len(asked)

    listed("https://a.example", address(1))
    standing(address(1), "pass")
    one = cost("/services?page_size=100"), cost("/services?verified=pass")
    for number in range(2, 40):
        listed("https://a.example", address(number))
        standing(address(number), "pass")
    assert (cost("/services?page_size=100"), cost("/services?verified=pass")) == one
    # What the tag says, names, decisions; contracts, count, rows, standings, health.
    assert one == (8, 9)
    with CaptureQueriesContext(connection) as asked:
        standings(ServiceKey("inference", address(n), "inference-v1.0") for n in range(40))
    assert len(asked) == 1


def test_the_tag_moves_with_verdicts_and_with_their_age(client: Client) -> None:
    listed("https://a.example")

    def tag() -> str:
        return client.get("/api/v1/services")["ETag"]

    tags = [tag(), tag()]
    assert len(set(tags)) == 1
    row = standing(PETRA, "pass")
    tags.append(tag())
    row.overall = "warn"
    row.save()
    tags.append(tag())
    Standing.objects.update(checked_at=timezone.now() - dt.timedelta(hours=25))
    tags.append(tag())
    Standing.objects.update(checked_at=timezone.now() - dt.timedelta(hours=73))
    tags.append(tag())
    assert len(set(tags[1:])) == 5
    with CaptureQueriesContext(connection) as asked:
        answer = client.get("/api/v1/services", headers={"If-None-Match": tags[-1]})
    assert (answer.status_code, len(asked)) == (304, 1)


def test_reports_and_history_are_what_was_stored(client: Client) -> None:
    with provider(always(evidence())) as server:
        listed(server.url)
        first = run()
        server.answer = always(b"{}")
        second = run()
        server.answer = always(b"", status=404)
        third = run()
    path = f"/services/inference/{PETRA}/verifications"
    body = get(client, path, "list_verifications")
    assert [item["id"] for item in body["items"]] == [str(r.pk) for r in (third, second, first)]
    assert [item["overall"] for item in body["items"]] == ["not_provided", "fail", "dev-pass"]
    assert body["items"][2]["changed"] == []
    assert "hardware" in body["items"][1]["changed"]
    assert get(client, path + "?page_size=1&page=2")["items"] == body["items"][1:2]
    report = get(client, f"/verifications/{first.pk}", "get_verification")
    assert report["checks"] == first.rows
    assert report["questions"] == first.questions
    assert report["chain"]["block"] == 100
    assert report["evidence_sha256"] == hashlib.sha256(evidence()).hexdigest()
    assert {ref["source"] for ref in report["references"]} >= {"tcb_info", "rim", "ocsp", "jwks"}
    for wrong in ("/verifications/1", f"/verifications/{INFERENCE}",
                  "/verifications/00000000-0000-4000-8000-000000000000",
                  f"/verifications/{third.pk}/bundle",
                  f"/services/inference/{PAUL}/verifications"):  # fmt: skip
        answer = client.get(f"/api/v1{wrong}")
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_anybody_recomputes_the_hash_from_the_answer(client: Client) -> None:
    with provider(always(evidence())) as server:
        listed(server.url)
        stored = run()
    body = client.get(f"/api/v1/verifications/{stored.pk}").json()
    assert (body["hash_version"], body["content_hash"]) == (2, stored.content_hash)

    def hashed(document: dict[str, Any]) -> str:
        rest = {name: value for name, value in document.items() if name != "content_hash"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    assert hashed(body) == stored.content_hash
    page = (Path(__file__).parents[2] / "docs/attestation.md").read_text()
    (printed,) = re.findall(r"^curl -fs SITE/\S+ \| (python3 -c \".*?\")$", page, re.M | re.S)
    told = subprocess.check_output(["sh", "-ec", printed], input=json.dumps(body), text=True)
    assert told.strip() == stored.content_hash
    shown = ("facts", "declared", "development", "finished_at", "notes", "inputs", "evidence_kind",
             "accepts_nonce", "signs_body", "body_signature", "chain_pem_sha256", "trigger",
             "attested_signer", "references", "error", "checks", "questions")  # fmt: skip
    for name in shown:
        assert hashed(body | {name: "other"}) != stored.content_hash, name
    # A row of the time before keeps the hash that it was given.
    stored.hash_version = 1
    first = runs.content_hash(stored)
    Verification.objects.update(hash_version=1, content_hash=first)
    body = client.get(f"/api/v1/verifications/{stored.pk}").json()
    assert published.hash_of(body) == first == body["content_hash"]
    assert published.hash_of(body | {"facts": {}}) == first
    assert published.hash_of(body | {"checks": []}) != first
    with pytest.raises(ValueError, match="not known"):
        published.hash_of(body | {"hash_version": 3})


def test_numbers_of_a_stranger_are_hashed_as_they_come_back(client: Client) -> None:
    machine = Machine(ADDRESS)
    body = json.loads(evidence(machine))
    config = (
        json.loads(body["vm_config"]) if isinstance(body["vm_config"], str) else body["vm_config"]
    )
    body["vm_config"] = config | {"odd": [1e22, -0.0, 1.10, 2**70]}
    with provider(always(json.dumps(body).encode())) as server:
        listed(server.url)
        kept = run()
    stored = Verification.objects.get(pk=kept.pk)
    assert runs.content_hash(stored) == stored.content_hash
    answer = client.get(f"/api/v1/verifications/{stored.pk}").json()
    assert published.hash_of(answer) == stored.content_hash


def test_a_bundle_says_whether_it_is_what_was_published(
    client: Client, tmp_path: Path, settings: Any
) -> None:
    with provider(always(evidence())) as server:
        listed(server.url)
        stored = run()
    whole = client.get(f"/api/v1/verifications/{stored.pk}/bundle").content

    def judged(*changes: tuple[str, Any]) -> dict[str, Any]:
        file, output = tmp_path / "b.zip", io.StringIO()
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(file, "w") as new:
            for name in old.namelist():
                data = old.read(name)
                for changed, change in changes:
                    if name == changed:
                        document = change(json.loads(data))
                        data = json.dumps(document).encode()
                new.writestr(name, data)
        with pytest.raises(SystemExit):
            call_command("verify_bundle", str(file), "--json", stdout=output)
        found: dict[str, Any] = json.loads(output.getvalue())["published"]
        return found

    def rehashed(document: dict[str, Any]) -> dict[str, Any]:
        return document | {"content_hash": published.hash_of(document)}

    same = judged()
    assert same == {
        "same": True, "content_hash": stored.content_hash, "hash_fits": True, "different": [],
        "published_by": "",
    }  # fmt: skip
    lie = judged(("published.json", lambda d: d | {"overall": "pass"}))
    assert (lie["same"], lie["hash_fits"], lie["different"]) == (False, False, ["overall"])
    fitting = judged(("published.json", lambda d: rehashed(d | {"development": False})))
    assert (fitting["same"], fitting["hash_fits"]) == (False, True)
    assert fitting["different"] == ["development"]

    def weaker(document: dict[str, Any]) -> dict[str, Any]:
        rows = document["checks"]
        return rehashed(document | {"checks": [rows[0] | {"verdict": "fail"}, *rows[1:]]})

    assert judged(("published.json", weaker))["different"] == [f"checks.{stored.rows[0]['id']}"]
    older = judged(("published.json", lambda d: rehashed(d | {"engine_version": "1", "facts": {}})))
    assert older["different"] == ["facts"] and "engine 1" in older["published_by"]
    swapped = judged(("manifest.json", lambda d: d | {"acknowledged": False}))
    assert {"chain", "checks.bind.ack"} <= set(swapped["different"])
    swapped = judged(("jwks.json", lambda d: {"keys": []}))
    assert "inputs" in swapped["different"]
    assert judged(("published.json", lambda d: {}))["same"] is False
    assert judged(("published.json", lambda d: {"checks": [1], "hash_version": 2}))["same"] is False


def test_what_a_run_compared_with_is_kept_and_reproduces_it(
    client: Client, tmp_path: Path, settings: Any
) -> None:
    list_file, other = tmp_path / "references.json", tmp_path / "other.json"
    digest = "ab" * 32  # of the image in the development compose file
    head = {"format": references.FORMAT, "label": "release list", "source": "https://list.example"}
    list_file.write_text(
        json.dumps(head | {"images": [{"label": "broker", "digest": f"sha256:{digest}"}]})
    )
    other.write_text(json.dumps(head | {"images": []}))
    settings.ATTESTATION_REFERENCES = str(list_file)
    info = json.dumps({"ImageDigest": f"sha256:{digest}"})
    with provider(always(evidence())) as server:
        listed(server.url, additional_info=info)
        stored = run()
    verdicts = {row["id"]: row["verdict"] for row in stored.rows}
    assert verdicts["dstack.images_known"] == verdicts["dstack.declared_image"] == "pass"
    sha256 = hashlib.sha256(list_file.read_bytes()).hexdigest()
    body = client.get(f"/api/v1/verifications/{stored.pk}").json()
    assert body["inputs"]["references"] == body["facts"]["references"]["sha256"] == sha256
    assert body["inputs"]["declared_images"] == [digest]
    page = client.get(f"/verifications/{stored.pk}").content.decode()
    assert "release list" in page and "--references references.json" in page
    # The site's list may change: a stored run stays what it was.
    settings.ATTESTATION_REFERENCES = ""
    again = Verification.objects.get(pk=stored.pk)
    judged = verify.judge(runs.evidence_of(again), runs.context_of(again))  # type: ignore[arg-type]
    assert [runs.clean(vars(row)) for row in judged.checks] == stored.rows
    file = tmp_path / "b.zip"
    file.write_bytes(client.get(f"/api/v1/verifications/{stored.pk}/bundle").content)
    with zipfile.ZipFile(file) as archive:
        assert archive.read("references.json") == list_file.read_bytes()

    def offline(*options: str) -> dict[str, Any]:
        output = io.StringIO()
        with pytest.raises(SystemExit):
            call_command("verify_bundle", str(file), "--json", *options, stdout=output)
        found: dict[str, Any] = json.loads(output.getvalue())
        return found

    same = offline("--references", str(list_file))
    assert same["published"]["same"] and same["checks"] == verdicts
    # A bundle's own list counts only where it is named.
    bare = offline()
    assert "dstack.images_known" not in bare["checks"]
    assert {"inputs", "checks.dstack.images_known"} <= set(bare["published"]["different"])
    assert sha256 in bare["published"]["published_by"]
    assert offline("--references", str(other))["checks"]["dstack.images_known"] == "warn"
    settings.ATTESTATION_REFERENCES = str(list_file)
    assert offline()["published"]["same"]
    for wrong in (tmp_path / "none.json", file):
        with pytest.raises(CommandError, match=r"none\.json|references"):
            call_command("verify_bundle", str(file), "--references", str(wrong))


def test_a_downloaded_bundle_is_judged_the_same_offline(
    client: Client, tmp_path: Path, settings: Any
) -> None:
    with provider(always(evidence())) as server:
        listed(server.url)
        stored = run()
    answer = client.get(f"/api/v1/verifications/{stored.pk}/bundle")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/zip")
    assert f"verification-{stored.pk}.zip" in answer["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.read("report.json") == evidence()
    file, output = tmp_path / "b.zip", io.StringIO()
    file.write_bytes(answer.content)
    settings.PCS_URL = settings.RIM_URL = settings.OCSP_URL = settings.NRAS_URL = "http://[::1]:9"
    with pytest.raises(SystemExit) as ended:
        call_command("verify_bundle", str(file), "--json", stdout=output)
    judged = json.loads(output.getvalue())
    assert ended.value.code == 2
    assert judged["overall"] == stored.overall
    assert judged["questions"] == stored.questions
    assert judged["checks"] == {row["id"]: row["verdict"] for row in stored.rows}


def test_the_field_on_a_service_is_the_last_verdict(client: Client) -> None:
    with provider(always(evidence())) as server:
        listed(server.url)
        assert get(client, f"/services/inference/{PETRA}")["attestation"] is None
        stored = run()
    body = get(client, f"/services/inference/{PETRA}", "get_service")["attestation"]
    assert set(body) == {"overall", "questions", "checked_at"}
    assert (body["overall"], body["questions"]) == ("dev-pass", stored.questions)
    assert standing_of(KEY).checked_at == Verification.objects.get().finished_at
