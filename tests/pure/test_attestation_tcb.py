"""Our patch level of a platform and its status are those of dcap-qvl, whatever Intel signs."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from attestation.engine.verdicts import Report
from provider.tee.development.report import Machine
from tests.pure.attestation_lab import ADDRESS, NOW, Lab

LAB = Lab(b"patch levels")
MACHINE = Machine(ADDRESS)


def judged(tee_tcb_svn: str, info: dict[str, Any], identity: dict[str, Any]) -> Report:
    """A machine of these SVNs by Intel's two documents, signed again with what was changed."""
    documents = {"tcb_info": info, "qe_identity": identity}
    texts = {name: json.dumps(document) for name, document in documents.items()}
    signatures = {
        f"{name}_signature": LAB.intel.tcb_signer.sign(text.encode()).hex()
        for name, text in texts.items()
    }
    given = {**LAB.intel.collateral(NOW), **texts, **signatures}
    svns = bytes.fromhex(tee_tcb_svn).ljust(16, b"\0")
    return LAB.judge(replace(MACHINE, fields={"tee_tcb_svn": svns}), collateral=given)


def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    given = LAB.intel.collateral(NOW)
    return json.loads(given["tcb_info"]), json.loads(given["qe_identity"])


def rows(report: Report) -> tuple[Any, ...]:
    """Ours, then dcap-qvl's."""
    found = [report.find(id) for id in ("tdx.tcb", "tdx.qvl")]
    return tuple((row.verdict, row.got) for row in found if row)


@pytest.mark.parametrize(
    ("svns", "modules", "status"),
    [
        # The platform's levels ask for 5, 0, 4.
        ("050004", {}, "UpToDate"),
        ("040004", {}, None),
        ("030304", {"TDX_01": 11, "TDX_03": 3}, "UpToDate"),
        ("030303", {"TDX_03": 3}, None),
        ("000104", {"TDX_01": 0}, "UpToDate"),
    ],
)
def test_a_later_tdx_module_counts_its_own_svns(
    svns: str, modules: dict[str, int], status: str | None
) -> None:
    info, identity = documents()
    known = info["tdxModuleIdentities"][0]
    level = known["tcbLevels"][0]
    info["tdxModuleIdentities"] = [
        {**known, "id": id, "tcbLevels": [{**level, "tcb": {"isvsvn": svn}}]}
        for id, svn in modules.items()
    ]
    ours, theirs = rows(judged(svns, info, identity))
    if status:
        assert (ours, theirs) == (("pass", status), ("pass", status))
    else:
        assert ours == ("fail", "no matching TCB level")
        assert theirs[0] == "fail"


@pytest.mark.parametrize(
    ("platform", "place"),
    product(
        (
            "UpToDate",
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "ConfigurationAndSWHardeningNeeded",
            "OutOfDate",
            "OutOfDateConfigurationNeeded",
        ),
        ("module", "enclave"),
    ),
)
def test_a_platform_beside_something_out_of_date(platform: str, place: str) -> None:
    info, identity = documents()
    info["tcbLevels"][0]["tcbStatus"] = platform
    aged = info["tdxModuleIdentities"][0] if place == "module" else identity
    aged["tcbLevels"][0]["tcbStatus"] = "OutOfDate"
    both = "OutOfDateConfigurationNeeded" if "Configuration" in platform else "OutOfDate"
    assert rows(judged("0b0104", info, identity)) == (("warn", both), ("pass", both))
