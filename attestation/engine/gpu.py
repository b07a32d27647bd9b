"""NVIDIA GPU evidence, one group of rows per GPU (attestation.md 9, rows 33 to 40)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.engine import certificates, ocsp, rim, spdm
from attestation.engine.evidence import Context, Unreadable, base64_or_pem, nested
from attestation.engine.limits import MAX_GPUS
from attestation.engine.spdm import EvidenceError, Transcript
from attestation.engine.verdicts import FAIL, NOT_CHECKED, NOT_PROVIDED, PASS, WARN, Report, Verdict
from net.marks import N_

GROUP = N_("GPUs")
#: Evidence shipped with NVIDIA's SDK: genuine GPU, genuine signature; `no_gpu_mode` replays it.
SAMPLE_NONCE = "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb"
FAMILIES = {"HOPPER": "GH", "BLACKWELL": "GB"}
_FAMILY = re.compile(r"\b([A-Z]{2}_?\d{2,3})\b")
_DICE = ("2.23.133.5.4.1", "2.23.133.5.4.1.1")
#: The SHA-384 OID followed by an OCTET STRING of 48 bytes: where DICE keeps the FWID.
_FWID_PREFIX = bytes.fromhex("06096086480165030402020430")
_CHAIN_TITLE = N_("GPU %(number)s: device certificate chain reaches NVIDIA's root")
_SIGNATURE_TITLE = N_("GPU %(number)s: measurements signed by this GPU")
_PRESENT_TITLE = N_("GPU evidence present")


@dataclass(frozen=True)
class Payload:
    """GPU evidence in whichever of the three shapes it came, put in one."""

    items: list[dict[str, Any]]
    nonce: str | None
    arch: str | None


def payload(value: Any) -> Payload:
    """NRAS request `{nonce, arch, evidence_list}`, SDK list, or tapp object. Raises Unreadable."""
    value = nested(value)
    nonce = arch = None
    items = value
    if isinstance(value, dict):
        items = value.get("evidence_list") or value.get("evidences") or []
        nonce, arch = value.get("nonce"), value.get("arch")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        nonce, arch = value[0].get("nonce"), value[0].get("arch")
    items = items or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Unreadable("GPU evidence is not a list of objects")
    return Payload(items, nonce if isinstance(nonce, str) else None, str(arch) if arch else None)


def missing(report: Report, got: str, detail: str = "", *, required: bool) -> None:
    report.add(
        "gpu.present",
        GROUP,
        _PRESENT_TITLE,
        NOT_PROVIDED,
        got=got,
        detail=detail,
        source="nvidia_payload",
        required=required,
    )


def verify_all(
    given: Payload,
    nonces: Mapping[str, str],
    context: Context,
    report: Report,
    expected: int | None = None,
) -> None:
    """Judge every GPU. `nonces`: {convention: hex} that tie evidence to the quote."""
    count = len(given.items)
    if not count:
        missing(report, "no evidence", required=True)
        return
    wrong = count > MAX_GPUS or expected not in (None, count)
    report.add(
        "gpu.present",
        GROUP,
        _PRESENT_TITLE,
        FAIL if wrong else PASS,
        expected=expected,
        got=f"{count} GPU(s), {given.arch}",
        detail=f"more than {MAX_GPUS} are not looked at" if count > MAX_GPUS else "",
        source="nvidia_payload and vm_config.num_gpus",
    )
    for i, item in enumerate(given.items[:MAX_GPUS]):
        verify_one(
            i,
            base64_or_pem(item.get("evidence") or item.get("attestation_report")),
            base64_or_pem(item.get("certificate")),
            nonces,
            context,
            report,
            claimed=item,
        )
    _together(min(count, MAX_GPUS), report)


def verify_one(
    i: int,
    evidence: bytes,
    chain_pem: bytes,
    nonces: Mapping[str, str],
    context: Context,
    report: Report,
    claimed: Mapping[str, Any] | None = None,
) -> None:
    """Judge one GPU. `claimed`: the unsigned JSON fields beside its evidence."""
    group, claims = f"GPU {i}", claimed or {}
    title = N_("GPU %(number)s: SPDM measurement transcript parses") % {"number": i}
    try:
        transcript = spdm.parse(evidence)
    except EvidenceError as error:
        report.add(f"gpu{i}.parse", group, title, FAIL, got=str(error), source="evidence")
        return
    padding = f", {transcript.trailing} padding bytes" if transcript.trailing else ""
    report.add(
        f"gpu{i}.parse",
        group,
        title,
        PASS,
        got=f"{len(evidence)} bytes, {len(transcript.blocks)} measurements{padding}",
        source="evidence",
    )
    try:
        chain = certificates.load_pem(chain_pem)
    except ValueError as error:
        report.add(
            f"gpu{i}.chain",
            group,
            _CHAIN_TITLE % {"number": i},
            FAIL,
            got=f"unreadable certificate: {type(error).__name__}",
            source="certificate",
        )
        return
    if chain:
        _device(i, chain, transcript, claims, context, report)
    else:
        _no_chain(i, chain_pem, report)
    _nonce(i, transcript, nonces, report)
    _facts(i, transcript, chain, report)
    _copies(i, transcript, claims, report)
    rim.verify(i, transcript, context, report)


def _no_chain(i: int, chain_pem: bytes, report: Report) -> None:
    reason = "all-zero buffer" if chain_pem and not any(chain_pem) else "no PEM certificates"
    for name, title in (("chain", _CHAIN_TITLE), ("sig", _SIGNATURE_TITLE)):
        report.add(
            f"gpu{i}.{name}",
            f"GPU {i}",
            title % {"number": i},
            NOT_PROVIDED,
            got=reason if chain_pem else "empty",
            detail=N_("without the chain nothing in this evidence is authenticated"),
            source="certificate",
        )


def _device(
    i: int,
    chain: list[x509.Certificate],
    transcript: Transcript,
    claims: Mapping[str, Any],
    context: Context,
    report: Report,
) -> None:
    group = f"GPU {i}"
    problem = _chain_problem(chain, context)
    report.add(
        f"gpu{i}.chain",
        group,
        _CHAIN_TITLE % {"number": i},
        FAIL if problem else PASS,
        expected=f"root {context.anchors.nvidia}",
        got=problem or certificates.path(chain),
        source="certificate",
    )
    key = chain[0].public_key()
    signed = (
        isinstance(key, ec.EllipticCurvePublicKey)
        and key.curve.name == "secp384r1"
        and certificates.signed_by(key, transcript.signature, transcript.signed, hashes.SHA384())
    )
    report.add(
        f"gpu{i}.sig",
        group,
        _SIGNATURE_TITLE % {"number": i},
        PASS if signed else FAIL,
        got=f"ECDSA-P384 over {len(transcript.signed)} bytes (request || response)",
        source="evidence and leaf certificate",
    )
    _family(i, chain, str(claims.get("arch") or "").upper(), report)
    certified, measured = _fwid(chain[0]), transcript.opaque.get(spdm.FWID)
    if certified and measured:
        report.compare(
            f"gpu{i}.fwid",
            group,
            N_("GPU %(number)s: firmware id in the certificate equals the one in the report")
            % {"number": i},
            measured.hex(),
            certified.hex(),
            source="DICE TcbInfo and opaque data",
        )
    ocsp.verify(i, chain, context, report)


def _chain_problem(chain: list[x509.Certificate], context: Context) -> str | None:
    if len(chain) < 2:
        return f"{len(chain)} certificate(s)"
    if certificates.fingerprint(chain[-1]) != context.anchors.nvidia:
        return f"last certificate is not the pinned root ({certificates.subject(chain[-1])})"
    now = certificates.at(context.now)
    return certificates.outside_validity(chain, now) or certificates.bad_issuer(chain)


def _family(i: int, chain: list[x509.Certificate], claimed: str, report: Report) -> None:
    """NVSwitch chains end in "NVIDIA GH100 Identity" too; only leaf and provisioner tell."""
    leaf, provisioner = (
        match[1] if (match := _FAMILY.search(certificates.common_name(certificate))) else None
        for certificate in (chain[0], chain[2] if len(chain) > 2 else chain[0])
    )
    known = leaf is not None and leaf == provisioner and leaf[:2] in FAMILIES.values()
    right = known and (not claimed or (leaf or "")[:2] == FAMILIES.get(claimed))
    report.add(
        f"gpu{i}.family",
        f"GPU {i}",
        N_("GPU %(number)s: the device is a GPU of the claimed family") % {"number": i},
        PASS if right else FAIL,
        expected=claimed or "/".join(FAMILIES),
        got=f"{leaf} under {provisioner} provisioner",
        detail=N_("one die for H100, H200 and H20: the model name is not attested")
        if right
        else N_("not a GPU certificate of that family"),
        source="leaf and provisioner certificate names",
    )


def _fwid(certificate: x509.Certificate) -> bytes | None:
    """The firmware id that DICE wrote into the leaf, None where there is no such extension."""
    for extension in certificate.extensions:
        value = extension.value
        if extension.oid.dotted_string in _DICE and isinstance(value, x509.UnrecognizedExtension):
            start = value.value.find(_FWID_PREFIX)
            return value.value[start + 13 : start + 61] if start >= 0 else value.value[-48:]
    return None


def _nonce(i: int, transcript: Transcript, nonces: Mapping[str, str], report: Report) -> None:
    got = transcript.nonce.hex()
    matched = next((name for name, value in nonces.items() if got == value.lower()), None)
    verdict: Verdict = PASS if matched else FAIL if nonces else NOT_CHECKED
    sample = "NVIDIA's public sample evidence (no_gpu_mode)" if got == SAMPLE_NONCE else ""
    report.add(
        f"gpu{i}.nonce",
        f"GPU {i}",
        N_("GPU %(number)s: evidence was made for this quote") % {"number": i},
        verdict,
        expected=" or ".join(f"{name}: {value}" for name, value in nonces.items()) or None,
        got=got,
        detail=sample or matched or "",
        source="SPDM request nonce [4:36]",
    )


def _facts(i: int, transcript: Transcript, chain: list[x509.Certificate], report: Report) -> None:
    report.facts[f"gpu{i}"] = {
        "driver": transcript.text(spdm.DRIVER),
        "vbios": transcript.vbios,
        "rim_ids": list(transcript.rim_ids),
        "nvdec0": transcript.opaque.get(spdm.NVDEC0, b"").hex(),
        "ppcie": transcript.opaque.get(spdm.PROTECTED_PCIE, b"").hex(),
        "chip": transcript.text(spdm.CHIP),
        "board": transcript.board,
        "leaf": certificates.subject(chain[0], 200) if chain else None,
        "ueid": certificates.serial_number(chain[0]) if chain else None,
    }


def _copies(i: int, transcript: Transcript, claims: Mapping[str, Any], report: Report) -> None:
    signed = {"driver_version": transcript.text(spdm.DRIVER), "vbios_version": transcript.vbios}
    for name, got in signed.items():
        if claims.get(name):
            report.compare(
                f"gpu{i}.{name}",
                f"GPU {i}",
                N_("GPU %(number)s: %(field)s is the signed one")
                % {"number": i, "field": name.replace("_", " ")},
                str(claims[name]).upper(),
                got.upper(),
                source="JSON field and signed opaque data",
                required=False,
            )


def _together(count: int, report: Report) -> None:
    serials = [report.facts.get(f"gpu{i}", {}).get("ueid") for i in range(count)]
    if count > 1:
        named = [serial for serial in serials if serial is not None]
        distinct = len(set(named))
        verdict: Verdict = PASS if distinct == count else NOT_PROVIDED
        report.add(
            "gpu.distinct",
            GROUP,
            N_("Every GPU is a different device"),
            FAIL if distinct < len(named) else verdict,
            got=f"{distinct} distinct of {count}",
            source="leaf certificate serialNumber",
        )
    report.add(
        "gpu.cpu_gpu",
        GROUP,
        N_("CPU quote and GPU evidence come from one machine"),
        WARN,
        got="only a shared nonce",
        detail=N_("no hardware binding on Hopper: evidence can be spliced from another machine"),
        required=False,
    )
