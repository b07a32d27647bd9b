"""Which documents a piece of evidence needs. Pure; everything in it is a stranger's text.

Services are asked only about what chains up to a pinned root: nobody gets to send our requests to
Intel and NVIDIA about certificates of their own making.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from attestation.engine import certificates, gpu, pck, reports, spdm
from attestation.engine.anchors import Anchors
from attestation.engine.evidence import (
    Evidence,
    base64_or_pem,
    document,
    hex_or_base64,
    mapping,
    nested,
)
from attestation.engine.gpu import Payload
from attestation.engine.limits import MAX_GPUS
from attestation.engine.spdm import Transcript
from protocol import quotes

Authority = Literal["platform", "processor"]
_FMSPC_BYTES = 6
_RIM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_ARCH = re.compile(r"[A-Z]{2,16}")
#: Two per GPU and the ones they share: more is not a machine that we know.
MAX_OCSP_QUESTIONS = 3 * MAX_GPUS
#: Driver and VBIOS of two kinds of GPU.
MAX_UNTRUSTED_RIMS = 4


@dataclass(frozen=True)
class Platform:
    """The CPU's family (upper-case hex) and the CA that certified it."""

    fmspc: str
    authority: Authority


@dataclass(frozen=True)
class Question:
    """Is this certificate revoked?"""

    certificate: x509.Certificate
    issuer: x509.Certificate

    @property
    def key(self) -> str:
        return certificates.fingerprint(self.certificate)


@dataclass(frozen=True)
class Needs:
    """What to ask for; `transcripts` are the GPUs' own, for judging manifests while fetching.

    `gpus` is the number of GPUs whose evidence can be read. `nras` is the body of NVIDIA's request,
    None where it cannot be asked. `notes` say what is not asked, and why.
    """

    platform: Platform | None = None
    transcripts: tuple[Transcript, ...] = ()
    rim_ids: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    nras: bytes | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Device:
    """One GPU: its transcript, its chain (leaf first, maybe empty), and both as they were sent."""

    transcript: Transcript
    chain: tuple[x509.Certificate, ...]
    evidence: bytes
    chain_pem: bytes


def of(evidence: Evidence, anchors: Anchors) -> Needs:
    """What the evidence needs. Never raises: what cannot be read needs nothing."""
    notes: list[str] = []
    quote, payload, devices = _parts(evidence)
    trusted = [device for device in devices if _genuine(device, anchors.nvidia)]
    if len(trusted) < len(devices):
        notes.append(
            f"{len(devices) - len(trusted)} GPU(s) are not vouched for by the pinned root: "
            "NVIDIA's services are not asked about them"
        )
    return Needs(
        platform=_platform(quote, anchors, notes),
        transcripts=tuple(device.transcript for device in devices),
        rim_ids=_rim_ids(trusted, devices),
        questions=_questions(trusted),
        nras=_token_request(payload, devices, notes) if len(trusted) == len(devices) else None,
        notes=tuple(notes),
    )


@lru_cache(maxsize=16)
def outside(evidence: Evidence, anchors: Anchors) -> tuple[bytes, bytes]:
    """The quote, and the request to NVIDIA about the GPUs, for others' verifiers; b"" where there
    is none. Never raises. Remembered: anybody may read a page again and again.
    """
    quote, _payload, _found = _parts(evidence)
    return quote, of(evidence, anchors).nras or b""


def _parts(evidence: Evidence) -> tuple[bytes, Payload, list[_Device]]:
    """Quote bytes, GPU payload and readable devices; empty where there are none."""
    nothing = Payload([], None, None)
    try:
        if evidence.kind == "gpu":
            item = {
                "evidence": base64.b64encode(evidence.body).decode(),
                "certificate": base64.b64encode(evidence.chain_pem).decode(),
            }
            payload = Payload([item], None, None)
            return b"", payload, _devices(payload)
        given = document(evidence.body)
        if evidence.kind == "gpu-payload":
            payload = gpu.payload(given)
            return b"", payload, _devices(payload)
    except (ValueError, TypeError, AttributeError):
        return b"", nothing, []
    quote = b""
    try:
        quote, found = _members(given)
        payload = gpu.payload(nested(found))
    except (ValueError, TypeError, AttributeError, KeyError):
        return quote, nothing, []
    return quote, payload, _devices(payload)


def _members(given: Any) -> tuple[bytes, Any]:
    """Quote and GPU evidence of a report, wherever its shape has them. Raises as its parsers do."""
    shape = reports.shape(given)
    if shape == "cryptopilot":
        inner = mapping(document(base64.b64decode(given["evidence"])), "evidence")
        return hex_or_base64(inner["quote"]), inner.get("gpu_evidence")
    if shape not in ("vllm-proxy", "0g-broker", "gpu-only"):
        return b"", None
    text = given.get("intel_quote") or given.get("quote")
    found = given.get("nvidia_payload") or given.get("gpu_evidence")
    return hex_or_base64(text) if text else b"", found


