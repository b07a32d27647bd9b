"""The commands on development evidence: a checkout without ../shared tests them all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from attestation import bundle
from attestation.engine.evidence import Evidence
from provider.tee.development.report import Machine
from tests.db.test_attestation_commands import run
from tests.pure.attestation_lab import ADDRESS, NOW, lab

MACHINE = Machine(ADDRESS)


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """Flags of `verify_evidence` for one machine's complete evidence, in files."""
    context = lab().context(MACHINE)
    files = {
        "report": lab().body(MACHINE),
        "collateral": json.dumps(context.collateral).encode(),
        "nras": json.dumps(context.nras).encode(),
        "jwks": json.dumps(context.jwks).encode(),
        "ocsp": json.dumps([answer.hex() for answer in context.ocsp]).encode(),
        "anchors": json.dumps(lab().anchors_document).encode(),
    }
    flags = [f"--now={NOW}", f"--onchain-signer={ADDRESS}", "--acknowledged=true"]
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_bytes(content)
        flags.append(f"--{name}={tmp_path / name}.json")
    rims = tmp_path / "rims"
    rims.mkdir()
    for id, xml in lab().manifests.items():
        (rims / f"{id}.xml").write_bytes(xml)
    return [*flags, f"--rims={rims}"]


def test_every_file_is_read_and_development_is_never_a_clean_exit(given: list[str]) -> None:
    code, document = run("verify_evidence", *given)
    assert (code, document["overall"]) == (2, "dev-pass")
    assert document["questions"]["gpu"] == document["questions"]["key"] == "pass"
    code, document = run("verify_evidence", *given, "--anchors=vendor")
    assert (code, document["overall"]) == (1, "fail")
    code, document = run("verify_evidence", *given, f"--now={NOW + 40 * 86_400}")
    assert (code, document["checks"]["tdx.tcb_info"]) == (1, "fail")


def test_what_cannot_be_read_is_said_in_one_line(given: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    for flag in ("--report=absent.json", f"--collateral={tmp_path / 'bad.json'}", "--rims=absent"):
        with pytest.raises(CommandError) as refused:
            call_command("verify_evidence", *given, flag)
        assert refused.value.returncode == 2
        assert "\n" not in str(refused.value)


def test_a_bundle_says_the_same_as_its_evidence(
    given: list[str], tmp_path: Path, settings: Any
) -> None:
    file = tmp_path / "evidence.zip"
    file.write_bytes(bundle.write(Evidence("report", lab().body(MACHINE)), lab().context(MACHINE)))
    settings.ATTESTATION_ANCHORS = str(tmp_path / "anchors.json")
    assert run("verify_bundle", str(file)) == run("verify_evidence", *given)
    settings.ATTESTATION_ANCHORS = "vendor"
    assert run("verify_bundle", str(file))[1]["overall"] == "fail"
