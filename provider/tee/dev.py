"""The development signer: a key in a file, and evidence that says so.

Its report has the shape of a dstack broker's (provider-protocol.md 4.3), so that every client can
be tried against it; its quote is not a quote and every verifier must fail it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from protocol import replies
from protocol.digests import address_of_key, sign

NOTICE = (
    "DEVELOPMENT EVIDENCE: this signer's key lies in a file, no trusted hardware is involved and "
    "nothing here proves anything."
)
REPORT_DATA_BYTES = 64
# dstack's runtime events (attestation.md): type 0x08000001 in the RTMR that the guest extends.
RUNTIME_EVENT = 0x08000001
RUNTIME_REGISTER = 3


class DevTee:
    """Signs honestly with a private key it was given."""

    def __init__(self, key: bytes, model: str) -> None:
        self._key = key
        self._model = model
        self.address = address_of_key(key)

    def sign(self, digest: bytes) -> bytes:
        return sign(digest, self._key)

    def sign_answer(self, request_sha256: str, response_sha256: str) -> tuple[str, str]:
        text = replies.signed_text(request_sha256, response_sha256)
        return text, replies.sign_text(text, self._key)

    def quote(self) -> dict[str, Any]:
        compose = json.dumps(
            {"name": "development-broker", "model": self._model, "notice": NOTICE}, sort_keys=True
        )
        compose_hash = hashlib.sha256(compose.encode()).hexdigest()
        events = [
            _event("app-id", hashlib.sha256(self.address.encode()).hexdigest()[:40]),
            _event("compose-hash", compose_hash),
            _event("system-ready", ""),
        ]
        event_log = json.dumps(events)
        return {
            "development": NOTICE,
            "quote": NOTICE.encode().hex(),
            "event_log": event_log,
            "report_data": base64.b64encode(
                self.address.encode().ljust(REPORT_DATA_BYTES, b"\0")
            ).decode(),
            "tcb_info": json.dumps(
                {
                    "notice": NOTICE,
                    "compose_hash": compose_hash,
                    "app_compose": compose,
                    "event_log": events,
                }
            ),
            "vm_config": json.dumps({"notice": NOTICE, "image": "none-dev-none", "num_gpus": 0}),
        }


def _event(name: str, payload: str) -> dict[str, Any]:
    raw = bytes.fromhex(payload)
    content = RUNTIME_EVENT.to_bytes(4, "little") + b":" + name.encode() + b":" + raw
    return {
        "imr": RUNTIME_REGISTER,
        "event_type": RUNTIME_EVENT,
        "digest": hashlib.sha384(content).hexdigest(),
        "event": name,
        "event_payload": payload,
    }
