"""NVIDIA's evidence under development roots: what is accepted, and at which row what is caught."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import jwt

from attestation.engine import reports
from attestation.engine.verdicts import Report
from devnet.attestation.vendors import NvidiaServices
from protocol.digests import address_of_key
from provider.tee.development.nvidia import opaque
from provider.tee.development.report import Machine
from tests.pure.attestation_lab import ADDRESS, NOW, Lab, failing, lab, word

MACHINE = Machine(ADDRESS, gpus=2)
STRANGER = address_of_key(hashlib.sha256(b"stranger").digest())


def test_a_measurement_that_is_not_nvidias_fails() -> None:
    wrong = replace(MACHINE, wrong_measurement=17)
    assert failing(lab().judge(wrong)) == {"gpu0.measurements", "gpu1.measurements"}
    inactive = replace(MACHINE, wrong_measurement=40)
    assert failing(lab().judge(inactive)) == set()


def test_a_revoked_provisioner_fails_and_a_stale_answer_warns() -> None:
    revoked = lab().nvidia.ocsp(NOW, revoked=2)
    one = Machine(ADDRESS)
    assert failing(lab().judge(one, ocsp=revoked)) == {"gpu0.revocation"}
    stale = lab().judge(one, ocsp=lab().nvidia.ocsp(NOW - 2 * 86_400))
    assert word(stale, "gpu0.revocation") == "warn"
    unsigned = [b"\x30\x03\x0a\x01\x06"]  # "unauthorized"
    assert word(lab().judge(one, ocsp=unsigned), "gpu0.revocation") == "not_checked"
    foreign = NvidiaServices(b"other").ocsp(NOW)
    assert word(lab().judge(one, ocsp=foreign), "gpu0.revocation") != "pass"


def edited(change: Any, **changes: Any) -> Report:
    """The report with its GPU payload edited."""
    body = json.loads(lab().body(MACHINE))
    payload = json.loads(body["nvidia_payload"])
    change(payload["evidence_list"])
    body["nvidia_payload"] = json.dumps(payload)
    return reports.verify(json.dumps(body).encode(), lab().context(MACHINE, **changes))


def test_gpus_have_to_be_there_and_different() -> None:
    def twice(items: list[Any]) -> None:
        items[1] = items[0]

    assert failing(edited(twice)) == {"gpu.distinct"}

    def unnamed(items: list[Any]) -> None:
        for item in items:
            item["certificate"] = ""

    # Without certificates nobody knows which they are; that they are one is not said either.
    report = edited(unnamed)
    assert failing(report) == set()
    assert word(report, "gpu.distinct") == word(report, "gpu1.chain") == "not_provided"
    assert {"gpu.present", "nras.submods"} == failing(edited(lambda items: items.pop()))
    assert "gpu.present" in failing(edited(lambda items: items.extend(items * 10)))
    none = json.loads(lab().body(MACHINE))
    none.pop("nvidia_payload")
    report = reports.verify(json.dumps(none).encode(), lab().context(MACHINE, nras=None))
    assert report.questions()["gpu"] == "not_provided"
    assert report.overall == "dev-partial"


def test_a_zeroed_certificate_authenticates_nothing() -> None:
    def zero(items: list[Any]) -> None:
        items[0]["certificate"] = base64.b64encode(bytes(4096)).decode()

    report = edited(zero)
    assert word(report, "gpu0.chain") == word(report, "gpu0.sig") == "not_provided"
    assert report.overall != "dev-pass"


def test_evidence_of_another_key_is_not_for_this_quote() -> None:
    def swap(items: list[Any]) -> None:
        items[:] = lab().nvidia.payload(bytes(32), 2)["evidence_list"]

    assert {"gpu0.nonce", "gpu1.nonce"} == failing(edited(swap, nras=None))


def test_manifests_have_to_be_nvidias_alone() -> None:
    own = lab().nvidia.manifests()
    foreign = Lab(b"forger").nvidia.manifests()
    report = lab().judge(MACHINE, rims=foreign)
    assert {"gpu0.rim_driver", "gpu0.rim_vbios"} <= failing(report)
    assert report.find("gpu0.measurements") is None
    assert report.overall == "dev-warn"  # our copy is at fault, not the device
    wrapped = {id: xml.replace(b"<ds:Signature ", b"<x/><ds:Signature ") for id, xml in own.items()}
    assert "gpu0.rim_driver" in failing(lab().judge(MACHINE, rims=wrapped))
    dtd = {id: b'<!DOCTYPE a [<!ENTITY b "c">]>' + xml for id, xml in own.items()}
    assert "gpu0.rim_driver" in failing(lab().judge(MACHINE, rims=dtd))
    assert word(lab().judge(MACHINE, rims={}), "gpu0.rim_driver") == "not_checked"


def versioned(extra: list[tuple[int, bytes]], version: int = 2, **changes: Any) -> Report:
    """Evidence as drivers since CUDA 13.5 write it: typed opaque values behind a header."""
    new = Lab(b"versioned")
    new.nvidia.opaque = opaque(extra, version)
    return new.judge(Machine(ADDRESS), **changes)


def test_opaque_data_with_a_header_is_read() -> None:
    report = versioned([(37, b"\5\0")])
    assert failing(report) == set()
    assert report.facts["gpu0"]["driver"] == "570.172.08"
    for id in ("gpu0.measurements", "gpu0.fwid", "gpu0.rim_vbios"):
        assert word(report, id) == "pass", id
    assert failing(versioned([], version=3)) == {"gpu0.parse"}, "a later layout is not guessed at"


def test_a_manifest_can_demand_a_security_version() -> None:
    rims = Lab(b"versioned").nvidia.manifests({37: 5})
    for svn, verdict in ((4, "fail"), (5, "pass"), (0x0105, "pass")):
        report = versioned([(37, svn.to_bytes(2, "little"))], rims=rims)
        assert word(report, "gpu0.measurements") == verdict, svn
    assert word(versioned([], rims=rims), "gpu0.measurements") == "fail", "absent is not enough"


def test_tokens_of_the_service() -> None:
    nonce = MACHINE.gpu_nonce
    tokens = lab().nvidia.tokens
    assert failing(lab().judge(MACHINE, nras=tokens(nonce, NOW - 7200, 2))) == {"nras.token"}
    assert failing(lab().judge(MACHINE, nras=tokens(bytes(32), NOW, 2))) == {"nras.nonce"}
    assert "nras.result" in failing(lab().judge(MACHINE, nras=tokens(nonce, NOW, 2, ok=False)))
    assert failing(lab().judge(MACHINE, nras=tokens(nonce, NOW, 1))) == {"nras.submods"}
    assert word(lab().judge(MACHINE, jwks=None), "nras.token") == "not_checked"
    assert failing(lab().judge(MACHINE, jwks=NvidiaServices(b"x").key_set())) == {"nras.token"}
    overall, parts = tokens(nonce, NOW, 2)
    claims = jwt.decode(overall[1], options={"verify_signature": False})
    header = {"kid": "dev-nras-1"}
    for forged in (
        jwt.encode(claims, "", "none", headers=header),
        jwt.encode(claims, "x" * 64, "HS384", headers=header),
    ):
        assert failing(lab().judge(MACHINE, nras=[["JWT", forged], parts])) == {"nras.token"}


def test_the_oldest_form_judges_the_gpu_and_proves_no_key() -> None:
    nonce = hashlib.sha256(b"sent").digest()
    body = {"signing_address": ADDRESS, "nvidia_payload": lab().nvidia.payload(nonce)}
    context = lab().context(MACHINE, nonce=nonce.hex(), nras=None)
    report = reports.verify(json.dumps(body).encode(), context)
    assert word(report, "gpu0.measurements") == word(report, "gpu0.nonce") == "pass"
    assert word(report, "bind.onchain") == "not_provided"
    assert (report.overall, report.questions()["key"]) == ("dev-partial", "partial")
    lying = reports.verify(json.dumps(body).encode(), replace(context, onchain_signer=STRANGER))
    assert failing(lying) == {"bind.onchain"}


def test_a_report_that_says_nothing_of_gpus_is_not_whole() -> None:
    """Leaving the number out must not make a better verdict than naming one."""

    def without_evidence(vm_config: dict[str, Any]) -> Report:
        body = json.loads(lab().body(MACHINE))
        del body["nvidia_payload"]
        body["vm_config"] = json.dumps(vm_config)
        return reports.verify(json.dumps(body).encode(), lab().context(MACHINE, nras=None))

    rest = {"spec_version": 1, "os_image_hash": "33" * 32}
    assert without_evidence({**rest, "num_gpus": 0}).overall == "dev-pass"
    for more in ({"num_gpus": 2}, {"num_gpus": -1}, {}):
        report = without_evidence({**rest, **more})
        row = report.find("gpu.present")
        assert row is not None and row.required and row.verdict == "not_provided"
        assert (report.overall, report.questions()["gpu"]) == ("dev-partial", "not_provided")
        assert more.get("num_gpus", 0) > 0 or "not checked" in row.detail
