"""Which documents evidence needs, and that a stranger's evidence cannot choose what we ask."""

from __future__ import annotations

import base64
import json
import random
import struct
from dataclasses import replace

import pytest

from attestation.engine import spdm
from attestation.engine.evidence import Evidence
from attestation.sources import needs, nras
from attestation.sources.obtain import Unusable
from attestation.sources.records import Answer
from provider.tee.development import nvidia
from provider.tee.development.report import Machine, model_report
from tests.pure.attestation_cases import VECTORS, Case
from tests.pure.attestation_lab import ADDRESS, Lab, lab

MACHINE = Machine(ADDRESS, gpus=2)


def of(body: bytes, kind: str = "report", chain: bytes = b"") -> needs.Needs:
    return needs.of(Evidence(kind, body, chain), lab().anchors)  # type: ignore[arg-type]


def test_a_brokers_report_needs_documents_of_both_vendors() -> None:
    found = of(lab().body(MACHINE))
    assert found.platform == needs.Platform("D0C06F000000", "platform")
    assert found.rim_ids == tuple(lab().manifests)
    names = [q.certificate.subject.rfc4514_string() for q in found.questions]
    assert len(names) == 4 and not any("FMC LF" in name for name in names)
    assert len({question.key for question in found.questions}) == 4
    assert found.nras is not None
    sent = json.loads(found.nras)
    given = json.loads(json.loads(lab().body(MACHINE))["nvidia_payload"])
    assert sent == given, "exactly what NVIDIA's service takes"


@pytest.mark.parametrize("kind", ["gpu", "gpu-payload", "model", "cryptopilot"])
def test_every_kind_of_evidence(kind: str) -> None:
    entry = lab().nvidia.evidence(bytes(32))
    parts = [base64.b64decode(entry[name]) for name in ("evidence", "certificate")]
    if kind == "gpu":
        found = of(parts[0], "gpu", parts[1])
    elif kind == "gpu-payload":
        found = of(json.dumps(lab().nvidia.payload(bytes(32))).encode(), "gpu-payload")
    elif kind == "model":
        body = model_report(lab().intel, lab().nvidia, Machine(ADDRESS), b"\1" * 32)
        found = of(json.dumps(body).encode())
    else:
        found = of(lab().tapp_body("services: {}"))
    assert (found.platform is None) == kind.startswith("gpu")
    assert (len(found.rim_ids), len(found.questions)) == (2, 3)
    assert found.nras is not None and json.loads(found.nras)["arch"] == "HOPPER"


def test_nothing_is_asked_about_a_chain_of_somebodys_own() -> None:
    found = needs.of(Evidence("report", Lab(b"own roots").body(MACHINE)), lab().anchors)
    assert (found.platform, found.questions, found.nras) == (None, (), None)
    assert len(found.notes) == 2


@pytest.mark.parametrize("name", ["../../admin", "a/b", "..", "x?y=1", "x#y", "x y", "%2e%2e", ""])
def test_a_manifests_id_cannot_lead_to_another_path(name: str) -> None:
    """The id is made of text that the GPU's owner may have made up."""
    evidence = base64.b64decode(lab().nvidia.evidence(bytes(32))["evidence"])
    honest = struct.pack("<HH", spdm.DRIVER, len(nvidia.DRIVER) + 1) + nvidia.DRIVER.encode()
    text = name.encode()[: len(nvidia.DRIVER)].ljust(len(nvidia.DRIVER), b"\0")
    assert evidence.count(honest) == 1
    forged = evidence.replace(honest, honest[:4] + text)
    found = of(forged, "gpu", b"")
    assert all(needs._RIM_ID.fullmatch(id) and ".." not in id for id in found.rim_ids)
    assert not any("/" in id or "?" in id or "#" in id or "%" in id for id in found.rim_ids)


def test_a_genuine_chain_beside_invented_evidence_asks_little() -> None:
    """Chains are public: with somebody else's, sixteen made-up drivers would be 32 requests."""
    payload = lab().nvidia.payload(bytes(32), 16)
    driver = next(iter(lab().manifests)).rsplit("_", 1)[1].encode()
    for number, entry in enumerate(payload["evidence_list"]):
        evidence = base64.b64decode(entry["evidence"])
        other = f"{number:02d}".encode() + driver[2:]
        assert driver in evidence
        entry["evidence"] = base64.b64encode(evidence.replace(driver, other)).decode()
    found = of(json.dumps(payload).encode(), "gpu-payload")
    assert len(found.transcripts) == 16
    assert 0 < len(found.rim_ids) <= needs.MAX_UNTRUSTED_RIMS
    assert (found.questions, found.nras) == ((), None)


def test_gpus_that_answer_different_nonces_are_no_request() -> None:
    payload = lab().nvidia.payload(bytes(32), 1)
    payload["evidence_list"].append(lab().nvidia.evidence(b"\1" * 32, 1))
    assert of(json.dumps(payload).encode(), "gpu-payload").nras is None


def test_evidence_that_nvidias_service_cannot_read_is_not_sent() -> None:
    new = Lab(b"versioned")
    new.nvidia.opaque = nvidia.opaque(version=2)
    found = needs.of(Evidence("report", new.body(MACHINE)), new.anchors)
    assert found.nras is None and "does not read" in found.notes[0]
    assert len(found.rim_ids) == 2 and len(found.questions) == 4


def test_many_devices_ask_a_bounded_number_of_questions() -> None:
    payload = lab().nvidia.payload(bytes(32), 40)
    found = of(json.dumps(payload).encode(), "gpu-payload")
    assert len(found.transcripts) == 16 and len(found.questions) == 18
    assert found.nras is None, "not all of them can be looked at"


@pytest.mark.parametrize("seed", range(4))
def test_no_evidence_makes_it_raise(seed: int) -> None:
    rng = random.Random(seed)
    bodies = [
        lab().body(replace(MACHINE, gpus=1)),
        lab().tapp_body("services: {}"),
        b'{"quote": 5, "nvidia_payload": [[]]}',
        b'{"intel_quote": "00", "nvidia_payload": {"evidence_list": [1]}}',
        b'{"signing_address": "", "nvidia_payload": "{\\"evidence_list\\": [{}]}"}',
    ]
    for _ in range(150):
        body = bytearray(rng.choice(bodies))
        for _ in range(rng.randrange(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        of(bytes(body))


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the vectors lie in ../shared, which is absent")
def test_real_evidence() -> None:
    from attestation.engine.anchors import VENDOR

    broker = needs.of(Case("real/0g-broker").evidence, VENDOR)
    assert broker.platform is not None and broker.platform.authority == "platform"
    assert (broker.rim_ids, broker.nras) == ((), None)
    eight = needs.of(Case("real/near-direct-8gpu").evidence, VENDOR)
    assert len(eight.transcripts) == 8 and eight.nras is not None
    assert len(eight.rim_ids) == 2 and len(eight.questions) >= 10


def test_a_token_without_an_end_is_no_token() -> None:
    """JSON as some read it has Infinity: NVIDIA's answer is a stranger's, too."""
    claims = base64.urlsafe_b64encode(b'{"iat": 1, "exp": Infinity}').rstrip(b"=").decode()
    token = f"eyJhbGciOiJFUzM4NCJ9.{claims}.AA"
    body = json.dumps([["JWT", token], {}]).encode()
    with pytest.raises(Unusable):
        nras._token_window(Answer("nras", "key", "url", 0, body=body))
