"""dcap-qvl as the authority beside our own steps: where the two disagree, the verdict is a fail.

One exception is a warning: dcap-qvl flatly refuses TDX 1.5 quotes with a bound service TD, whose
cryptography our steps do judge (attestation.md 0 and 2.1).
"""

from __future__ import annotations

import json

import dcap_qvl

from attestation.engine.evidence import Context
from attestation.engine.verdicts import ANCHOR_ROW, FAIL, PASS, WARN, Report, Verdict
from net.marks import N_
from protocol.quotes import Quote

GROUP = N_("Hardware")
TITLE = N_("Independent verifier (dcap-qvl) agrees")
_OURS_ALONE = (ANCHOR_ROW, "tdx.tcb_eval")


def verify(quote: Quote, context: Context, report: Report) -> None:
    """Add tdx.qvl; take over a TDRelaunchAdvised status, which only dcap-qvl evaluates."""
    failing = [
        row.id
        for row in report.checks
        if row.id.startswith("tdx.") and row.verdict == FAIL and row.id not in _OURS_ALONE
    ]
    try:
        status = _status(quote, context)
    except ValueError as error:
        _refused(" ".join(str(error).split())[:200], failing, report)
        return
    relaunch = status.startswith("TDRelaunchAdvised")
    agree = not failing and (relaunch or status == report.facts.get("tcb_status"))
    row = report.find("tdx.tcb")
    if relaunch and agree and row is not None:
        row.got, row.verdict = status, WARN
        report.facts["tcb_status"] = status
    _add(
        report,
        PASS if agree else FAIL,
        status,
        "" if agree else f"our failing steps: {failing}",
        expected=report.facts.get("tcb_status"),
    )


def _status(quote: Quote, context: Context) -> str:
    """dcap-qvl's TCB word. Raises ValueError with its refusal."""
    document = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(dict(context.collateral or {})))
    root = context.anchors.intel_der
    if root is None:
        verified = dcap_qvl.verify(quote.raw, document, context.now)
    else:
        verified = dcap_qvl.verify_with_root_ca(quote.raw, document, root, context.now)
    return str(verified.status)


def _refused(words: str, failing: list[str], report: Report) -> None:
    service_td = "service TD" in words
    verdict: Verdict = WARN if service_td and not failing else FAIL
    explained = bool(failing) or service_td
    detail = "" if explained else N_("our own steps all passed: treated as a fail")
    _add(report, verdict, words, detail, expected="verified")


def _add(report: Report, verdict: Verdict, got: str, detail: str, *, expected: object) -> None:
    report.add(
        "tdx.qvl",
        GROUP,
        TITLE,
        verdict,
        expected=expected,
        got=got,
        detail=detail,
        source=f"dcap-qvl {dcap_qvl.__version__}",
    )
