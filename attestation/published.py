"""What we publish about a run: one JSON document, and the hash that its address can carry. Pure.

The API answers with it, a bundle holds it as `published.json`, and whoever has it can recompute
`content_hash`: of version 2 it is the SHA-256 of the whole document without that one member, in
canonical form (keys sorted, no spaces, ASCII). Version 1 left out what was found beside the rows;
rows of that time keep it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attestation.models import Verification

HASH_VERSION = 2
#: The member of the document that is not hashed: it is the hash.
HASH = "content_hash"
#: Characters of the hash in a report's own address, at least.
ADDRESS_CHARS = 16

_SAME = (
    "hash_version", "kind", "provider", "service_name", "endpoint", "trigger", "declared",
    "outcome", "error", "now_unix", "url", "status", "nonce", "accepts_nonce", "tls_fingerprint",
    "signs_body", "body_signature", "evidence_kind", "inputs", "report_kind", "overall",
    "development", "questions", "facts", "notes", "engine_version", "policy_version",
    "attested_signer", "ppid", "gpu_serials", "compose_hash", "mr_td", "signed_range_hash",
)  # fmt: skip
#: What version 1 hashed: names of its own where the document has others.
_FIRST_SAME = (
    "kind", "provider", "service_name", "endpoint", "evidence_kind", "url", "nonce",
    "accepts_nonce", "tls_fingerprint", "signs_body", "body_signature", "now_unix", "inputs",
    "outcome", "overall", "questions", "engine_version", "policy_version",
)  # fmt: skip


def document(run: Verification) -> dict[str, Any]:
    """Everything that a run's page says of it, in values of JSON, without the hash."""
    return {
        **{name: getattr(run, name) for name in _SAME},
        "id": str(run.pk),
        "started_at": instant(run.started_at),
        "finished_at": instant(run.finished_at),
        "http_date": None if run.http_date is None else instant(run.http_date),
        "chain": {
            "block": run.block,
            "tee_signer": run.onchain_signer or None,
            "tee_signer_acknowledged": run.acknowledged,
            "additional_info": run.additional_info,
        },
        "evidence_sha256": run.body_id,
        "chain_pem_sha256": run.chain_pem_id,
        "checks": run.rows,
        "references": [*run.collateral, *(run.rims or []), *run.ocsp, *run.nras, *run.jwks],
    }


def hash_of(document: Mapping[str, Any]) -> str:
    """The content hash of a document by the version that it names, lower-case hex.

    Raises KeyError, TypeError or ValueError for what is no such document.
    """
    version = document["hash_version"]
    if version == 1:
        content = _first(document)
    elif version == HASH_VERSION:
        content = {name: value for name, value in document.items() if name != HASH}
    else:
        raise ValueError(f"hash version {version!r} is not known")
    return hashlib.sha256(canonical(content)).hexdigest()


def canonical(value: Any) -> bytes:
    """A JSON value in the one form that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def instant(at: dt.datetime) -> str:
    """A moment in UTC as the API writes it, in milliseconds."""
    whole = at.astimezone(dt.UTC).replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=None)
    return whole.isoformat(timespec="milliseconds" if whole.microsecond else "seconds") + "Z"


def _first(document: Mapping[str, Any]) -> dict[str, Any]:
    chain = document["chain"]
    return {name: document[name] for name in _FIRST_SAME} | {
        "block": chain["block"],
        "onchain_signer": chain["tee_signer"] or "",
        "acknowledged": chain["tee_signer_acknowledged"],
        "rows": document["checks"],
        "body": document["evidence_sha256"],
        "chain_pem": document["chain_pem_sha256"],
    }
