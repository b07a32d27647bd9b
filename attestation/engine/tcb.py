"""Intel's signed statements about patch levels, and what they say of one platform.

Rows tdx.tcb_info, qe_identity, fmspc, qe_match, module, tcb and tcb_eval (attestation.md 5, 10).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives import hashes

from attestation.engine import certificates, collateral
from attestation.engine.collateral import Collateral
from attestation.engine.evidence import Context, excerpt
from attestation.engine.pck import Pck
from attestation.engine.policy import TCB_WORDS
from attestation.engine.verdicts import FAIL, PASS, WARN, Report, Verdict
from net.errors import BadAnswer
from net.marks import N_
from protocol.quotes import Quote

GROUP = N_("Hardware")
TCB_INFO_TITLE = N_("TCB info signed by Intel and current")
QE_IDENTITY_TITLE = N_("QE identity signed by Intel and current")
TCB_TITLE = N_("Platform TCB status")
#: What a document of another form can raise on the way.
_MALFORMED = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, BadAnswer)


def verify(quote: Quote, pck: Pck, context: Context, report: Report) -> None:
    """Judge the collateral's two documents, then the platform by them."""
    given = context.collateral or {}
    info = _document(given, "tcb_info", TCB_INFO_TITLE, context, report)
    identity = _document(given, "qe_identity", QE_IDENTITY_TITLE, context, report)
    if not info or not identity:
        return
    try:
        _judge(quote, pck, info, identity, context, report)
    except _MALFORMED as error:
        report.add(
            "tdx.tcb", GROUP, TCB_TITLE, FAIL, got=f"collateral unreadable: {excerpt(error)}"
        )


def _document(
    given: Collateral, name: str, title: str, context: Context, report: Report
) -> Any | None:
    """The parsed document, signed or not (a row says which); None where it cannot be read."""
    try:
        document = collateral.parsed(given, name)
        wrong = problem(given, name, document, context)
        shown = (
            f"issued {document['issueDate']}, next update {document['nextUpdate']}, "
            f"evaluation number {document['tcbEvaluationDataNumber']}"
        )
    except _MALFORMED as error:
        document, wrong, shown = None, f"unreadable: {excerpt(error)}", ""
    report.add(
        f"tdx.{name}",
        GROUP,
        title,
        FAIL if wrong else PASS,
        expected=f"valid at {certificates.at(context.now):%Y-%m-%dT%H:%MZ}",
        got=wrong or shown,
        source="Intel PCS collateral",
    )
    return document


def problem(given: Collateral, name: str, document: Any, context: Context) -> str | None:
    """Why a document of the collateral (`name`) proves nothing, or None. Raises one of _MALFORMED.

    Its chain, its signature over the exact bytes, and its window (attestation.md 5).
    """
    now = certificates.at(context.now)
    issued, until = (collateral.moment(document[k]) for k in ("issueDate", "nextUpdate"))
    chain = certificates.load_pem(given[f"{name}_issuer_chain"].encode())
    pin = context.anchors.intel
    wrong = certificates.chain_problem(
        chain, pin, collateral.roots(given, pin), collateral.revocation_lists(given), now
    )
    if wrong:
        return wrong
    if not certificates.common_name(chain[0]).endswith("SGX TCB Signing"):
        return "signer is not the TCB signing certificate"
    signature = collateral.octets(given[f"{name}_signature"])
    message = given[name].encode()
    if len(signature) != 64 or not certificates.signed_by(
        chain[0].public_key(), signature, message, hashes.SHA256()
    ):
        return "signature invalid"
    if not issued <= now <= until:
        return f"expired: valid {issued:%Y-%m-%d} to {until:%Y-%m-%d}, now {now:%Y-%m-%d}"
    return None


def _judge(
    quote: Quote, pck: Pck, info: Any, identity: Any, context: Context, report: Report
) -> None:
    if pck.fmspc is not None:
        report.compare(
            "tdx.fmspc",
            GROUP,
            N_("Collateral is for this platform family (FMSPC)"),
            pck.fmspc.hex().upper(),
            info["fmspc"].upper(),
            source="PCK certificate and TCB info",
        )
    enclave = _quoting_enclave(quote, identity, report)
    platform = _platform_level(quote, pck, info)
    module = _module(quote, info, report)
    levels = [level for level in (platform, enclave, module) if level is not None]
    status = _together([level["tcbStatus"] for level in levels]) if platform else None
    advisories = sorted({str(a) for level in levels for a in level.get("advisoryIDs", [])})
    report.facts.update(
        tcb_status=status,
        advisory_ids=advisories,
        tcb_date=platform and platform["tcbDate"],
        tcb_eval=info["tcbEvaluationDataNumber"],
    )
    svns = f"cpuSVN {(pck.cpu_svn or b'').hex()} pceSVN {pck.pce_svn}"
    report.add(
        "tdx.tcb",
        GROUP,
        TCB_TITLE,
        _status_verdict(status, context),
        expected="/".join(context.policy.tcb_pass),
        got=status or "no matching TCB level",
        detail=", ".join(advisories),
        source=f"PCK {svns} tee_tcb_svn {quote.body['tee_tcb_svn'].hex()}",
    )
    _evaluation(info, identity, context, report)


