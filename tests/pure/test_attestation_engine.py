"""The engine on development evidence: what it accepts, and at which row it catches what."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from eth_utils.crypto import keccak

from attestation.engine import anchors, reports
from attestation.engine.collateral import PcsAnswers, build, raw_member
from attestation.engine.evidence import Context
from attestation.engine.verdicts import Report
from devnet.attestation.vendors import Tcb
from protocol.digests import address_of_key, personal_digest, sign
from provider.tee.development import intel, pki
from provider.tee.development.report import Machine
from tests.pure.attestation_lab import ADDRESS, KEY, NOW, Lab, failing, lab, word

MACHINE = Machine(ADDRESS, gpus=2)
STRANGER = address_of_key(hashlib.sha256(b"stranger").digest())
COMPOSE = "services:\n  app:\n    image: example/app@sha256:" + "cd" * 32 + "\n"


def test_complete_development_evidence_passes_and_says_that_it_is_development() -> None:
    report = lab().judge(MACHINE)
    assert failing(report) == set()
    assert report.overall == "dev-pass"
    assert report.questions() == {
        "hardware": "warn",  # the anchor's row is red
        "key": "pass",
        "software": "partial",  # measurements without reference values
        "gpu": "pass",
        "fresh": "warn",  # no nonce in this layout
    }
    for id in ("tdx.qvl", "dstack.compose", "gpu1.measurements", "gpu1.revocation", "nras.GPU-1"):
        assert word(report, id) == "pass", id
    assert report.facts["gpu0"]["ueid"] != report.facts["gpu1"]["ueid"]


def test_the_same_evidence_is_worthless_to_whoever_trusts_the_vendors() -> None:
    report = lab().judge(MACHINE, anchors=anchors.VENDOR)
    assert report.overall == "fail"
    assert {"tdx.pck_chain", "tdx.tcb_info", "tdx.qvl", "gpu0.chain", "nras.token"} <= failing(
        report
    )


def test_one_foreign_anchor_taints_everything() -> None:
    own = lab().anchors
    vendor = replace(own, nvidia=anchors.NVIDIA_DEVICE_ROOT)
    assert lab().judge(MACHINE, anchors=vendor).development
    only_issuer = anchors.Anchors(nras_issuer="https://example.invalid")
    empty = reports.verify_gpu_payload(b"[]", Context(now=NOW, anchors=only_issuer))
    assert empty.overall == "dev-partial"


def test_another_installations_roots_are_not_ours() -> None:
    other = Lab(b"another seed")
    assert other.anchors != lab().anchors
    assert "tdx.pck_chain" in failing(other.judge(MACHINE, anchors=lab().anchors))


@pytest.mark.parametrize(
    ("tcb", "row", "verdict", "overall"),
    [
        (Tcb("OutOfDate", ["INTEL-SA-00001"]), "tdx.tcb", "warn", "dev-warn"),
        (Tcb("ConfigurationNeeded"), "tdx.tcb", "warn", "dev-warn"),
        (Tcb("Revoked"), "tdx.tcb", "fail", "fail"),
        (Tcb("Excellent"), "tdx.tcb", "fail", "fail"),
        (Tcb(revoke_pck=True), "tdx.pck_chain", "fail", "fail"),
        (Tcb(fmspc=bytes.fromhex("90c06f000000")), "tdx.fmspc", "fail", "fail"),
    ],
)
def test_the_collaterals_word_about_the_platform(
    tcb: Tcb, row: str, verdict: str, overall: str
) -> None:
    report = lab().judge(MACHINE, tcb)
    assert (word(report, row), report.overall) == (verdict, overall)
    if tcb.advisories:
        assert report.facts["advisory_ids"] == ["INTEL-SA-00001"]


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({"td_attributes": intel.DEBUG_ATTRIBUTES}, "tdx.debug"),
        ({"td_attributes": intel.MIGRATABLE_ATTRIBUTES}, "tdx.attributes"),
        ({"td_attributes": bytes(8)}, "tdx.attributes"),
        ({"mr_signer_seam": b"\1" * 48}, "tdx.module"),
        ({"tee_tcb_svn": bytes(16)}, "tdx.tcb"),
        ({"rtmr3": b"\2" * 48}, "dstack.rtmr3"),
        ({"rtmr0": b"\2" * 48}, "dstack.rtmr0"),
        ({"mr_config_id": b"\1" + b"\3" * 32}, "dstack.mrconfig"),
        ({"report_data": bytes(64)}, "bind.layout"),
        ({"report_data": STRANGER.encode()}, "bind.onchain"),
    ],
)
def test_a_machine_that_is_not_right_is_caught_at_its_row(
    fields: dict[str, bytes], row: str
) -> None:
    report = lab().judge(replace(MACHINE, fields=fields))
    assert row in failing(report)
    assert report.overall == "fail"


@pytest.mark.parametrize("seconds", [-3 * 86_400, 40 * 86_400])
def test_collateral_outside_its_window_is_not_used(seconds: int) -> None:
    report = lab().judge(MACHINE, now=NOW + seconds)
    assert {"tdx.tcb_info", "tdx.qe_identity", "tdx.pck_chain", "tdx.qvl"} <= failing(report)
    assert report.questions()["key"] == "fail"  # a quote not known to be genuine proves nothing


def test_edited_collateral_breaks_its_signature() -> None:
    document = lab().intel.collateral(NOW, Tcb("OutOfDate"))
    document["tcb_info"] = document["tcb_info"].replace("OutOfDate", "UpToDate")
    assert {"tdx.tcb_info", "tdx.qvl"} <= failing(lab().judge(MACHINE, collateral=document))


def test_without_evidence_from_outside_nothing_turns_green() -> None:
    without: dict[str, Any] = {
        "collateral": None,
        "rims": None,
        "ocsp": (),
        "nras": None,
        "onchain_signer": None,
    }
    report = lab().judge(MACHINE, acknowledged=None, **without)
    assert report.overall == "dev-partial"
    for id in ("tdx.tcb", "gpu0.rim", "gpu0.revocation", "bind.onchain"):
        assert word(report, id) == "not_checked", id
    assert "pass" not in report.questions().values()


def test_the_chain_has_to_name_and_acknowledge_this_signer() -> None:
    assert failing(lab().judge(MACHINE, onchain_signer=STRANGER)) == {"bind.onchain"}
    assert failing(lab().judge(MACHINE, acknowledged=False)) == {"bind.ack"}
    assert failing(lab().judge(MACHINE, onchain_signer=ADDRESS.upper().replace("X", "x"))) == set()


def test_the_mock_clients_public_key_is_refused() -> None:
    mock = Machine("0x325744be57db298C2652c672B32Eb12875d92D83", gpus=0)
    assert "bind.public_key" in failing(lab().judge(mock, nras=None))


def test_the_v1_layout_and_its_ledger() -> None:
    key = hashlib.sha256(b"x25519").digest()
    digest = "sha256:" + "ab" * 32

    def updated(signer: str, enc_pub: str) -> Machine:
        entry = f"ghcr.io/example/broker@{digest} {signer} {enc_pub}".encode().hex()
        return Machine(ADDRESS, encryption_key=key, events=[("zg-image-update", entry)])

    good = lab().judge(updated(ADDRESS, key.hex()))
    assert good.facts["report_data_layout"] == "0g-v1"
    assert word(good, "bind.ledger") == word(good, "gpu0.nonce") == "pass"
    assert failing(lab().judge(updated(STRANGER, key.hex()))) == {"bind.ledger"}
    assert failing(lab().judge(updated(ADDRESS, "00" * 32))) == {"bind.ledger"}
    # Without: a proxy that signs with ed25519 puts its key here and then what whoever asks chose.
    lent = lab().judge(Machine(ADDRESS, encryption_key=key))
    assert word(lent, "bind.ledger") == "not_provided" and failing(lent) == set()
    assert lent.overall == "dev-partial"
    assert (good.questions()["key"], lent.questions()["key"]) == ("pass", "partial")


def test_only_the_boots_own_compose_hash_counts() -> None:
    """A second compose-hash after system-ready was written by the app (trap 10)."""
    swapped = json.dumps({"docker_compose_file": "services: {x: {image: evil:latest}}"})
    evil = hashlib.sha256(swapped.encode()).hexdigest()
    body = json.loads(lab().body(replace(MACHINE, events=[("compose-hash", evil)])))
    body["tcb_info"] = json.dumps({"app_compose": swapped})
    report = reports.verify(json.dumps(body).encode(), lab().context(MACHINE))
    assert {"dstack.compose", "dstack.mrconfig"} <= failing(report)
    assert word(report, "dstack.rtmr3") == "pass"


def test_logged_digests_are_neither_trusted_nor_needed() -> None:
    body = json.loads(lab().body(MACHINE))
    events = json.loads(body["event_log"])
    for event in events:
        if event["imr"] == 3:
            event["digest"] = ""
    body["event_log"] = json.dumps(events)
    assert failing(reports.verify(json.dumps(body).encode(), lab().context(MACHINE))) == set()
    events[-2]["event_payload"] = "00"
    events[-2]["digest"] = json.loads(lab().body(MACHINE).decode())["quote"][:96]
    body["event_log"] = events  # a list is as good as its text
    caught = failing(reports.verify(json.dumps(body).encode(), lab().context(MACHINE)))
    assert {"dstack.digests", "dstack.rtmr3", "dstack.compose"} <= caught


@pytest.mark.parametrize(
    "compose",
    [
        "services:\n  a:\n    image: mysql:8.0\n",
        "services: {a: {image: 'mysql:8.0'}}",
        'services:\n  a:\n    "image": mysql:8.0\n',
        "x: &x\n  image: mysql:8.0\nservices:\n  a:\n    <<: *x\n",
    ],
)
def test_a_mutable_image_is_found_however_it_is_written(compose: str) -> None:
    machine = replace(MACHINE, app_compose=json.dumps({"docker_compose_file": compose}))
    report = lab().judge(machine)
    assert word(report, "dstack.images_pinned") == "warn"
    assert report.facts["images"] == [{"ref": "mysql:8.0", "digest": None}]


@pytest.mark.parametrize(
    ("more", "pinned"),
    [
        ("", "pass"),
        ("  b: {image: 'x@sha256:${D}'}\n", "warn"),
        ("  b: {image: 'x@sha256:" + "ab" * 32 + "${D}'}\n", "warn"),
        ("  b: {image: x@sha256:abcd}\n", "warn"),
        ("  b: {\n    image: x@sha256:" + "ab" * 32 + ",\n    tty: true}\n", "pass"),
        ("  b: {build: 'https://example.com/x.git'}\n", "not_checked"),
        ("  b: {extends: {file: other.yml, service: x}}\n", "not_checked"),
        ("include: [other.yml]\n", "not_checked"),
    ],
)
def test_images_that_the_file_does_not_fix_are_not_pinned(more: str, pinned: str) -> None:
    machine = replace(MACHINE, app_compose=json.dumps({"docker_compose_file": COMPOSE + more}))
    assert word(lab().judge(machine), "dstack.images_pinned") == pinned


def test_copies_beside_the_quote_may_not_differ_from_it() -> None:
    body = json.loads(lab().body(MACHINE))
    body["tcb_info"] = json.dumps({**json.loads(body["tcb_info"]), "rtmr3": "00" * 48})
    body["report_data"] = base64.b64encode(STRANGER.encode()).decode()
    body["intel_quote"], body["quote"] = body["quote"], "00" * 700
    report = reports.verify(json.dumps(body).encode(), lab().context(MACHINE))
    assert {"dstack.claim_rtmr3", "dstack.claim_quote"} <= failing(report)
    body.pop("intel_quote")
    body["quote"] = json.loads(lab().body(MACHINE))["quote"]
    report = reports.verify(json.dumps(body).encode(), lab().context(MACHINE))
    assert {"dstack.claim_rtmr3", "bind.json_report_data"} == failing(report)


def test_the_body_signature_is_over_the_raw_body() -> None:
    body = lab().body(MACHINE)
    signature = "0x" + sign(personal_digest(keccak(body)), KEY).hex()
    signed = lab().context(MACHINE, body_signature=signature)
    assert word(reports.verify(body, signed), "bind.body_sig") == "pass"
    assert failing(reports.verify(body + b" ", signed)) == {"bind.body_sig"}
    absent = lab().judge(MACHINE, body_signature="")
    assert word(absent, "bind.body_sig") == "not_provided"


# --- freshness ------------------------------------------------------------------------------------


def with_nonce(inside: bytes, **changes: Any) -> Report:
    """A model-side proxy's report, whose layout holds the nonce."""
    data = bytes.fromhex(ADDRESS[2:]).ljust(32, b"\0") + inside
    plain = json.loads(lab().body(Machine(ADDRESS, gpus=0, fields={"report_data": data})))
    body = {
        "signing_address": ADDRESS,
        "intel_quote": plain["quote"],
        "event_log": json.loads(plain["event_log"]),
        "info": {"tcb_info": json.loads(plain["tcb_info"])},
        "nvidia_payload": json.dumps(lab().nvidia.payload(inside)),
    }
    context = lab().context(Machine(ADDRESS), nras=None, **changes)
    return reports.verify(json.dumps(body).encode(), context)


