"""Every shipped case gives exactly what vectors/attestation/expected.json says of it."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from tests.pure.attestation_cases import VECTORS, Case, names

pytestmark = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the attestation vectors lie in ../shared, which is absent"
)


@pytest.mark.parametrize("name", names())
def test_the_case_is_judged_as_expected(name: str) -> None:
    case, expected = Case(name), json.loads((VECTORS / "expected.json").read_text())[name]
    report = case.judge()
    assert report.summary() == {key: expected[key] for key in ("overall", "questions", "checks")}
    verdicts = report.summary()["checks"]
    assert all(verdicts[id] in ("fail", "not_provided") for id in case.fields.get("must_fail", []))
    assert all(verdicts[id] == "warn" for id in case.fields.get("must_warn", []))
    json.dumps(asdict(report))  # storable as it is


@pytest.mark.parametrize("name", ["real/0g-broker", "real/0g-llm", "dev/legacy-layout"])
def test_without_collateral_nothing_of_the_hardware_is_green(name: str) -> None:
    report = Case(name).judge(collateral=None)
    verdicts = report.summary()["checks"]
    assert verdicts["tdx.tcb"] == verdicts["tdx.pck_chain"] == "not_checked"
    assert report.questions()["hardware"] != "pass"
    assert report.overall in ("partial", "dev-partial", "warn")


def test_genuine_hardware_is_never_genuine_under_development_anchors() -> None:
    from tests.pure.attestation_cases import development_anchors

    report = Case("real/0g-broker").judge(anchors=development_anchors())
    assert report.overall == "fail"
    assert report.summary()["checks"]["tdx.pck_chain"] == "fail"
