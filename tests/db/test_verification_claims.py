"""What a report says that it proves, and what not: sentences of stored rows."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, cast

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from attestation import claims, declared, evaluate, fields, services
from attestation import words as sayings
from attestation.engine.evidence import Evidence
from attestation.models import Endpoint, Outcome, Trigger
from attestation.runs import Draft
from attestation.selectors import ServiceKey
from attestation.services import Upload
from net.client import Client
from provider.tee.development.report import Machine
from tests.db.report_world import stored as keep
from tests.db.verification_world import LAB, evidence, words
from tests.db.verification_world import market as market  # a fixture
from tests.pure.attestation_cases import Case
from tests.pure.attestation_lab import ADDRESS

pytestmark = pytest.mark.django_db


def test_a_brought_report_claims_nothing_that_only_its_bringer_says(settings: Any) -> None:
    report = json.loads(evidence())
    given = Upload(body=json.dumps(report).encode(), onchain_signer=ADDRESS)
    stored = services.judge_upload(given)
    stored.development = False  # the sentences of a real report
    assert words(stored)["bind.onchain"] == "pass"
    assert not any("the chain names" in text for text in claims.proven(stored))
    assert any("the chain names" in text for text in claims.unproven(stored))
    assert not any("still holds" in text for text in claims.unproven(stored))
    stored.now_unix -= 30 * 86_400
    assert any("judged as of" in text for text in claims.unproven(stored))


def test_a_log_and_a_key_are_worth_what_the_system_is_that_names_them() -> None:
    """Genuine hardware runs any system: one of somebody's own logs and names what it likes."""
    stored = services.judge_upload(Upload(body=evidence(), onchain_signer=ADDRESS))
    stored.development = False  # the sentences of a real report
    started, rests = "It was started with exactly", "rest on the machine’s system"
    assert words(stored)["dstack.compose"] == "pass"
    assert not any(started in text for text in claims.proven(stored))
    assert any(rests in text for text in claims.unproven(stored))
    for row in stored.rows:
        if row["id"] in ("tdx.mr_td", "tdx.rtmr1", "tdx.rtmr2"):
            row["verdict"] = "pass"
    assert any(started in text for text in claims.proven(stored))
    assert not any(rests in text for text in claims.unproven(stored))
    assert not any("measured, current" in text for text in claims.unproven(stored))
    # Our copies of both manifests could not be used: the GPU is genuine, and that is all.
    stored.rows = [row for row in stored.rows if row["id"] != "gpu0.measurements"]
    stored.questions["gpu"] = "warn"
    assert any("1 GPU is genuine" in text for text in claims.proven(stored))
    assert any("measured, current" in text for text in claims.unproven(stored))


def test_a_machine_that_could_not_be_checked_is_named_among_what_is_not_proven() -> None:
    """Without Intel's documents the key's rows pass all the same; they prove nothing."""
    machine = Machine(ADDRESS)
    stored = keep(Evidence("report", LAB.body(machine)), LAB.context(machine, collateral=None))
    stored.development = False  # the sentences of a real report
    assert stored.questions["key"] == "pass" and not [
        text for text in claims.proven(stored) if "machine" in text.lower()
    ]
    for missing in ("there is a trusted machine at all", "lives in this machine"):
        assert any(missing in text for text in claims.unproven(stored)), missing


def test_the_gpus_of_a_report_are_told_by_their_own_rows() -> None:
    nonce = bytes(32)
    (item,) = LAB.nvidia.payload(nonce)["evidence_list"]
    body, chain = (base64.b64decode(item[name]) for name in ("evidence", "certificate"))
    given = Upload(kind="gpu", body=body, chain_pem=chain, nonce=nonce.hex())
    stored = services.judge_upload(given)
    stored.development = False  # the sentences of a real report
    assert any("1 GPU is genuine" in text for text in claims.proven(stored))
    assert not any("Which GPU" in text for text in claims.unproven(stored))
    # Measurements that nobody signed are nobody's.
    for row in stored.rows:
        if row["id"] in ("gpu0.chain", "gpu0.sig"):
            row["verdict"] = "not_provided"
    stored.gpu_serials = []
    assert not any("genuine" in text for text in claims.proven(stored))
    assert any("Which GPU ran the model: nothing" in text for text in claims.unproven(stored))


def test_a_wrong_document_of_intels_is_not_called_old_firmware() -> None:
    assert "has to update it" in sayings.advice("tdx.tcb", "fail")
    for id in ("tdx.tcb_info", "tdx.qe_identity", "tdx.fmspc"):
        said = sayings.advice(id, "fail")
        assert "document" in said and "update" not in said and "retrieve" not in said


def test_gpus_alone_are_what_their_evidence_proves(shared: Path) -> None:
    case = Case("real/nvidia-h100-4gpu-sdk")
    brought = keep(case.evidence, case.context(), key=None)
    assert (brought.overall, brought.questions["gpu"]) == ("pass", "partial")
    assert [text for text in claims.proven(brought) if "4 GPUs with keys that NVIDIA" in text]
    case = Case("real/0g-llm")
    named = keep(case.evidence, case.context(), key=None)
    assert any(text.startswith("Required, but not seen") for text in claims.warnings(named))


def test_a_key_in_bytes_that_a_stranger_may_have_chosen_is_not_said_to_be_the_machines() -> None:
    """A proxy that signs with ed25519 puts the asker's nonce where this layout has the key."""
    key = bytes.fromhex("07" * 32)
    entry = f"broker@sha256:{'ab' * 32} {ADDRESS} {key.hex()}"
    named, chose = "That machine named the key", "machine chose this key"
    for events, known in (((), False), ((("zg-image-update", entry.encode().hex()),), True)):
        machine = Machine(ADDRESS, encryption_key=key, gpus=0, events=events)
        given = Upload(body=evidence(machine), onchain_signer=ADDRESS, acknowledged=True)
        stored = services.judge_upload(given)
        stored.development = False  # the sentences of a real report
        assert stored.facts["report_data_layout"] == "0g-v1"
        assert any(named in text for text in claims.proven(stored)) is known
        assert any(chose in text for text in claims.unproven(stored)) is not known
        attested, chain = fields.keys(stored, None)
        assert attested.address == ADDRESS and chain.equal == ("same" if known else "")


def test_a_key_of_unproven_hardware_is_paid_for_nothing() -> None:
    """Not even asked: its row would name what the site's wallet lacks."""
    machine = Machine(ADDRESS)
    context = LAB.context(machine, collateral=None)
    report, now = LAB.judge(machine, collateral=None), timezone.now()
    asked = (Endpoint.BROKER, Trigger.SCHEDULE, now, now, Outcome.JUDGED, context, report)
    draft = Draft(*asked, evidence=Evidence("report", LAB.body(machine)))
    key, tee = ServiceKey("inference", ADDRESS, ""), declared.of("TeeML", "")
    target = evaluate.Target(key, 1, "https://p.example", "m", "TeeML", "", ADDRESS, True, tee, {})
    judged = async_to_sync(evaluate._challenged)(cast(Client, None), target, "broker", draft)
    assert judged.report.find("bind.challenge") is None
