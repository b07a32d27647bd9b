"""More evidence than anything honest is refused quickly, before parsing (attestation.md 12)."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from attestation import bundle
from attestation.engine import certificates, composefile, limits, reports, rim
from attestation.engine.evidence import Evidence
from attestation.engine.verdicts import Report
from provider.tee.development.report import Machine
from tests.pure.attestation_lab import ADDRESS, NOW, failing, lab

MACHINE = Machine(ADDRESS)
#: CPU seconds that a refusal may take, on a slow machine.
PATIENCE = 5.0


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    lab().manifests  # noqa: B018  (made once, outside the measurement)
    started = time.process_time()
    yield
    assert time.process_time() - started < PATIENCE


def judge(**members: Any) -> Report:
    """The intact report with members replaced, and without what costs time."""
    body = {**json.loads(lab().body(MACHINE)), **members}
    context = lab().context(MACHINE, collateral=None, rims=None, nras=None, ocsp=())
    return reports.verify(json.dumps(body).encode(), context)


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b"a" * (limits.MAX_BODY_BYTES + 1) + b'"',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"quote":' * 1_000 + b"1" + b"}" * 1_000,
        b"\xff\xfe",
        b"NaN",
        b"",
    ],
)
def test_a_body_that_is_no_report(body: bytes) -> None:
    assert reports.verify(body, lab().context(MACHINE)).overall == "fail"
    assert reports.verify_gpu_payload(body, lab().context(MACHINE)).overall == "fail"


@pytest.mark.parametrize(
    ("members", "row"),
    [
        ({"quote": "00" * 40_000}, "tdx.parse"),
        ({"event_log": json.dumps([{"imr": 3}] * 6_000)}, "report.readable"),
        ({"event_log": "[" * 1_000 + "]" * 1_000}, "report.readable"),
        ({"vm_config": "[" * 1_000}, "report.readable"),
        ({"vm_config": {"num_gpus": 1.5}}, "report.readable"),
        ({"vm_config": {"num_gpus": "one"}}, "report.readable"),
        ({"vm_config": {"num_gpus": 2}}, "gpu.present"),
        ({"nvidia_payload": {"evidence_list": [{}] * 10_000}}, "gpu.present"),
        ({"nvidia_payload": {"evidence_list": "x" * 1_000_000}}, "report.readable"),
    ],
)
def test_a_member_beyond_its_limit(members: dict[str, Any], row: str) -> None:
    report = judge(**members)
    assert row in failing(report)
    assert len(report.checks) < 250


def test_a_chain_of_many_certificates_is_not_read() -> None:
    entry = lab().nvidia.evidence(MACHINE.gpu_nonce)
    chain = base64.b64decode(entry["certificate"])
    context = lab().context(MACHINE, rims=None, nras=None, ocsp=())
    for given in (chain * 3, chain + b"\n" * limits.MAX_CHAIN_BYTES):
        report = reports.verify_gpu(base64.b64decode(entry["evidence"]), given, context)
        assert failing(report) == {"gpu0.chain"}
    huge = reports.verify_gpu(b"\x11\xe0" + bytes(limits.MAX_EVIDENCE_BYTES), chain, context)
    assert failing(huge) == {"gpu0.parse"}


def test_certificates_without_an_end_are_counted_before_they_are_looked_for() -> None:
    """Else each of a thousand beginnings makes the search read all that follows."""
    begun = b"-----BEGIN CERTIFICATE-----\n"
    assert certificates.load_pem(begun * limits.MAX_CERTIFICATES) == []
    with pytest.raises(limits.TooMuch):
        certificates.load_pem(begun * (limits.MAX_CERTIFICATES + 1))


def test_a_manifest_with_a_long_chain_is_not_followed() -> None:
    """Each link of a chain costs a signature to check, and whoever made it can make them right."""
    xml = next(iter(lab().manifests.values()))
    first = xml.index(b"<ds:X509Certificate>")
    one = xml[first : xml.index(b"</ds:X509Data>")]
    long = xml.replace(one, one * limits.MAX_CERTIFICATES)
    with pytest.raises(rim.RimError, match="certificates: 20 is more than 10"):
        rim.load(long, certificates.at(NOW), lab().anchors.rim)


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: &a [*a]",
        "[" * 50_000,
        "- " * 50_000,
        "a: !!python/object/apply:os.system [id]",
        "a: 1\n" * 100_000,
        "\x00",
        'a: &a "' + "x" * 50_000 + '"\nb: [' + ", ".join(["*a"] * 40_000) + "]",
        "a: " + "1:" * 100_000 + "1",
    ],
    ids=["bomb", "self", "flow", "block", "python", "long", "nul", "word", "number"],
)
def test_hostile_yaml_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError):
        composefile.tapp_hash(text)
    app = json.dumps({"docker_compose_file": text + "\nimage: mysql:8.0\n"})
    assert composefile.listed(app).images in ([], [{"ref": "mysql:8.0", "digest": None}])


def test_a_megabyte_of_white_space_takes_no_time() -> None:
    app = json.dumps({"docker_compose_file": " \n" * 500_000})
    assert composefile.listed(app).images == []


def test_texts_of_rows_are_cut() -> None:
    compose = "services:\n" + "".join(f"  s{n}:\n    image: i{n}:latest\n" for n in range(2_000))
    body = json.loads(lab().body(replace(MACHINE, app_compose=json.dumps({"docker_compose_file": compose}))))  # noqa: E501  # fmt: skip
    context = lab().context(MACHINE, collateral=None, rims=None, nras=None, ocsp=())
    row = reports.verify(json.dumps(body).encode(), context).find("dstack.images_pinned")
    assert row is not None and row.verdict == "warn"
    assert len(row.got) <= limits.MAX_ROW_TEXT + 1


# --- bundles --------------------------------------------------------------------------------------


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def test_a_bundle_comes_back_as_it_was_written() -> None:
    evidence, context = Evidence("report", lab().body(MACHINE)), lab().context(MACHINE)
    data = bundle.write(evidence, context)
    assert data == bundle.write(evidence, context)
    again, known = bundle.read(data, lab().anchors)
    assert again == evidence
    assert reports.judge(again, known).summary() == reports.judge(evidence, context).summary()
    entry = lab().nvidia.evidence(MACHINE.gpu_nonce)
    gpu = Evidence("gpu", *(base64.b64decode(entry[k]) for k in ("evidence", "certificate")))
    assert bundle.read(bundle.write(gpu, context), lab().anchors)[0] == gpu


MANIFEST = b'{"format": "zg-market evidence 1", "kind": "report", "now": 1}'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 no zip",
        {},
        {"manifest.json": MANIFEST, "report.json": b"{}"},
        {"manifest.json": MANIFEST.replace(b"1}", b'"1"}'), "report.json": b"{}"},
        {"manifest.json": b"[]", "report.json": b"{}"},
        {"manifest.json": b" " * 50_000_000},
        {f"{n}.txt": b"" for n in range(100)},
    ],
)
def test_a_bundle_that_is_none_is_refused_in_words(data: bytes | dict[str, bytes]) -> None:
    with pytest.raises(bundle.BadBundle):
        bundle.read(data if isinstance(data, bytes) else zipped(**data), lab().anchors)


def test_a_cut_bundle_is_refused() -> None:
    whole = bundle.write(Evidence("report", lab().body(MACHINE)), lab().context(MACHINE))
    for size in range(0, len(whole), len(whole) // 40):
        with pytest.raises(bundle.BadBundle):
            bundle.read(whole[:size], lab().anchors)