def test_our_nonce_makes_it_fresh_and_anothers_does_not() -> None:
    ours, other = hashlib.sha256(b"ours").digest(), hashlib.sha256(b"other").digest()
    fresh = with_nonce(ours, nonce=ours.hex())
    assert failing(fresh) == set()
    assert fresh.questions()["fresh"] == "pass"
    assert failing(with_nonce(other, nonce=ours.hex())) == {"bind.nonce"}
    undocumented = with_nonce(other, nonce=ours.hex(), accepts_nonce=False)
    assert word(undocumented, "bind.nonce") == "warn"
    assert with_nonce(ours).questions()["fresh"] == "partial"


# --- CryptoPilot ----------------------------------------------------------------------------------


def test_a_tapp_report_replays_its_log_and_names_its_compose() -> None:
    context = lab().context(Machine(ADDRESS), nras=None)
    report = reports.verify(lab().tapp_body(COMPOSE), context)
    assert failing(report) == set()
    for id in ("ccel.rtmr3", "ccel.aael", "ccel.compose", "gpu0.nonce", "bind.onchain"):
        assert word(report, id) == "pass", id
    swapped = json.loads(lab().tapp_body(COMPOSE)) | {"compose_content": COMPOSE + "# x\na: 1\n"}
    assert failing(reports.verify(json.dumps(swapped).encode(), context)) == {"ccel.compose"}
    spoiled = reports.verify(lab().tapp_body(COMPOSE, tamper=-200), context)
    assert failing(spoiled) & {"ccel.aael", "ccel.rtmr3", "ccel.parse"}


