"""What a probe means. The rules are written for people in `docs/how-we-measure.md`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_noop as N_

#: Slower than this, an answer to the smallest question counts as degraded.
SLOW_MS = 5_000
#: `Probe.failure` in words, translated where shown. A down service has one of _DOWN.
FAILURES: dict[str, str] = {
    "unreachable": N_("No connection"),
    "tls": N_("The secure connection could not be made"),
    "timeout": N_("No answer in time"),
    "broken": N_("The connection ended before the answer did"),
    "error": N_("Its server reports an error"),
    "address": N_("Its URL leads to no public address"),
    "odd": N_("It answers, but not as the protocol says"),
    "model": N_("Its own list does not name the model on chain"),
    "slow": N_("It answers slowly"),
    "speed": N_("It did not answer a small question"),
}
_DOWN = frozenset({"unreachable", "tls", "timeout", "broken", "error", "address"})
#: Nobody said a word: that happens to everybody at once where our own line is broken.
MUTE = frozenset({"unreachable", "timeout", "address"})


@dataclass(frozen=True)
class Listed:
    """The answer to "which models do you serve?"; `failure` is "" where it is as it should be.

    `model_listed`: whether the list names the model on chain; None where none was to be named.
    """

    failure: str = ""
    status: int = 0
    answer_ms: int | None = None
    model_listed: bool | None = None
    tls_days: int | None = None


@dataclass(frozen=True)
class Spoken:
    """The answer to a small question; None where it was not measured or cannot be. `refused`: the
    status of an answer that says nothing about speed: it wants a key, an account, a pause."""

    failed: bool = False
    refused: int | None = None
    first_token_ms: int | None = None
    tokens: int | None = None
    stream_ms: int | None = None
    usage_last: bool | None = None


def judged(listed: Listed, spoken: Spoken | None) -> tuple[str, str]:
    """State and failure of a probe: `("up", "")`, else a word of FAILURES beside it."""
    if listed.failure in _DOWN:
        return "down", listed.failure
    if listed.failure:
        return "degraded", listed.failure
    if listed.model_listed is False:
        return "degraded", "model"
    if spoken is not None and spoken.failed:
        return "degraded", "speed"
    if listed.answer_ms is not None and listed.answer_ms > SLOW_MS:
        return "degraded", "slow"
    return "up", ""


def names_model(document: Any, model: str) -> bool | None:
    """Whether `{"data": [{"id"}]}` (provider-protocol.md 1.7) names `model` in any case.

    None where the document is no such list.
    """
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        return None
    wanted = model.strip().casefold()
    names = (entry.get("id") for entry in data if isinstance(entry, dict))
    return any(isinstance(name, str) and name.strip().casefold() == wanted for name in names)


def allows_browser(origin: str, allowed: str, methods: str, headers: str) -> bool:
    """Whether a preflight's answer lets pages of `origin` POST with a key (Fetch standard)."""
    names = {name.strip().lower() for name in headers.split(",")}
    verbs = {verb.strip().upper() for verb in methods.split(",")}
    # With credentials a star stands for itself; the chat sends none, so it counts.
    origin_allowed = allowed in (origin, "*")
    # `Authorization` has to be named: a star does not cover it.
    return (
        origin_allowed
        and ("POST" in verbs or "*" in verbs)
        and "authorization" in names
        and ("content-type" in names or "*" in names)
    )
