"""Known shapes of reports, and every check that applies to each. The engine's entry.

    shape         where                                                members
    0g-broker     GET {url}/v1/quote[?legacy=false]                    quote, event_log, tcb_info …
    vllm-proxy    GET {url}/v1/proxy/attestation/report?model=&nonce=  intel_quote, nvidia_payload …
    cryptopilot   GET {url}/v1/quote (TEEVerifier cryptopilot)         evidence, compose_content
    gpu-only      the oldest brokers: no quote                         signing_address,
                                                                       nvidia_payload
Nothing here raises: what cannot be read becomes a red row.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from eth_utils.crypto import keccak

from attestation.engine import binding, ccel, dstack, exchange, gpu, nras, tdx
from attestation.engine.dstack import Deployment
from attestation.engine.evidence import (
    Context,
    Evidence,
    Unreadable,
    document,
    excerpt,
    hex_or_base64,
    mapping,
    nested,
)
from attestation.engine.verdicts import FAIL, NOT_PROVIDED, PASS, Report
from net.marks import N_
from protocol.quotes import Quote

GROUP = N_("Report")
_UNNAMED = N_("GPUs: not checked. The report names none and does not say that there are none.")
_HEX_DIGITS = frozenset("0123456789abcdef")
_PUBLIC_KEY_BYTES = (64, 65)


def judge(evidence: Evidence, context: Context) -> Report:
    """Judge evidence of any kind."""
    if evidence.kind == "gpu":
        return verify_gpu(evidence.body, evidence.chain_pem, context)
    if evidence.kind == "gpu-payload":
        return verify_gpu_payload(evidence.body, context)
    return verify(evidence.body, context)


def verify(body: bytes, context: Context) -> Report:
    """Judge the body of an attestation answer, exactly as it was received."""

    def judge(report: Report) -> None:
        given = document(body)
        report.kind = shape(given)
        if report.kind == "unknown":
            got = ", ".join(map(str, list(given)[:8])) if isinstance(given, dict) else "no object"
            report.add("report.shape", GROUP, N_("Report has a known shape"), FAIL, got=got)
        elif report.kind == "near-gateway":
            raise Unreadable("a gateway's collection: verify each of its reports on its own")
        elif report.kind == "cryptopilot":
            _cryptopilot(given, context, report)
        elif report.kind == "gpu-only":
            _gpu_only(given, context, report)
        else:
            _dstack(given, body, context, report)

    return _guarded("unknown", context, judge)


def verify_gpu(evidence: bytes, chain_pem: bytes, context: Context) -> Report:
    """Judge one GPU's binary evidence with its PEM chain."""

    def judge(report: Report) -> None:
        gpu.verify_one(0, evidence, chain_pem, _sent(context), context, report)
        if context.nras:
            nras.verify(context, report, nonce=_nonce(context))

    return _guarded("gpu", context, judge)


def verify_gpu_payload(body: bytes, context: Context) -> Report:
    """Judge an `nvidia_payload` on its own."""

    def judge(report: Report) -> None:
        gpu.verify_all(gpu.payload(document(body)), _sent(context), context, report)
        if context.nras:
            nras.verify(context, report, nonce=_nonce(context))

    return _guarded("gpu-payload", context, judge)


def shape(given: Any) -> str:
    """Which of the known shapes a parsed body has; "unknown" for all else."""
    if not isinstance(given, dict):
        return "unknown"
    if "evidence" in given and "compose_content" in given:
        return "cryptopilot"
    if "intel_quote" in given:
        return "vllm-proxy"
    if "quote" in given:
        return "0g-broker"
    if "model_attestations" in given or "gateway_attestation" in given:
        return "near-gateway"
    if "signing_address" in given and "nvidia_payload" in given:
        return "gpu-only"
    return "unknown"


def _guarded(kind: str, context: Context, judge: Callable[[Report], None]) -> Report:
    report = Report(kind, development=context.anchors.development)
    references = context.policy.references
    if references is not None:
        label, source = references.about.label, references.about.source
        report.facts["references"] = {
            "label": label, "source": source, "sha256": references.sha256
        }  # fmt: skip
    try:
        judge(report)
    except BaseException as error:
        # A panic inside a Rust library is not an Exception, and no evidence may cause one here.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        report.add("report.readable", GROUP, N_("Report is readable"), FAIL, got=excerpt(error))
    return report


def _sent(context: Context) -> dict[str, str]:
    nonce = _nonce(context)
    return {"requested nonce": nonce} if nonce else {}


def _nonce(context: Context) -> str:
    """As NVIDIA's documents write it, whoever typed it in."""
    return (context.nonce or "").lower().removeprefix("0x")


def _cryptopilot(given: dict[str, Any], context: Context, report: Report) -> None:
    evidence = mapping(document(base64.b64decode(given["evidence"])), "evidence")
    quote = tdx.verify(hex_or_base64(evidence["quote"]), context, report)
    if quote is None:
        return
    log = base64.b64decode(evidence["cc_eventlog"]) if evidence.get("cc_eventlog") else None
    ccel.verify(quote, log, given.get("compose_content"), context, report)
    data = quote.body["report_data"]
    bound = binding.verify(data, context, report)
    exchange.verify(bound, context, report)
    found = gpu.payload(evidence.get("gpu_evidence"))
    gpu.verify_all(found, binding.gpu_nonces(data, bound), context, report)


