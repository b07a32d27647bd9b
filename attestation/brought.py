"""What kind of thing somebody brings to `/verify`. Pure; bounded before it is parsed."""

from __future__ import annotations

from typing import Any

from attestation.engine.evidence import KINDS
from attestation.engine.limits import MAX_BODY_BYTES
from attestation.errors import BadUpload
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits

#: Conversations carry whole answers, so they may be larger than a report.
_SHAPE = JsonLimits(max_depth=64, max_bytes=4 << 20)
_ZIP = b"PK\x03\x04"
_CONVERSATION = "turns"
_GPU_MEMBERS = ("evidence_list", "evidences")


def kind_of(data: bytes, wanted: str = "") -> str:
    """`bundle`, `conversation`, or a kind of `engine.evidence` (`wanted` where that is one).

    Raises BadUpload where nothing was brought, or nothing that is known.
    """
    if not data:
        raise BadUpload("Choose a file or paste a report.")
    if wanted in KINDS:
        return wanted
    if data.startswith(_ZIP):
        return "bundle"
    if data.lstrip()[:1] not in (b"{", b"["):
        return "gpu"
    try:
        given: Any = strictjson.loads(data, _SHAPE)
    except BadAnswer as error:
        raise BadUpload(f"It begins like JSON, but cannot be read: {error}.") from None
    if isinstance(given, dict) and isinstance(given.get(_CONVERSATION), list):
        return "conversation"
    if len(data) > MAX_BODY_BYTES:
        raise BadUpload(f"A report of more than {MAX_BODY_BYTES >> 20} MB.")
    if isinstance(given, list) or any(name in given for name in _GPU_MEMBERS):
        return "gpu-payload"
    return "report"
