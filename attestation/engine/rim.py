"""NVIDIA's reference manifests: signed XML, and its golden measurements (attestation.md 9.3).

A strict XML-DSig profile: one enveloped signature over the whole document, fixed algorithms, no
DTD, no comments, no xml: attributes (then C14N 1.0 equals 1.1). General libraries judge the signer
by the wall clock, which is useless for stored evidence.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from lxml import etree

from attestation.engine import certificates, spdm
from attestation.engine.evidence import Context, excerpt
from attestation.engine.limits import MAX_CERTIFICATES, MAX_RIM_BYTES, check
from attestation.engine.spdm import Transcript
from attestation.engine.verdicts import FAIL, NOT_CHECKED, PASS, Report, Verdict
from net.marks import N_

SWID = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
HASH = "{http://www.w3.org/2001/04/xmlenc#sha384}Hash"
#: Least security versions of values in the opaque data: index - _OPAQUE is the value's kind
#: (docs.nvidia.com/attestation/specs, "Opaque Data RIM Attributes").
_OPAQUE = 0x1000
_LEAST = "{https://docs.nvidia.com/attestation/specs/latest/opaque-data.html}minSvn"
_NUMBER = re.compile(r"[0-9]{1,20}")
_SVN_BYTES = 2
DSIG = "{http://www.w3.org/2000/09/xmldsig#}"
ALGORITHMS = {
    "CanonicalizationMethod": "http://www.w3.org/2006/12/xml-c14n11",
    "SignatureMethod": "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
    "DigestMethod": "http://www.w3.org/2001/04/xmldsig-more#sha384",
}
TRANSFORMS = [
    "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
    "http://www.w3.org/2006/12/xml-c14n11",
]
#: What makes the two canonical forms differ, or hides text from one reader.
_FORBIDDEN = re.compile(rb"<!DOCTYPE|<!ENTITY|<!--|\sxml:")
#: Measurement 35 is meaningless while NVDEC0 is disabled.
_NVDEC0_INDEX = 35
_SIGNATURE_BYTES = 96


class RimError(ValueError):
    """A manifest that proves nothing; the text says why."""


@dataclass(frozen=True)
class Golden:
    """One measurement: any of `values` (hex) of `size` bytes is right."""

    active: bool
    values: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class Manifest:
    """An authentic manifest. Index n is block n+1 of a transcript.

    `least`: the lowest security version that is right, by kind of opaque value.
    """

    version: str
    product: str
    golden: Mapping[int, Golden]
    least: Mapping[int, int]


def load(xml: bytes, now: datetime, pin: str) -> Manifest:
    """An authentic manifest, or RimError. `pin`: the root's SHA-256."""
    try:
        return _load(xml, now, pin)
    except RimError:
        raise
    except (etree.LxmlError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise RimError(f"malformed: {excerpt(error)}") from None


def _load(xml: bytes, now: datetime, pin: str) -> Manifest:
    check("manifest bytes", len(xml), MAX_RIM_BYTES)
    if _FORBIDDEN.search(xml):
        raise RimError("DTD, comment or xml: attribute not allowed")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    tree: Any = etree.parse(io.BytesIO(xml), parser)
    if tree.docinfo.internalDTD is not None:
        raise RimError("DTD, comment or xml: attribute not allowed")
    root = tree.getroot()
    if len(list(root.iter(f"{DSIG}Signature"))) != 1 or root[-1].tag != f"{DSIG}Signature":
        raise RimError("expected exactly one signature, last child of the root")
    signature = root[-1]
    info = signature.find(f"{DSIG}SignedInfo")
    digest = _profile(info)
    given = list(signature.iter(f"{DSIG}X509Certificate"))
    check("certificates", len(given), MAX_CERTIFICATES)
    chain = [certificates.load_der(base64.b64decode("".join(c.text.split()))) for c in given]
    _signer(chain, now, pin)
    value = base64.b64decode(signature.find(f"{DSIG}SignatureValue").text)
    signed = etree.tostring(info, method="c14n", with_comments=False)
    key = chain[0].public_key()
    if len(value) != _SIGNATURE_BYTES or not certificates.signed_by(
        key, value, signed, hashes.SHA384()
    ):
        raise RimError("signature invalid")
    document = _without_signature(root)
    canonical = etree.tostring(document, method="c14n", with_comments=False)
    if hashlib.sha384(canonical).digest() != digest:
        raise RimError("document digest mismatch")
    meta, payload = document.find(f"{SWID}Meta"), document.find(f"{SWID}Payload")
    resources = {_index(resource): resource for resource in payload}
    if len(resources) != len(payload):
        raise RimError("an index twice")
    return Manifest(
        version=str(meta.get("colloquialVersion") or ""),
        product=str(meta.get("product") or ""),
        golden={i: _golden(r) for i, r in resources.items() if i < _OPAQUE},
        least={
            i - _OPAQUE: _least(i, r)
            for i, r in resources.items()
            if i >= _OPAQUE and r.get("active") != "False"
        },
    )


def _profile(info: Any) -> bytes:
    """The digest that the one reference names, everything else being as we demand it."""
    references = info.findall(f"{DSIG}Reference")
    if len(references) != 1 or references[0].get("URI") != "":
        raise RimError("reference must cover the whole document")
    for tag, wanted in ALGORITHMS.items():
        if [element.get("Algorithm") for element in info.iter(f"{DSIG}{tag}")] != [wanted]:
            raise RimError(f"unexpected {tag}")
    if [element.get("Algorithm") for element in info.iter(f"{DSIG}Transform")] != TRANSFORMS:
        raise RimError("unexpected transforms")
    return base64.b64decode(references[0].find(f"{DSIG}DigestValue").text)


def _signer(chain: list[x509.Certificate], now: datetime, pin: str) -> None:
    if len(chain) < 2:
        raise RimError("no certificate chain")
    if certificates.fingerprint(chain[-1]) != pin:
        name = certificates.subject(chain[-1], 50)
        raise RimError(f"chain does not end in the pinned RIM root ({name})")
    problem = certificates.outside_validity(chain, now) or certificates.bad_issuer(chain)
    if problem:
        raise RimError(problem)


def _without_signature(root: Any) -> Any:
    """The document as it was signed: the transform removes the element, not the text after it."""
    document = copy.deepcopy(root)
    signature = document[-1]
    before = signature.getprevious()
    if before is None:
        raise RimError("nothing but a signature")
    before.tail = (before.tail or "") + (signature.tail or "")
    document.remove(signature)
    return document


def _index(resource: Any) -> int:
    return int(resource.get("index"))


def _golden(resource: Any) -> Golden:
    return Golden(
        active=resource.get("active") != "False",
        values=tuple(
            resource.get(f"{HASH}{number}").lower()
            for number in range(int(resource.get("alternatives")))
        ),
        size=int(resource.get("size")),
    )


def _least(index: int, resource: Any) -> int:
    text = resource.get(_LEAST) or ""
    if not _NUMBER.fullmatch(text):
        raise RimError(f"index {index} has no minSvn")
    return int(text)


def verify(i: int, transcript: Transcript, context: Context, report: Report) -> None:
    """Add the manifest rows and gpuN.measurements."""
    group, ids = f"GPU {i}", transcript.rim_ids
    if context.rims is None:
        report.add(
            f"gpu{i}.rim",
            group,
            N_("GPU %(number)s: firmware and driver match NVIDIA's golden measurements")
            % {"number": i},
            NOT_CHECKED,
            expected=" + ".join(ids),
            detail=N_("reference manifests not available"),
            source="NVIDIA RIM service",
            required=False,
        )
        return
    versions = (transcript.text(spdm.DRIVER), transcript.vbios)
    manifests: dict[str, Manifest] = {}
    for kind, id, version in zip(("driver", "vbios"), ids, versions, strict=True):
        manifest = _manifest(i, kind, id, version, context, report)
        if manifest is not None:
            manifests[kind] = manifest
    if manifests:
        _measurements(i, transcript, manifests, report)


def _manifest(
    i: int, kind: str, id: str, version: str, context: Context, report: Report
) -> Manifest | None:
    """The authentic manifest of that version, with its row; else None."""
    xml = (context.rims or {}).get(id)
    manifest, got, detail = None, None, ""
    row: Verdict = NOT_CHECKED
    if not xml:
        detail = N_("manifest not in the local store")
    else:
        try:
            manifest = load(xml, certificates.at(context.now), context.anchors.rim)
            row = PASS if manifest.version.upper() == version.upper() else FAIL
            got = f"{manifest.version} ({manifest.product})"
        except RimError as error:
            row, got = FAIL, str(error)
    report.add(
        f"gpu{i}.rim_{kind}",
        f"GPU {i}",
        N_("GPU %(number)s: %(kind)s reference manifest signed by NVIDIA")
        % {"number": i, "kind": kind},
        row,
        expected=version,
        got=got,
        detail=detail,
        source=id,
        required=False,
    )
    return manifest if row == PASS else None


def _measurements(
    i: int, transcript: Transcript, manifests: Mapping[str, Manifest], report: Report
) -> None:
    skipped = (
        {_NVDEC0_INDEX} if transcript.opaque.get(spdm.NVDEC0) == spdm.NVDEC0_DISABLED else set()
    )
    checked, wrong, seen = 0, list[str](), set[int]()
    for kind, manifest in manifests.items():
        for index, golden in manifest.golden.items():
            if not golden.active:
                continue
            if index in seen:
                wrong.append(f"{index} in both manifests")
                continue
            seen.add(index)
            if index in skipped:
                continue
            block = transcript.blocks.get(index + 1)
            right = block is not None and block.hex() in golden.values and len(block) == golden.size
            if not right:
                wrong.append(f"{index} [{kind}]")
            checked += 1
        for value, least in manifest.least.items():
            found = transcript.opaque.get(value, b"")
            if len(found) != _SVN_BYTES or int.from_bytes(found, "little") < least:
                wrong.append(f"opaque {value} below {least} [{kind}]")
            checked += 1
    complete = len(manifests) == 2
    only = "" if complete else f" ({'/'.join(manifests)} only)"
    verdict: Verdict = FAIL if wrong else PASS if complete else NOT_CHECKED
    report.add(
        f"gpu{i}.measurements",
        f"GPU {i}",
        N_("GPU %(number)s: measurements equal NVIDIA's golden values") % {"number": i},
        verdict,
        expected=f"{checked} active indices",
        got=f"mismatch at {', '.join(wrong)}" if wrong else f"{checked} match{only}",
        source="signed manifests and signed SPDM blocks",
        required=bool(wrong) and complete,
    )
