"""Evidence in a zip: everything that a verdict depends on, so that anybody can judge it again.

    manifest.json     format, kind, now, and what we knew: nonce, chain values
    report.json       the body as received (evidence.bin and chain.pem for one GPU)
    collateral.json   rims/<RIM id>.xml   ocsp.json   nras.json   jwks.json   challenge.json
    published.json    what the site published about it, with its hash: compared, never believed
    references.json   the file of published values that the site compared with, if it has one
    quote.bin  nras-request.json   parts of the report, ready for the verifiers of others

Trust anchors and policy are never taken from it: whoever judges brings their own, and has to name
`references.json` on purpose to judge by the site's. Pure: bytes in and out.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attestation.engine.anchors import Anchors
from attestation.engine.evidence import KINDS, Context, Evidence, Unreadable, document
from attestation.engine.policy import DEFAULT, Policy
from attestation.engine.reviewed import MAX_DECLARED
from attestation.sources import needs

FORMAT = "zg-market evidence 1"
MAX_FILES = 64
MAX_FILE_BYTES = 4 << 20
MAX_TOTAL_BYTES = 16 << 20
#: Fields of a Context that the manifest holds, with the types they may have.
_FIELDS: Mapping[str, tuple[type, ...]] = {
    "onchain_signer": (str, type(None)),
    "acknowledged": (bool, type(None)),
    "nonce": (str, type(None)),
    "accepts_nonce": (bool,),
    "tls_fingerprint": (str, type(None)),
    "body_signature": (str, type(None)),
}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RIM = re.compile(r"rims/([A-Za-z0-9._-]{1,120})\.xml")
_NAMES = {
    *("manifest.json", "report.json", "evidence.bin", "chain.pem", "collateral.json"),
    *("ocsp.json", "nras.json", "jwks.json", "challenge.json", "published.json"),
    "references.json",
}
#: Others let a small file ask for gigabytes of working memory.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: What damaged directories and members raise on the way; a seek before the start is a ValueError.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError),
    *(EOFError, OSError, OverflowError, ValueError),
)
_EPOCH = (1980, 1, 1, 0, 0, 0)


class BadBundle(ValueError):
    """The file is not an evidence bundle, or larger than one may be."""


def write(
    evidence: Evidence, context: Context, published: Mapping[str, Any] | None = None
) -> bytes:
    """The zip; equal inputs give equal bytes. `published`: see `attestation.published`."""
    manifest: dict[str, Any] = {"format": FORMAT, "kind": evidence.kind, "now": context.now}
    manifest["declared_images"] = list(context.declared_images)
    files = {
        "manifest.json": _json(manifest | {name: getattr(context, name) for name in _FIELDS}),
        "evidence.bin" if evidence.kind == "gpu" else "report.json": evidence.body,
    }
    if evidence.kind == "gpu":
        files["chain.pem"] = evidence.chain_pem
    for name in ("collateral", "nras", "jwks", "challenge"):
        value = getattr(context, name)
        if value is not None:
            files[f"{name}.json"] = _json(dict(value) if isinstance(value, Mapping) else value)
    quote, request = needs.outside(evidence, context.anchors)
    files |= {"quote.bin": quote} if quote else {}
    files |= {"nras-request.json": request} if request else {}
    if context.policy.references is not None:
        files["references.json"] = context.policy.references.body
    if published is not None:
        files["published.json"] = _json(published)
    if context.ocsp:
        files["ocsp.json"] = _json([answer.hex() for answer in context.ocsp])
    files |= {f"rims/{id}.xml": xml for id, xml in (context.rims or {}).items()}
    if context.rims is not None:
        files["rims/"] = b""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def read(data: bytes, anchors: Anchors, policy: Policy = DEFAULT) -> tuple[Evidence, Context]:
    """Evidence and context of a bundle, to be judged under `anchors` and `policy`.

    Raises BadBundle.
    """
    files = _files(data)
    try:
        manifest = document(files["manifest.json"])
        evidence, context = _parse(manifest, files, anchors)
        return evidence, replace(context, policy=policy)
    except KeyError as error:
        raise BadBundle(f"the bundle lacks {error}") from None
    except (Unreadable, TypeError, ValueError) as error:
        raise BadBundle(f"the bundle is damaged: {error}") from None


def published(data: bytes) -> dict[str, Any] | None:
    """What the bundle says was published about it; None in those without. Raises BadBundle."""
    try:
        found: dict[str, Any] | None = _optional(_files(data), "published.json", dict)
    except Unreadable as error:
        raise BadBundle(f"the bundle is damaged: {error}") from None
    return found


def _parse(manifest: Any, files: Mapping[str, bytes], anchors: Anchors) -> tuple[Evidence, Context]:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BadBundle(f"the manifest's format is not {FORMAT!r}")
    kind, now = manifest["kind"], manifest["now"]
    if kind not in KINDS or type(now) is not int:
        raise BadBundle("the manifest names no known kind, or no time")
    for name, types in _FIELDS.items():
        if not isinstance(manifest[name], types):
            raise BadBundle(f"the manifest's {name} is of the wrong type")
    images = manifest.get("declared_images", [])
    if not isinstance(images, list) or len(images) > MAX_DECLARED:
        raise BadBundle("the manifest's declared_images is no short list")
    if not all(isinstance(one, str) and _SHA256.fullmatch(one) for one in images):
        raise BadBundle("the manifest's declared_images are no SHA-256")
    if kind == "gpu":
        evidence = Evidence(kind, files["evidence.bin"], files["chain.pem"])
    else:
        evidence = Evidence(kind, files["report.json"])
    rims = {match[1]: xml for name, xml in files.items() if (match := _RIM.fullmatch(name))}
    context = Context(
        now=now,
        anchors=anchors,
        collateral=_optional(files, "collateral.json", dict),
        rims=rims if rims or "rims/" in files else None,
        ocsp=[bytes.fromhex(answer) for answer in _optional(files, "ocsp.json", list) or []],
        nras=_optional(files, "nras.json", list),
        jwks=_optional(files, "jwks.json", dict),
        challenge=_optional(files, "challenge.json", dict),
        declared_images=tuple(images),
        **{name: manifest[name] for name in _FIELDS},
    )
    return evidence, context


def _files(data: bytes) -> dict[str, bytes]:
    """Known members, none larger than allowed whatever the directory claims. Raises BadBundle."""
    files: dict[str, bytes] = {}
    total = 0
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_FILES:
                raise BadBundle(f"more than {MAX_FILES} files")
            for member in members:
                if member.filename == "rims/":
                    files["rims/"] = b""
                if member.filename not in _NAMES and not _RIM.fullmatch(member.filename):
                    continue
                if member.compress_type not in _METHODS:
                    raise BadBundle("packed by a method other than deflate")
                with archive.open(member) as stream:
                    content = stream.read(MAX_FILE_BYTES + 1)
                total += len(content)
                if len(content) > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES:
                    raise BadBundle("larger than evidence may be")
                files[member.filename] = content
    except BadBundle:
        raise
    except _UNREADABLE as error:
        raise BadBundle(f"not a readable zip: {error}") from None
    return files


def _optional(files: Mapping[str, bytes], name: str, kind: type) -> Any:
    if name not in files:
        return None
    value = document(files[name])
    if not isinstance(value, kind):
        raise BadBundle(f"{name} is not a JSON {kind.__name__}")
    return value


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1).encode()
