"""What `/v1` answers instead of an answer, in the shape that OpenAI's clients read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from inference import failures
from inference.failures import Failure


class ApiError(Exception):
    """`code` for programs, `message` for people. `retry`: whether sending it again is harmless; the
    OpenAI clients obey (`x-should-retry`), so that nothing is charged twice behind anybody's back.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: int = 0,
        retry: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.retry = retry
        self.more = dict(more or {})

    @property
    def document(self) -> dict[str, Any]:
        kind = _KINDS.get(self.status, "api_error" if self.status >= 500 else _USUAL)
        error = {"message": self.message, "type": kind, "param": None, "code": self.code}
        return {"error": {**error, **self.more}}

    @property
    def body(self) -> bytes:
        return orjson.dumps(self.document)

    @property
    def headers(self) -> dict[str, str]:
        headers = {"x-should-retry": "true" if self.retry else "false"}
        if self.retry_after:
            headers["retry-after"] = str(self.retry_after)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers


_USUAL = "invalid_request_error"
_KINDS = {
    401: "authentication_error",
    402: "insufficient_funds",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

#: Status and sentence of what a provider, or the way to it, can do instead of answering.
_FAILED: dict[failures.Kind, tuple[int, str]] = {
    "not_funded": (402, "Your balance at this provider does not cover its reserve and the request"),
    "key_rejected": (403, "The provider did not take your stored key; the next visit makes one"),
    "not_acknowledged": (403, "You have not accepted this provider's signing key"),
    "model_gone": (404, "The provider does not offer this model any more"),
    "too_long": (400, "The request is longer than the model takes"),
    "rate_limited": (429, "The provider's rate limit"),
    "busy": (503, "The provider answers too many requests at once"),
    "provider_error": (502, "The provider failed"),
    "refused": (400, "The provider refused the request"),
    "blocked_address": (502, "The provider's URL leads to an address this site does not ask"),
    "unreachable": (502, "The provider cannot be reached"),
    "slow_start": (504, "The provider did not begin to answer in time"),
    "stalled": (504, "The provider fell silent"),
    "cut_off": (502, "The provider's answer broke off"),
    "bad_answer": (502, "The provider's answer cannot be read"),
    "too_large": (502, "The provider's answer is larger than this site takes"),
    "interrupted": (503, "This site was interrupted"),
    "not_sent": (503, "This site was interrupted before it sent the request"),
}


def of_failure(failure: Failure) -> ApiError:
    """The error of a failed request; the provider's own sentence stands behind ours, marked."""
    status, sentence = _FAILED[failure.kind]
    said = f" It said: {failure.detail}" if failure.detail and failure.status else ""
    free = failure.kind in failures.NOT_CHARGED
    return ApiError(
        status,
        failure.kind,
        f"{sentence}.{said}",
        retry_after=failure.retry_after,
        retry=free and failure.kind in ("rate_limited", "busy", "unreachable"),
        more={"charged": "no" if free else "unknown until the provider settles"},
    )
