"""`verify_evidence` and `verify_bundle` as an operator runs them (interfaces.md 1)."""

from __future__ import annotations

import base64
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from attestation import bundle
from attestation.engine import references
from tests.pure.attestation_cases import (
    DEV_ISSUER,
    VECTORS,
    Case,
    development_anchors,
    development_roots,
    names,
)

pytestmark = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the attestation vectors lie in ../shared, which is absent"
)
EXIT = {"pass": 0, "warn": 0, "fail": 1}


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the printed document."""
    output = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command(*arguments, "--json", stdout=output)
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(output.getvalue())


@pytest.fixture(scope="module")
def anchors_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    roots = {name: base64.b64encode(der).decode() for name, der in development_roots().items()}
    file = tmp_path_factory.mktemp("anchors") / "anchors.json"
    file.write_text(json.dumps({**roots, "nras_issuer": DEV_ISSUER}))
    return file


def flags(case: Case, anchors_file: Path, folder: Path) -> list[str]:
    fields = case.fields
    given = ["--report", str(case.report_file), "--kind", fields.get("kind", "report")]
    given += ["--now", str(fields["now"])]
    if fields.get("kind") == "gpu":
        given += ["--chain", str(case.folder / "chain.pem")]
    if fields.get("dev"):
        given += ["--anchors", str(anchors_file)]
    texts = {"nonce": "nonce", "onchain": "onchain-signer", "tls_live": "tls-fingerprint"}
    given += [f"--{flag}={fields[key]}" for key, flag in texts.items() if fields.get(key)]
    if fields.get("acknowledged") is not None:
        given += ["--acknowledged", str(fields["acknowledged"]).lower()]
    if fields.get("body_sig") is not None:
        given += [f"--body-signature={fields['body_sig']}"]
    if fields.get("collateral"):
        given += ["--collateral", str(VECTORS / fields["collateral"])]
    for key in ("nras", "jwks", "ocsp"):
        if fields.get(key):
            given += [f"--{key}", str(case.folder / fields[key])]
    rims = case.rim_files()
    if rims is not None:
        for id, path in rims.items():
            (folder / f"{id}.xml").write_bytes(path.read_bytes())
        given += ["--rims", str(folder)]
    return given


@pytest.mark.parametrize("name", names())
def test_verify_evidence_says_what_is_expected(
    name: str, anchors_file: Path, tmp_path: Path
) -> None:
    expected = json.loads((VECTORS / "expected.json").read_text())[name]
    code, document = run("verify_evidence", *flags(Case(name), anchors_file, tmp_path))
    assert document == {key: expected[key] for key in ("overall", "questions", "checks")}
    assert code == EXIT.get(expected["overall"], 2)


@pytest.mark.parametrize("name", ["real/0g-broker", "real/near-direct-8gpu", "dev/ocsp-good"])
def test_a_bundle_is_judged_like_its_evidence(
    name: str, tmp_path: Path, anchors_file: Path, settings: Any
) -> None:
    case = Case(name)
    file = tmp_path / "evidence.zip"
    file.write_bytes(bundle.write(case.evidence, case.context()))
    settings.ATTESTATION_ANCHORS = str(anchors_file) if case.fields.get("dev") else "vendor"
    code, document = run("verify_bundle", str(file))
    assert document == case.judge().summary()
    assert code == EXIT.get(document["overall"], 2)


def test_a_bundle_never_brings_its_own_anchors(tmp_path: Path) -> None:
    case = Case("dev/ocsp-good")
    file = tmp_path / "evidence.zip"
    assert case.context().anchors == development_anchors()
    file.write_bytes(bundle.write(case.evidence, case.context()))
    assert run("verify_bundle", str(file))[1]["overall"] == "fail"


def test_published_values_are_compared_only_where_they_are_named(tmp_path: Path) -> None:
    case = Case("real/0g-broker")
    given = ["--report", str(case.report_file), "--now", str(case.fields["now"])]
    facts = case.judge().facts
    boot = {"label": "dstack", **{name: facts[name] for name in ("mr_td", "rtmr1", "rtmr2")}}
    file = tmp_path / "references.json"
    for changed, word in (({}, "pass"), ({"rtmr2": "00" * 48}, "warn")):
        head = {"format": references.FORMAT, "label": "x", "source": "https://x.example"}
        file.write_text(json.dumps({**head, "boots": [boot | changed]}))
        checks = run("verify_evidence", *given, "--references", str(file))[1]["checks"]
        assert [checks[f"tdx.{name}"] for name in ("mr_td", "rtmr1", "rtmr2")] == [word] * 3
        assert checks["tdx.rtmr0"] == "not_checked"
    assert run("verify_evidence", *given)[1]["checks"]["tdx.mr_td"] == "not_checked"
    file.write_text("{}")
    with pytest.raises(CommandError, match="format"):
        call_command("verify_evidence", *given, "--references", str(file))
    (tmp_path / "none.xml").mkdir()
    with pytest.raises(CommandError, match=r"cannot read .*none\.xml"):
        call_command("verify_evidence", *given, "--rims", str(tmp_path))


def test_without_a_time_the_collateral_gives_it_never_the_clock() -> None:
    case = Case("real/0g-broker")
    given = ["--report", str(case.report_file)]
    collateral = ["--collateral", str(VECTORS / case.fields["collateral"])]
    assert run("verify_evidence", *given, *collateral)[1]["checks"]["tdx.tcb"] == "pass"
    with pytest.raises(CommandError, match="reads no clock"):
        call_command("verify_evidence", *given)
    # What is mistyped is no verdict about the evidence.
    for wrong, named in (("--now=99999999999999999999", "--now"), ("--now=-1", "--now")):
        with pytest.raises(CommandError, match=named):
            call_command("verify_evidence", *given, wrong)
    other, output = f"0x{'11' * 20}", StringIO()
    with pytest.raises(SystemExit):
        asked = ("--now=1771545600", f"--onchain-signer={other}")
        call_command("verify_evidence", *given, *asked, stdout=output)
    assert f"expected {other}" in output.getvalue(), "a row that fails says what would be right"
    with pytest.raises(CommandError, match="--onchain-signer is not an address"):
        call_command("verify_evidence", *given, "--now=1771545600", "--onchain-signer=0xDC1A")
    mistyped = "0xDC1A4da6BdCD90c20d7FF53a6cDc11fBf0E2303D"
    for wrong in (
        f"--onchain-signer={mistyped}",
        "--nonce=a nonce",
        "--tls-fingerprint=zz",
    ):
        with pytest.raises(CommandError, match=f"^{wrong.partition('=')[0]} ") as refused:
            call_command("verify_evidence", *given, "--now=1771545600", wrong)
        assert refused.value.returncode == 2


def test_a_fingerprint_may_be_written_as_openssl_prints_it() -> None:
    case = Case("real/near-gateway")
    given = ["--report", str(case.report_file), f"--now={case.fields['now']}"]
    live = case.fields["tls_live"]
    pairs = ":".join(live[at : at + 2] for at in range(0, 64, 2)).upper()
    for written in (live, pairs):
        checks = run("verify_evidence", *given, f"--tls-fingerprint={written}")[1]["checks"]
        assert checks["bind.tls"] == "pass", written


def test_people_get_lines_and_a_provider_cannot_steer_their_terminal(tmp_path: Path) -> None:
    file, output = tmp_path / "report.json", StringIO()
    file.write_text(json.dumps({"\x1b]0;owned\x07": 1}))
    with pytest.raises(SystemExit) as ended:
        call_command("verify_evidence", "--report", str(file), "--now=1", stdout=output)
    assert ended.value.code == 1
    assert "Report has a known shape" not in output.getvalue()  # the id says it
    assert "report.shape" in output.getvalue()
    assert "\x1b" not in output.getvalue()
