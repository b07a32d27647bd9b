"""An Intel TDX quote, one row per step, and dcap-qvl as the second opinion.

Steps and rules: attestation.md 4, 5 and 10 (rows 3 to 18).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.engine import certificates, collateral, pck, qvl, tcb
from attestation.engine.anchors import INTEL_SGX_ROOT
from attestation.engine.evidence import Context
from attestation.engine.pck import Pck
from attestation.engine.policy import REGISTERS, Boot
from attestation.engine.verdicts import FAIL, NOT_CHECKED, NOT_PROVIDED, PASS, WARN, Report, Verdict
from net.marks import N_
from protocol import quotes
from protocol.quotes import Quote, QuoteError

GROUP = N_("Hardware")
MEASUREMENTS = N_("Measurements")
_DEBUG, _SEPT_VE_DISABLE, _MIGRATABLE, _PERFMON = 0, 28, 29, 63
_RESERVED_UNTRUSTED = 0xFE


def verify(raw: bytes, context: Context, report: Report) -> Quote | None:
    """Judge a quote into rows. None where it cannot even be taken apart."""
    quote = _parse(raw, report)
    if quote is None:
        return None
    _header(quote, report)
    _anchor(context, report)
    values = _chain(quote, context, report)
    if values is None:
        return quote
    _signatures(quote, report)
    if not context.collateral:
        _without_collateral(report)
    else:
        tcb.verify(quote, values, context, report)
    _attributes(quote, report)
    _module_build(quote, context, report)
    _measurements(quote, context, report)
    _facts(quote, values, report)
    if context.collateral:
        qvl.verify(quote, context, report)
    return quote


def _parse(raw: bytes, report: Report) -> Quote | None:
    try:
        quote = quotes.parse(raw)
    except QuoteError as error:
        report.add(
            "tdx.parse", GROUP, N_("Quote parses"), FAIL, got=str(error), source="quote bytes"
        )
        return None
    note = f"v{quote.version}, {len(raw)} bytes, {quote.trailing} trailing"
    if quote.trailing and any(raw[len(raw) - quote.trailing :]):
        note += " (non-zero, unsigned)"
    report.add("tdx.parse", GROUP, N_("Quote parses"), PASS, got=note, source="quote bytes")
    return quote


def _header(quote: Quote, report: Report) -> None:
    right = (
        quote.tee_type == quotes.TEE_TYPE_TDX
        and quote.key_type == quotes.KEY_TYPE_ECDSA_P256
        and quote.vendor == quotes.QE_VENDOR_INTEL
    )
    report.add(
        "tdx.header",
        GROUP,
        N_("TDX quote signed by Intel's quoting enclave with ECDSA-P256"),
        PASS if right else FAIL,
        expected=f"tee 0x81, key type 2, vendor {quotes.QE_VENDOR_INTEL.hex()}",
        got=f"tee {quote.tee_type:#x}, key type {quote.key_type}, vendor {quote.vendor.hex()}",
        source="quote[0:48]",
    )


def _anchor(context: Context, report: Report) -> None:
    foreign = context.anchors.intel != INTEL_SGX_ROOT
    report.add(
        "tdx.root",
        GROUP,
        N_("Trust anchor is Intel SGX Root CA"),
        FAIL if foreign else PASS,
        expected=INTEL_SGX_ROOT,
        got=context.anchors.intel,
        detail=N_("development root: nothing below proves real hardware") if foreign else "",
        source="pinned in our code",
        required=not foreign,
    )
    report.development |= foreign


def _chain(quote: Quote, context: Context, report: Report) -> Pck | None:
    """Rows of the PCK chain. None where its certificates cannot be read at all."""
    title = N_("PCK chain reaches the pinned root, valid now, not revoked")
    try:
        chain = certificates.load_pem(quote.pck_pem)
    except ValueError as error:
        report.add(
            "tdx.pck_chain",
            GROUP,
            title,
            FAIL,
            got=f"unreadable certificate: {type(error).__name__}",
            source="quote certification data",
        )
        return None
    if not chain:
        report.add(
            "tdx.pck_chain",
            GROUP,
            title,
            NOT_PROVIDED,
            detail=f"certification data type {quote.certification_type} holds no chain",
            source="quote certification data",
        )
        return Pck()
    values = Pck()
    try:
        values = pck.read(chain[0])
    except ValueError as error:
        report.add(
            "tdx.pck_ext",
            GROUP,
            N_("PCK certificate carries Intel's SGX extension"),
            FAIL,
            got=str(error),
            source="PCK certificate",
        )
    _judge_chain(chain, context, report, title)
    signed = certificates.signed_by(
        chain[0].public_key(), quote.qe_signature, quote.qe_report, hashes.SHA256()
    )
    report.add(
        "tdx.qe_sig",
        GROUP,
        N_("Quoting enclave report signed by the PCK key"),
        PASS if signed else FAIL,
        source="QE report (384 bytes) and its signature",
    )
    return values


def _judge_chain(
    chain: list[x509.Certificate], context: Context, report: Report, title: str
) -> None:
    now = certificates.at(context.now)
    verdict: Verdict
    if context.collateral:
        problem = certificates.chain_problem(
            chain,
            context.anchors.intel,
            collateral.roots(context.collateral, context.anchors.intel),
            collateral.revocation_lists(context.collateral),
            now,
        )
        verdict, fine = PASS, certificates.path(chain)
    else:
        problem = (
            certificates.outside_validity(chain, now)
            or certificates.bad_issuer(chain, need_ca=False)
            or _not_the_root(chain, context.anchors.intel)
        )
        verdict, fine = NOT_CHECKED, "signatures fine, revocation unknown (no collateral)"
    report.add(
        "tdx.pck_chain",
        GROUP,
        title,
        FAIL if problem else verdict,
        got=problem or fine,
        source="quote certification data, PCK CRL, root CRL",
    )


def _not_the_root(chain: list[x509.Certificate], pin: str) -> str | None:
    if certificates.fingerprint(chain[-1]) != pin:
        return "chain does not end in the pinned root"
    return None


def _signatures(quote: Quote, report: Report) -> None:
    bound = hashlib.sha256(quote.attestation_key + quote.qe_auth).digest() + bytes(32)
    report.compare(
        "tdx.att_key",
        GROUP,
        N_("Attestation key is the one the quoting enclave certified"),
        bound.hex(),
        quote.qe_report[320:384].hex() if quote.qe_report else None,
        source="QE report_data = sha256(attestation key || auth data)",
    )
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(
            ec.SECP256R1(), b"\x04" + quote.attestation_key
        )
    except ValueError:  # not a point of the curve
        signed = False
    else:
        message = quote.raw[: quote.signed_bytes]
        signed = certificates.signed_by(key, quote.signature, message, hashes.SHA256())
    report.add(
        "tdx.sig",
        GROUP,
        N_("Quote signature covers header and TD report"),
        PASS if signed else FAIL,
        got=f"ECDSA-P256 over {quote.signed_bytes} bytes",
        source=f"quote[0:{quote.signed_bytes}]",
    )


def _without_collateral(report: Report) -> None:
    for id, title in (
        ("tdx.tcb_info", tcb.TCB_INFO_TITLE),
        ("tdx.qe_identity", tcb.QE_IDENTITY_TITLE),
        ("tdx.tcb", tcb.TCB_TITLE),
    ):
        report.add(id, GROUP, title, NOT_CHECKED, detail=N_("no Intel collateral available"))


def _attributes(quote: Quote, report: Report) -> None:
    bits = quote.attributes
    shown = f"TDATTRIBUTES {quote.body['td_attributes'].hex()}"
    report.add(
        "tdx.debug",
        GROUP,
        N_("TD is not in debug mode"),
        FAIL if bits >> _DEBUG & 1 else PASS,
        expected="bit 0 = 0",
        got=shown,
        source="quote body +120",
    )
    wrong = [name for bit, name in ((_MIGRATABLE, "MIGRATABLE"), (_PERFMON, "PERFMON"))
             if bits >> bit & 1]  # fmt: skip
    if not bits >> _SEPT_VE_DISABLE & 1:
        wrong.append("SEPT_VE_DISABLE missing")
    if bits & _RESERVED_UNTRUSTED:
        wrong.append("reserved TUD bits")
    report.add(
        "tdx.attributes",
        GROUP,
        N_("No profiling or migration, SEPT_VE_DISABLE set"),
        FAIL if wrong else PASS,
        expected="SEPT_VE_DISABLE only",
        got=", ".join(wrong) or "as expected",
        source="quote body +120",
    )


def _module_build(quote: Quote, context: Context, report: Report) -> None:
    seam = quote.body["mr_seam"].hex()
    label = context.policy.tdx_modules.get(seam)
    report.add(
        "tdx.mrseam",
        GROUP,
        N_("TDX module build is a known Intel release"),
        PASS if label else WARN,
        expected="one of our list",
        got=f"{seam} ({label or 'unknown build'})",
        source="quote body +16",
        required=False,
    )
    if not quote.is_td15:
        return
    service = quote.body["mr_service_td"]
    report.add(
        "tdx.service_td",
        GROUP,
        N_("No service TD bound (TDX 1.5)"),
        WARN if any(service) else PASS,
        expected="00" * 48,
        got=service.hex(),
        detail=N_("dcap-qvl refuses such quotes ('Invalid MR service TD')") if any(service) else "",
        source="quote body +600",
    )


def _measurements(quote: Quote, context: Context, report: Report) -> None:
    """Firmware, kernel and command line against published images, each image as a whole."""
    measured = {name: quote.body[name].hex() for name in REGISTERS}
    boots = context.policy.boots
    right = [boot for boot in boots or () if boot.is_of(measured)]
    for name, got in measured.items():
        named = [boot for boot in boots or () if name in boot.registers]
        verdict: Verdict = NOT_CHECKED
        expected, detail = None, N_("no reference value configured")
        if named:
            verdict, expected, detail = _compared(name, got, named, right, measured)
        report.add(
            f"tdx.{name}",
            MEASUREMENTS,
            name.upper().replace("_", ""),
            verdict,
            expected=expected,
            got=got,
            detail=detail,
            source="quote body",
            required=False,
        )


def _compared(
    name: str, got: str, named: list[Boot], right: list[Boot], measured: Mapping[str, str]
) -> tuple[Verdict, str | None, str]:
    """Verdict, published value and words for one register that some references name."""
    fitting = [boot for boot in right if name in boot.registers]
    if fitting:
        return PASS, got, f"published: {fitting[0].about}"
    if right:
        return NOT_CHECKED, None, N_("the published image that this is leaves it open")
    # What comes nearest is what it should have been.
    nearest = max(named, key=lambda boot: sum(measured[n] == v for n, v in boot.registers.items()))
    words = "not among the published values; the nearest is of"
    if nearest.registers[name] == got:
        words = "equal here, but other registers are not those of"
    return WARN, nearest.registers[name], f"{words} {nearest.about}"


def _facts(quote: Quote, values: Pck, report: Report) -> None:
    names = ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id", "report_data", "mr_seam")
    report.facts.update({name: quote.body[name].hex() for name in names})
    report.facts.update(
        quote_version=quote.version,
        signed_range_sha256=quote.identity,
        # A quote made anew over the same values differs here only; nobody else can change it.
        signature_r=quote.signature[:32].hex(),
        ppid=(values.ppid or b"").hex(),
        fmspc=(values.fmspc or b"").hex().upper(),
        platform_instance_id=(values.platform_instance_id or b"").hex(),
        smt=values.smt_enabled,
        dynamic=values.dynamic_platform,
        cached_keys=values.cached_keys,
    )
