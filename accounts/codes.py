"""What an error's code means, as `/api/docs` explains it and the `type` of every problem document
points there (RFC 9457, 3.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from accounts import refusals


@dataclass(frozen=True)
class Code:
    """A kind of error: what happened, in a word for programs and in a sentence for people."""

    code: str
    status: int
    title: str
    meaning: str


CODES: dict[str, Code] = {
    code.code: code
    for code in (
        Code("bad_request", 400, "Bad request", "The request could not be read."),
        Code("malformed_json", 400, "Not JSON", "A preview's body is no JSON object."),
        Code("unknown_action", 400, "Unknown action", "A preview's `action`: `detail` lists all."),
        Code("invalid_request", 400, "Invalid request", "A preview's body: `detail` says what."),
        Code("cannot_estimate_gas", 400, "No gas estimate", "The node tells no gas for a preview."),
        Code("unauthorized", 401, "Token needed", "Send a personal access token (/account/keys)."),
        Code("forbidden", 403, "Forbidden", "You may not do this, or the page's token is stale."),
        Code("not_found", 404, "Not found", "Nothing lies under this path, or it is not listed."),
        Code("method_not_allowed", 405, "Method not allowed", "`Allow` names what is allowed."),
        Code("too_large", 413, "Request too large", "Send less."),
        Code("body_too_large", 413, "Request too large", "A preview's body: at most 64 KB."),
        Code("invalid_parameter", 422, "Invalid parameter", "`errors` names each parameter."),
        Code("invalid_address", 422, "Invalid address", "0x, 40 hex digits, right checksum."),
        Code("insufficient_wallet_balance", 422, "Wallet too poor", "`detail` says what it needs."),
        Code("rate_limited", 429, "Too many requests", "Wait for `Retry-After` seconds."),
        Code("internal_error", 500, "Internal error", "Our fault; quote `request_id`."),
        Code("preview_disagrees", 500, "No preview", "Rules and contract differ; report it."),
        Code("unavailable", 503, "Unavailable", "A store does not answer; try again shortly."),
        Code("chain_unreachable", 503, "Chain silent", "No preview now; try again in a minute."),
        Code("wrong_chain", 503, "Wrong chain", "The host's node is on another chain."),
    )
}


def explained(code: str) -> str:
    """Where a code is explained: doors of our own pages have more, whose `title` says it all."""
    known = code in CODES or code in refusals.SENTENCES
    return f"/api/docs#{code if known else 'errors'}"
