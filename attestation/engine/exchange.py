"""A key challenge: an answer that the attested key signed just now (attestation.md 13.3).

A layout without a nonce cannot tell a fresh quote from yesterday's; a signature over a request that
holds random bytes shows that the key is alive. It does not show that it still is inside that TD.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from attestation.engine.binding import GROUP, Binding
from attestation.engine.evidence import Context
from attestation.engine.verdicts import FAIL, NOT_CHECKED, NOT_PROVIDED, PASS, WARN, Report, Verdict
from net.marks import N_
from protocol import replies

ID = "bind.challenge"
_TITLE = N_("The attested key signs something new for us")
#: Longest random text and shortest: less could have been signed before.
_CHALLENGE_BYTES = range(16, 257)


def verify(bound: Binding, context: Context, report: Report) -> None:
    """Add the row where a challenge belongs to this evidence; it is required only to fail."""
    given = context.challenge
    if given is None:
        return
    try:
        verdict, got, detail = _judge(given, bound)
    except (ValueError, TypeError, KeyError) as error:
        verdict, got, detail = NOT_CHECKED, None, f"the exchange cannot be read: {error}"
    report.add(
        ID,
        GROUP,
        _TITLE,
        verdict,
        expected=bound.address,
        got=got,
        detail=detail,
        source="signature of an answer to a random prompt",
        required=verdict == FAIL,
    )


def _judge(given: Mapping[str, Any], bound: Binding) -> tuple[Verdict, str | None, str]:
    """Verdict, who signed, and why."""
    if given.get("missing"):
        return NOT_CHECKED, None, str(given["missing"])
    request = base64.b64decode(given["request"], validate=True)
    response = base64.b64decode(given["response"], validate=True)
    random = bytes.fromhex(given["random"])
    if len(random) not in _CHALLENGE_BYTES or random.hex().encode() not in request:
        return NOT_CHECKED, None, N_("the request holds no random text of ours")
    if given.get("signature") is None:
        return NOT_PROVIDED, None, N_("the provider has no signature of its answer")
    try:
        signed = replies.parse_reply(given["signature"])
    except replies.BadReply as error:
        return FAIL, None, str(error)
    facts = replies.check(
        signed,
        expected_signer=bound.address or "",
        request_sha256=replies.sha256_hex(request),
        response_sha256=[replies.sha256_hex(response)],
    )
    who = facts.signer or None
    if not facts.signer_ok:
        return FAIL, who, facts.problem or N_("signed by another key than the attested one")
    if not facts.response_ok:
        return FAIL, who, "the right key, but over another answer than the one we got"
    if not facts.request_ok:
        return WARN, who, "the right key, but over a request that is not ours: maybe not new"
    return PASS, who, "over our random request and the answer to it"