# --- collateral -----------------------------------------------------------------------------------


def test_collateral_is_cut_out_of_the_answers_byte_for_byte() -> None:
    document = lab().intel.collateral(NOW)
    info, info_signature = document["tcb_info"], document["tcb_info_signature"]
    identity, signature = document["qe_identity"], document["qe_identity_signature"]
    chain = document["tcb_info_issuer_chain"].replace("\n", "%0A")
    made = build(
        PcsAnswers(
            tcb_info=f'{{ "tcbInfo": {info}, "signature":"{info_signature}"}}',
            tcb_info_chain=chain,
            qe_identity=f'{{"signature":"{signature}","enclaveIdentity":{identity}}}',
            qe_identity_chain=chain,
            pck_crl=bytes.fromhex(document["pck_crl"]),
            pck_crl_chain=document["pck_crl_issuer_chain"].replace("\n", "%0A"),
            root_crl=document["root_ca_crl"].encode(),
        )
    )
    assert failing(lab().judge(MACHINE, collateral=made)) == set()


def test_a_member_is_found_by_name_and_not_by_looks() -> None:
    text = '{"a": "\\"b\\": {1}", "b" : {"x": "}"} , "c": 1}'
    assert raw_member(text, "b") == '{"x": "}"}'
    for missing in ("x", "c"):
        with pytest.raises(ValueError, match="member"):
            raw_member(text, missing)


def test_roots_are_pinned_by_the_documents_fingerprints() -> None:
    own = lab()
    assert own.anchors.intel == hashlib.sha256(pki.der(own.intel.root)).hexdigest()
    for bad in (b"[]", b"{}", b'{"intel": "%", "nvidia": "", "rim": "", "nras_issuer": ""}'):
        with pytest.raises(anchors.BadAnchors):
            anchors.load(bad)
