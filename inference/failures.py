"""Why an answer did not come: one closed list, told apart by status and by the documented texts.
Pure.

Texts are those of provider-protocol.md 1.2, 2.1 and 5.2; other brokers may word them differently,
so every rule falls back to the status.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "not_funded",  # the sub-account holds less than reserve + unsettled + this request
    "key_rejected",  # expired, revoked, of another generation, or for another provider
    "not_acknowledged",  # user or owner has not accepted the signer, or the account is missing
    "model_gone",  # 410, or an unknown model
    "too_long",  # context or body too large
    "rate_limited",  # 429
    "busy",  # 503: too many requests at once
    "provider_error",  # any other 5xx, or an error told inside the stream
    "refused",  # any other 4xx
    "blocked_address",  # the provider's URL leads to somewhere we do not talk to
    "unreachable",  # no connection
    "slow_start",  # no first token in time
    "stalled",  # no further token in time
    "cut_off",  # the connection ended before the answer did
    "bad_answer",  # bytes that are no chat answer
    "too_large",  # more than we take
    "interrupted",  # our own process ended
    "not_sent",  # our own database could not say that it had stored the question
]

#: Failures in which the provider did no billable work.
NOT_CHARGED: frozenset[Kind] = frozenset(
    {
        "not_funded",
        "key_rejected",
        "not_acknowledged",
        "model_gone",
        "too_long",
        "rate_limited",
        "busy",
        "refused",
        "blocked_address",
        "unreachable",
        "not_sent",
    }
)

_BY_TEXT: tuple[tuple[str, Kind], ...] = (
    ("insufficient balance", "not_funded"),
    ("not acknowledge", "not_acknowledged"),
    ("account not exist", "not_acknowledged"),
    ("validate session", "key_rejected"),
    ("session token", "key_rejected"),
    ("bearer app-sk", "key_rejected"),
    ("no longer available", "model_gone"),
    ("context length", "too_long"),
    ("context_length", "too_long"),
    ("maximum context", "too_long"),
    ("maximum allowed size", "too_long"),
)
_BY_STATUS: dict[int, Kind] = {
    401: "key_rejected",
    402: "not_funded",
    410: "model_gone",
    413: "too_long",
    429: "rate_limited",
    503: "busy",
}


@dataclass(frozen=True)
class Failure:
    """`detail` is the provider's own sentence (bounded, hostile), `retry_after` seconds or 0,
    `status` HTTP or 0.
    """

    kind: Kind
    detail: str = ""
    status: int = 0
    retry_after: int = 0


def of_status(status: int, detail: str, retry_after: int = 0) -> Failure:
    """The failure an HTTP status with its error text stands for."""
    lowered = detail.lower()
    if status < 500:
        for words, kind in _BY_TEXT:
            if words in lowered:
                return Failure(kind, detail, status, retry_after)
    kind = _BY_STATUS.get(status) or (
        "provider_error" if status >= 500 or status < 400 else "refused"
    )
    return Failure(kind, detail, status, retry_after)