def _quoting_enclave(quote: Quote, identity: Any, report: Report) -> Mapping[str, Any] | None:
    """The QE's level by Intel's identity of it; None without a QE report or a level."""
    enclave = quote.qe_report
    if not enclave:
        return None
    svn = int.from_bytes(enclave[258:260], "little")
    known = (
        enclave[128:160] == bytes.fromhex(identity["mrsigner"])
        and int.from_bytes(enclave[256:258], "little") == identity["isvprodid"]
        and _masked(enclave[48:64], identity["attributes"], identity["attributesMask"])
        and _masked(enclave[16:20][::-1], identity["miscselect"], identity["miscselectMask"])
    )
    level: Mapping[str, Any] | None = next(
        (level for level in identity["tcbLevels"] if svn >= level["tcb"]["isvsvn"]), None
    )
    report.add(
        "tdx.qe_match",
        GROUP,
        N_("Quoting enclave is Intel's TD QE"),
        PASS if known and level else FAIL,
        expected=f"mrsigner {identity['mrsigner']}, product {identity['isvprodid']}",
        got=f"mrsigner {enclave[128:160].hex()}, svn {svn}, "
        f"status {level['tcbStatus'] if level else None}",
        source="QE report and QE identity",
    )
    return level


def _masked(value: bytes, expected: str, mask: str) -> bool:
    wanted, bits = bytes.fromhex(expected), bytes.fromhex(mask)
    return bytes(a & b for a, b in zip(value, bits, strict=False)) == wanted


def _platform_level(quote: Quote, pck: Pck, info: Any) -> Mapping[str, Any] | None:
    """The highest level that every SVN of this platform reaches.

    The first two SVNs of TDX are its module's. A module of a version above 0 counts anew, and its
    own levels judge it: Intel leaves the two out here.
    """
    if not pck.cpu_svn or pck.pce_svn is None:
        return None
    tdx_have = quote.body["tee_tcb_svn"]
    first = 2 if tdx_have[1] else 0

    def svns(level: Mapping[str, Any], components: str) -> list[int]:
        return [component["svn"] for component in level["tcb"][components]]

    def rank(level: Mapping[str, Any]) -> tuple[list[int], int, list[int]]:
        return (
            svns(level, "sgxtcbcomponents"),
            level["tcb"]["pcesvn"],
            svns(level, "tdxtcbcomponents"),
        )

    for level in sorted(info["tcbLevels"], key=rank, reverse=True):
        sgx, pce, tdx_svns = rank(level)
        if (
            pck.pce_svn >= pce
            and _reaches(pck.cpu_svn, sgx)
            and _reaches(tdx_have[first:], tdx_svns[first:])
        ):
            found: Mapping[str, Any] = level
            return found
    return None


def _reaches(have: bytes, wanted: Sequence[int]) -> bool:
    return all(a >= b for a, b in zip(have, wanted, strict=False))


def _module(quote: Quote, info: Any, report: Report) -> Mapping[str, Any] | None:
    """The TDX module's level; versions above 0 have an identity and levels of their own."""
    body = quote.body
    svn, version = body["tee_tcb_svn"][0], body["tee_tcb_svn"][1]
    expected, level = info["tdxModule"], None
    if version and info.get("tdxModuleIdentities"):
        name = f"TDX_{version:02X}"
        expected = next((m for m in info["tdxModuleIdentities"] if m["id"].upper() == name), None)
        if expected:
            level = next((x for x in expected["tcbLevels"] if svn >= x["tcb"]["isvsvn"]), None)
    right = (
        bool(expected)
        and body["mr_signer_seam"] == bytes.fromhex(expected["mrsigner"])
        and not any(body["seam_attributes"])
    )
    report.add(
        "tdx.module",
        GROUP,
        N_("TDX module is Intel's"),
        PASS if right and (level or not version) else FAIL,
        expected=f"mrsigner {expected['mrsigner'] if expected else 'of a listed module'}",
        got=f"module TDX_{version:02X} svn {svn}, status {level['tcbStatus'] if level else None}",
        source="TD report and TCB info",
    )
    return level


def _together(words: Sequence[str]) -> str:
    """The most severe word, one that Intel never used above all; out of date anywhere and to be
    configured elsewhere is both.
    """
    worst = max(words, key=lambda w: TCB_WORDS.index(w) if w in TCB_WORDS else len(TCB_WORDS))
    if worst == "OutOfDate" and any("Configuration" in word for word in words):
        return "OutOfDateConfigurationNeeded"
    return worst


def _status_verdict(status: str | None, context: Context) -> Verdict:
    if status in context.policy.tcb_pass:
        return PASS
    return WARN if status in context.policy.tcb_warn else FAIL


def _evaluation(info: Any, identity: Any, context: Context, report: Report) -> None:
    least = context.policy.min_tcb_evaluation
    if least is None:
        return
    number = min(d["tcbEvaluationDataNumber"] for d in (info, identity))
    report.add(
        "tdx.tcb_eval",
        GROUP,
        N_("Collateral is recent enough (TCB evaluation number)"),
        PASS if number >= least else FAIL,
        expected=f">= {least}",
        got=number,
        source="Intel PCS collateral",
    )
