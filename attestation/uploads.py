"""What kind of thing somebody brings to `/verify`, and whether it may be kept: evidence gets a
permanent public page, so nothing else may pass for it. Pure; bounded before it is parsed.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from attestation.engine import gpu, reports
from attestation.engine.evidence import KINDS, Evidence, Unreadable, document, nested
from attestation.engine.limits import MAX_BODY_BYTES
from attestation.errors import BadUpload
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits

#: Conversations carry whole requests with their pictures, so they may be larger than a report.
_SHAPE = JsonLimits(max_depth=64, max_bytes=12 << 20, max_marks=1_000_000)
_ZIP = b"PK\x03\x04"
#: Listing what is in an archive takes many times its size.
_ZIP_BYTES = 4 << 20
_CONVERSATION = "turns"
#: Members of `attestation.published`.
_PUBLISHED = {"content_hash", "checks", "evidence_sha256"}
_GPU_MEMBERS = ("evidence_list", "evidences")
#: Bytes as hex or base64, of the length of a short quote at least: no words that people write.
_BYTES = re.compile(r"(?:0x)?[A-Za-z0-9+/_=\r\n-]{64,}")
#: How NVIDIA's measurement transcript begins (`engine.spdm`).
_SPDM = b"\x11\xe0"
_PEM = re.compile(
    rb"\s*(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]*-----END CERTIFICATE-----\s*)*"
)
#: A line of a conversation that was exported as Markdown.
_MARKDOWN = b"\n- Response SHA-256: `"
_TO_READ = N_(
    "This is a conversation as Markdown, which is for reading: the bytes that were signed are in "
    "its other export, JSON. Bring that."
)
#: How a quote begins (attestation.md 4): as bytes, hex or base64.
_QUOTE = re.compile(
    rb"[\x04\x05]\x00\x02\x00\x81\x00\x00\x00"
    rb"|\s*(?:(?:0x)?0[45]00020081000000|B[AQ]ACAIEAAA)"
)
_ALONE = N_(
    'This is a quote alone. Bring the report that it came in, or JSON: {"quote": "…"}, in hex or '
    "base64."
)
_TO_LOOK_UP = N_(
    "This is a report page for programs: what a site says of a check, not the evidence. Bring the "
    "file of “Download evidence” on that page."
)
_NOT_KEPT = N_(
    "This is no attestation report, GPU evidence or bundle that is known here, so it was neither "
    "stored nor published. A report is the JSON that a provider gives, with its quote."
)


def as_written(data: bytes) -> bytes:
    """A text without what editors and shells make of it: a mark before it, two bytes a character.
    Anything else as it is.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with suppress(UnicodeDecodeError):
            return data.decode("utf-16").encode()
    return data.removeprefix(codecs.BOM_UTF8)


def kind_of(data: bytes, wanted: str = "") -> str:
    """`bundle`, `conversation`, `proofs` (hashes and signatures of answers), or a kind of
    `engine.evidence` (`wanted` where that is one).

    Raises BadUpload where nothing was brought, or nothing that is known.
    """
    if not data:
        raise BadUpload(_("Choose a file or paste a report."))
    if wanted in KINDS:
        return wanted
    if data.startswith(_ZIP):
        if len(data) > _ZIP_BYTES:
            raise BadUpload(_("An archive of more than %(size)s MB.") % {"size": _ZIP_BYTES >> 20})
        return "bundle"
    if data.lstrip()[:1] not in (b"{", b"["):
        if _MARKDOWN in data:
            raise BadUpload(_(_TO_READ))
        if _QUOTE.match(data):
            raise BadUpload(_(_ALONE))
        return "gpu"
    try:
        given: Any = strictjson.loads(data, _SHAPE)
    except BadAnswer as error:
        raise BadUpload(
            _("It begins like JSON, but cannot be read: %(error)s.") % {"error": error}
        ) from None
    if isinstance(given, dict) and isinstance(given.get(_CONVERSATION), list):
        return "conversation"
    if isinstance(given, dict) and (
        given.get("object") == "verification" or isinstance(given.get("requests"), list)
    ):
        return "proofs"
    if isinstance(given, dict) and given.keys() >= _PUBLISHED:
        raise BadUpload(_(_TO_LOOK_UP))
    if len(data) > MAX_BODY_BYTES:
        raise BadUpload(_("A report of more than %(size)s MB.") % {"size": MAX_BODY_BYTES >> 20})
    if isinstance(given, list) or any(name in given for name in _GPU_MEMBERS):
        return "gpu-payload"
    return "report"


def require_evidence(evidence: Evidence) -> None:
    """Raises BadUpload for what is not recognisably evidence, good or bad."""
    try:
        known = _is_evidence(evidence)
    except (Unreadable, ValueError):
        known = False
    if not known:
        raise BadUpload(_(_NOT_KEPT))
    if not _PEM.fullmatch(evidence.chain_pem):
        raise BadUpload(_("The certificate chain holds something else than PEM certificates."))


def _is_evidence(evidence: Evidence) -> bool:
    if evidence.kind == "gpu":
        return evidence.body.startswith(_SPDM)
    given = document(evidence.body)
    if evidence.kind == "gpu-payload":
        return _is_payload(given)
    shape = reports.shape(given)
    if shape == "near-gateway":
        raise BadUpload(_("This is a gateway's collection: bring each of its reports on its own."))
    if shape == "gpu-only":
        return _is_payload(nested(given["nvidia_payload"]))
    names = {"cryptopilot": "evidence", "vllm-proxy": "intel_quote", "0g-broker": "quote"}
    return shape in names and _is_bytes(given[names[shape]])


def _is_payload(given: object) -> bool:
    items = gpu.payload(given).items
    return bool(items) and all(
        _is_bytes(item.get("evidence") or item.get("attestation_report")) for item in items
    )


def _is_bytes(value: object) -> bool:
    return isinstance(value, str) and _BYTES.fullmatch(value.strip()) is not None