def _dstack(given: dict[str, Any], body: bytes, context: Context, report: Report) -> None:
    quote = tdx.verify(
        hex_or_base64(given.get("intel_quote") or given.get("quote")), context, report
    )
    if quote is None:
        return
    _one_quote(given, quote, report)
    deployment = _deployment(given)
    dstack.verify(quote, deployment, context, report)
    bound = _bind(given, quote, body, context, report)
    payload = gpu.payload(nested(given.get("nvidia_payload") or given.get("gpu_evidence")))
    count = _gpu_count(deployment.vm_config)
    if payload.items or (count or 0) > 0:
        nonces = binding.gpu_nonces(quote.body["report_data"], bound)
        gpu.verify_all(payload, nonces, context, report, expected=count or None)
    elif count == 0:
        words = "broker-only node: the model runs elsewhere"
        gpu.missing(report, "vm_config.num_gpus = 0", words, required=False)
    else:
        # Only a report that says that it has none may be whole without: leaving a number out must
        # not make a better verdict than naming one.
        gpu.missing(report, f"vm_config.num_gpus = {count}", _UNNAMED, required=True)
    _nras(payload, context, report)


def _nras(payload: gpu.Payload, context: Context, report: Report) -> None:
    """NVIDIA's own word. It has to be about the nonce that the first GPU signed, whatever is
    written beside it: else it is about other GPUs.
    """
    if context.nras:
        row = report.find("gpu0.nonce")
        nonce = payload.nonce if row is None else str(row.got)
        nras.verify(context, report, nonce=nonce, gpus=len(payload.items) or None)


def _one_quote(given: dict[str, Any], quote: Quote, report: Report) -> None:
    """Some senders give the quote twice; a second one that differs is a lie (trap 15)."""
    first, second = given.get("intel_quote"), given.get("quote")
    if first and second and hex_or_base64(second) != quote.raw:
        report.add(
            "dstack.claim_quote",
            dstack.GROUP,
            N_("Both copies of the quote are the same"),
            FAIL,
            expected="intel_quote",
            got="another quote",
            source="quote",
        )


def _deployment(given: dict[str, Any]) -> Deployment:
    info = mapping(nested(given.get("info")) or {}, "info")
    tcb_info = mapping(nested(given.get("tcb_info") or info.get("tcb_info")) or {}, "tcb_info")
    return Deployment(
        events=dstack.load_events(given.get("event_log") or tcb_info.get("event_log")),
        app_compose=tcb_info.get("app_compose"),
        claimed=tcb_info,
        vm_config=given.get("vm_config") or info.get("vm_config"),
    )


def _bind(
    given: dict[str, Any], quote: Quote, body: bytes, context: Context, report: Report
) -> binding.Binding:
    copy = None
    if report.kind == "0g-broker" and given.get("report_data"):
        copy = _report_data(given["report_data"])
    hint = given if report.kind == "vllm-proxy" else None
    data = quote.body["report_data"]
    bound = binding.verify(data, context, report, hint=hint, json_copy=copy)
    binding.body_signature(body, bound, context, report)
    exchange.verify(bound, context, report)
    return bound


def _report_data(text: Any) -> bytes:
    """The JSON copy: hex of 64 bytes, or base64."""
    if not isinstance(text, str):
        raise Unreadable("report_data is not a text")
    if len(text) == 2 * binding.REPORT_DATA_BYTES and set(text.lower()) <= _HEX_DIGITS:
        return bytes.fromhex(text)
    return base64.b64decode(text)


def _gpu_count(vm_config: Any) -> int | None:
    config = nested(vm_config)
    count = config.get("num_gpus") if isinstance(config, dict) else None
    if count is not None and type(count) is not int:
        raise Unreadable("vm_config.num_gpus is not a whole number")
    return count


def _gpu_only(given: dict[str, Any], context: Context, report: Report) -> None:
    """No quote: the GPU is judged, the key is not proven (provider-protocol.md, oldest form)."""
    report.add("report.shape", GROUP, N_("Report has a known shape"), PASS, got="GPU evidence only")
    report.add(
        "tdx.parse",
        tdx.GROUP,
        N_("Quote parses"),
        NOT_PROVIDED,
        detail=N_("this report form holds no quote"),
        source="quote bytes",
    )
    binding.unproven(str(given.get("signing_address") or ""), context, report)
    payload = gpu.payload(given.get("nvidia_payload"))
    gpu.verify_all(payload, _old_nonces(given) | _sent(context), context, report)
    _nras(payload, context, report)


def _old_nonces(given: Mapping[str, Any]) -> dict[str, str]:
    """The oldest brokers derived the GPU nonce from the uncompressed public key (section 8)."""
    for name in ("key", "signing_key", "signing_public_key", "signing_address"):
        value = given.get(name)
        if not isinstance(value, str):
            continue
        try:
            raw = bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            continue
        if len(raw) in _PUBLIC_KEY_BYTES:
            return {"keccak(public key)": keccak(b"\x04" + raw[-64:]).hex()}
    return {}