def _devices(payload: Payload) -> list[_Device]:
    devices = []
    for item in payload.items[:MAX_GPUS]:
        try:
            evidence = base64_or_pem(item.get("evidence") or item.get("attestation_report"))
            chain_pem = base64_or_pem(item.get("certificate"))
            transcript = spdm.parse(evidence)
            chain = tuple(certificates.load_pem(chain_pem))
        except (ValueError, TypeError):
            continue
        devices.append(_Device(transcript, chain, evidence, chain_pem))
    return devices


def _platform(raw: bytes, anchors: Anchors, notes: list[str]) -> Platform | None:
    try:
        chain = certificates.load_pem(quotes.parse(raw).pck_pem)
        if len(chain) < 2:
            return None
        fmspc = pck.read(chain[0]).fmspc
    except ValueError:
        return None
    if not _reaches(chain, anchors.intel):
        notes.append("the PCK chain does not reach the pinned root: Intel is not asked about it")
        return None
    if fmspc is None or len(fmspc) != _FMSPC_BYTES:
        return None
    processor = "Processor" in certificates.common_name(chain[1])
    return Platform(fmspc.hex().upper(), "processor" if processor else "platform")


def _reaches(chain: Sequence[x509.Certificate], pin: str) -> bool:
    return (
        len(chain) > 1
        and certificates.fingerprint(chain[-1]) == pin
        and certificates.bad_issuer(chain) is None
    )


def _genuine(device: _Device, pin: str) -> bool:
    """Whether NVIDIA's root vouches for this very transcript: chains alone are everybody's."""
    transcript = device.transcript
    return _reaches(device.chain, pin) and certificates.signed_by(
        device.chain[0].public_key(), transcript.signature, transcript.signed, hashes.SHA384()
    )


def _rim_ids(trusted: Sequence[_Device], devices: Sequence[_Device]) -> tuple[str, ...]:
    """Each id once, the trusted devices' first; an id that could mean another path is not one.

    Of devices whose chain is missing (CryptoPilot's) only a few: their texts cost nothing to make.
    """

    def named(some: Sequence[_Device]) -> list[str]:
        found = dict.fromkeys(id for device in some for id in device.transcript.rim_ids)
        return [id for id in found if _RIM_ID.fullmatch(id) and ".." not in id]

    known = named(trusted)
    others = [id for id in named(devices) if id not in known]
    return (*known, *others[:MAX_UNTRUSTED_RIMS])


def _questions(devices: Sequence[_Device]) -> tuple[Question, ...]:
    """Every certificate between leaf and root once; the leaf is never asked about (9.4)."""
    found: dict[str, Question] = {}
    for device in devices:
        for number in range(1, len(device.chain) - 1):
            question = Question(device.chain[number], device.chain[number + 1])
            found.setdefault(question.key, question)
    return tuple(found.values())[:MAX_OCSP_QUESTIONS]


def _token_request(payload: Payload, devices: Sequence[_Device], notes: list[str]) -> bytes | None:
    """The body of `POST /v3/attest/gpu` (9.5), the same bytes for the same evidence.

    The nonce is the signed one, not the one that the provider wrote beside it.
    """
    nonces = {device.transcript.nonce for device in devices}
    if not devices or len(devices) != len(payload.items) or len(nonces) != 1:
        return None
    if any(device.transcript.typed for device in devices):
        notes.append("version 3 of NVIDIA's verifier does not read evidence of this driver")
        return None
    arch = (payload.arch or _family(devices[0].chain)).upper()
    if not _ARCH.fullmatch(arch):
        return None
    entries = [
        {
            "arch": arch,
            "certificate": base64.b64encode(device.chain_pem).decode(),
            "evidence": base64.b64encode(_without_padding(device)).decode(),
        }
        for device in devices
    ]
    body = {"nonce": nonces.pop().hex(), "arch": arch, "evidence_list": entries}
    return json.dumps(body, separators=(",", ":")).encode()


def _without_padding(device: _Device) -> bytes:
    return device.evidence[: len(device.evidence) - device.transcript.trailing]


def _family(chain: Sequence[x509.Certificate]) -> str:
    """NVIDIA's word for the leaf's chip, where the provider gave none."""
    name = certificates.common_name(chain[0])
    return next((family for family, chip in gpu.FAMILIES.items() if chip in name), "")


def request_key(body: bytes) -> str:
    """What a token list is kept under: 0G's nonces are static and name no evidence."""
    return hashlib.sha256(body).hexdigest()
