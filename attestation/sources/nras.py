"""NVIDIA's hosted verifier: our own request with the evidence, and its key set (9.5).

Keys rotate in about two days, so the set that verified a token is kept with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jwt

from attestation.engine import nras
from attestation.engine.anchors import Anchors
from attestation.engine.evidence import Context
from attestation.engine.limits import JSON
from attestation.engine.verdicts import PASS, Report
from attestation.sources.fetch import Request
from attestation.sources.needs import request_key
from attestation.sources.obtain import Retriever, Unusable
from attestation.sources.records import Answer
from net import strictjson
from net.errors import BadAnswer

_MAX_BYTES = 1 << 20
_KEY_SET_SECONDS = 2 * 86_400
_HOUR = 3600


@dataclass(frozen=True)
class Tokens:
    """The detached token list and the key set it verifies with."""

    nras: Any
    jwks: Any


async def tokens(body: bytes, retriever: Retriever, base: str, anchors: Anchors) -> Tokens | None:
    """NVIDIA's word about this evidence, good or bad; None with a note where it has none that
    verifies.
    """
    request = Request(
        "nras",
        request_key(body),
        f"{base}/v3/attest/gpu",
        method="POST",
        headers={"Content-Type": "application/json", "Accept": "application/json"},
        body=body,
        max_bytes=_MAX_BYTES,
    )
    answer = await retriever.obtain(request, _token_window, refresh=_HOUR)
    if answer is None:
        return None
    given = _list(answer)
    problem = "no key set"
    for again in (False, True):  # a key newer than our copy of the set
        keys = await _keys(retriever, base, again=again)
        if keys is None:
            return None
        found = Tokens(given, strictjson.loads(keys.body or b"", JSON))
        problem = _problem(found, retriever.now, anchors)
        if not problem:
            retriever.use(answer, keys)
            return found
    retriever.note("nras", request.key, f"NVIDIA's tokens were not used: {problem}")
    return None


async def _keys(retriever: Retriever, base: str, *, again: bool) -> Answer | None:
    url = f"{base}/.well-known/jwks.json"
    request = Request("jwks", "", url, max_bytes=_MAX_BYTES)
    return await retriever.obtain(request, _key_window, again=again)


def _problem(found: Tokens, now: int, anchors: Anchors) -> str:
    """Why the tokens do not verify as a whole; "" where they do, whatever they say."""
    report = Report("nras")
    nras.verify(Context(now=now, anchors=anchors, nras=found.nras, jwks=found.jwks), report)
    for id in ("nras.token", "nras.submods"):
        row = report.find(id)
        if row is not None and row.verdict != PASS:
            return f"{row.title}: {row.got or row.detail}"
    return ""


def _list(answer: Answer) -> Any:
    return strictjson.loads(answer.body or b"", JSON)


def _token_window(answer: Answer) -> tuple[int, int]:
    """From issue to expiry, as the token itself says; who signed it is judged later."""
    try:
        given = _list(answer)
        claims = jwt.decode(given[0][1], options={"verify_signature": False})
        return int(claims["iat"]) - nras.CLOCK_SKEW_SECONDS, int(claims["exp"])
    except (jwt.PyJWTError, BadAnswer, ValueError, LookupError, TypeError, OverflowError):
        raise Unusable("the answer holds no token list") from None


def _key_window(answer: Answer) -> tuple[int, int]:
    try:
        keys = strictjson.loads(answer.body or b"", JSON)["keys"]
    except (BadAnswer, KeyError, TypeError):
        raise Unusable("the answer holds no key set") from None
    if not isinstance(keys, list) or not keys:
        raise Unusable("the key set is empty")
    return answer.fetched_at - nras.CLOCK_SKEW_SECONDS, answer.fetched_at + _KEY_SET_SECONDS
