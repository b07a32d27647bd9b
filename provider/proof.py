"""How a broker shows `python -m provider check` that an address leads to it: whoever has the wallet
key can answer for a nonce, and nobody learns anything from the answer."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256

from provider.http import Answer, Receive, Request, Scope, Send

PATH = "/v1/check"
_NONCE = re.compile(r"[0-9a-f]{64}\Z")


def proof(wallet_key: bytes, nonce: str) -> str:
    """64 hex digits for a nonce of 64 hex digits."""
    key = sha256(b"0G broker: this address leads to me" + wallet_key).digest()
    return hmac.new(key, nonce.encode(), sha256).hexdigest()


async def show(wallet_key: bytes, request: Request, answer: Answer) -> None:
    """`GET /v1/check?nonce=…`."""
    nonce = request.query.get("nonce", "")
    if not _NONCE.match(nonce):
        await answer.json(400, {"error": "nonce: expected 64 hex digits"})
        return
    await answer.json(200, {"proof": proof(wallet_key, nonce)}, {"cache-control": "no-store"})


class Stand:
    """Answers for a broker that does not run yet; an ASGI application."""

    def __init__(self, wallet_key: bytes) -> None:
        self._key = wallet_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request, answer = Request(scope, receive), Answer(send, {})
        if (request.method, request.path) == ("GET", PATH):
            await show(self._key, request, answer)
        else:
            await answer.not_found()
