"""Failures to Sentry, where SENTRY_DSN names one: what failed and where, never for whom or about
what.

Requests, users, local variables, breadcrumbs and server names stay here; sentences are scrubbed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marketplace import scrub

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

#: What of an event may leave as it is: made by the SDK from code and configuration.
_KEPT = (
    *("event_id", "timestamp", "platform", "level", "logger", "environment", "release", "sdk"),
    "type",
)
#: Names of a transaction that come from code; others are paths, which name people's addresses.
_NAMED_BY_CODE = frozenset({"route", "view", "component", "task"})
#: Of a stack frame: code, not data.
_FRAME = ("filename", "module", "function", "lineno", "in_app", "context_line")


def start(dsn: str, environment: str) -> None:
    """Send unhandled exceptions and logged errors from now on. Raises BadDsn."""
    import sentry_sdk

    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        traces_sample_rate=0.0,
        server_name="",
        before_send=clean,
    )


def clean(event: Event, hint: Hint | None = None) -> Event:
    """The event as it may leave. Built anew from what is known to be harmless, so that what a later
    SDK adds stays here."""
    given: dict[str, Any] = dict(event)
    out: dict[str, Any] = {name: given[name] for name in _KEPT if name in given}
    if (given.get("transaction_info") or {}).get("source") in _NAMED_BY_CODE:
        out["transaction"] = given.get("transaction", "")
    if given.get("message"):
        out["message"] = scrub.outside(str(given["message"]))
    entry = given.get("logentry") or {}
    # The pattern of a log line is code; what was filled in is not.
    if pattern := entry.get("message"):
        out["logentry"] = {"message": scrub.outside(str(pattern))}
    values = (given.get("exception") or {}).get("values") or []
    if values:
        out["exception"] = {"values": [_exception(value) for value in values]}
    method = (given.get("request") or {}).get("method")
    if method:
        out["request"] = {"method": method}
    if identifier := _request_id():
        out["tags"] = {"request_id": identifier}
    return out  # type: ignore[return-value]


def _exception(value: dict[str, Any]) -> dict[str, Any]:
    frames = (value.get("stacktrace") or {}).get("frames") or []
    kept = [{name: frame[name] for name in _FRAME if name in frame} for frame in frames]
    return {
        "type": value.get("type"),
        "module": value.get("module"),
        "value": scrub.outside(str(value.get("value") or "")),
        "stacktrace": {"frames": kept},
    }


def _request_id() -> str:
    from marketplace import logs

    found = logs.current.get()
    return "" if found == "-" else found
