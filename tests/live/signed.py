"""What a strict client says about a broker's signed answers, in the words of interfaces.md 3."""

from __future__ import annotations

import requests

from protocol import replies
from tests.live.provider_lab import Broker


def word(check: replies.ReplyCheck) -> str:
    """Of facts about an answer that came whole."""
    if not check.signer_ok:
        return "failed"
    if not check.response_ok:
        return "altered"
    return "verified" if check.request_ok else "rewritten"


def verdict(broker: Broker, chat_id: str, request: bytes, *response: bytes) -> str:
    """Of an answer, or of each picture in one, by the broker's own signature."""
    return word(facts(broker, chat_id, request, *response))


def facts(broker: Broker, chat_id: str, request: bytes, *response: bytes) -> replies.ReplyCheck:
    reply = requests.get(f"{broker.url}/v1/proxy/signature/{chat_id}?model=x", timeout=10)
    return replies.check(
        replies.parse_reply(reply.json()),
        expected_signer=broker.lab.service(broker.address)["teeSignerAddress"],
        request_sha256=replies.sha256_hex(request),
        response_sha256=[replies.sha256_hex(part) for part in response],
    )
