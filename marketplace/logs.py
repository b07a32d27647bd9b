"""Log lines: each with the id of its request (or task), none with a secret; as text or as JSON.

`LOG_FORMAT=json` writes one JSON object a line, for collectors, and one line per request: the
route's pattern instead of its path, because paths name people's addresses.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from contextvars import ContextVar
from typing import Any

from marketplace import scrub

#: What is being worked on: a request's id, `task:<id>`; "-" outside of both.
current: ContextVar[str] = ContextVar("request_id", default="-")
requests = logging.getLogger("site.requests")

#: Attributes every record has; others came with `extra=`.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {
    *("message", "asctime", "request_id"),
    "color_message",  # uvicorn: the message again, with a terminal's orders
}


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(10, 32), *range(127, 160))}
#: JSON escapes the others itself.
_TERMINALS = {code: f"\\u{code:04x}" for code in range(127, 160)}


def _beside(record: logging.LogRecord) -> dict[str, str | float | None]:
    """What `extra=` brought. Objects (Django adds the whole request) would say more than anybody
    asked for."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _USUAL and (value is None or isinstance(value, str | int | float))
    }


class WithRequest(logging.Filter):
    """Puts the id on every record that passes a handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        given = record.__dict__.get("request_id")
        record.request_id = given if isinstance(given, str) and given else current.get()
        return True


class Line(logging.Formatter):
    """Text for people; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub.text(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        """One line whatever a stranger's words hold: no second line, no terminal's orders. What
        `extra=` brought follows the message: `waiting for the node (error: HTTP 502)`."""
        beside = ", ".join(f"{name}: {value}" for name, value in _beside(record).items())
        line = super().formatMessage(record) + (f" ({beside})" if beside else "")
        return line.translate(_CONTROLS)

    def formatException(self, ei: Any) -> str:
        """Indented: what an exception quotes of a stranger is taken for no line of ours."""
        found = super().formatException(ei).split("\n")
        return "\n".join(f"  {line.translate(_CONTROLS)}" for line in found)


class Json(logging.Formatter):
    """`{time, level, logger, request_id, message, …}`; what `extra=` brought stands beside."""

    def format(self, record: logging.LogRecord) -> str:
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": record.__dict__.get("request_id", "-"),
            "message": scrub.text(record.getMessage()),
        }
        for name, value in _beside(record).items():
            line.setdefault(name, scrub.text(value) if isinstance(value, str) else value)
        if record.exc_info:
            line["exception"] = scrub.text(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = scrub.text(self.formatStack(record.stack_info))
        return json.dumps(line, ensure_ascii=False).translate(_TERMINALS)


def configuration(kind: str, level: str) -> dict[str, Any]:
    """Django's LOGGING; `kind` is `text` or `json`."""
    formatters: dict[str, Any] = {
        "text": {
            "()": "marketplace.logs.Line",
            "format": "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s",
        },
        "json": {"()": "marketplace.logs.Json"},
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request": {"()": "marketplace.logs.WithRequest"}},
        "formatters": formatters,
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": kind,
                "filters": ["request"],
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django.request": {"level": "ERROR"},
            "aiohttp.access": {"level": "WARNING"},
            "psycopg.pool": {"level": "ERROR"},  # its warnings repeat what the error says
            "site.requests": {"level": "INFO" if kind == "json" else "WARNING"},
            # The server's own lines take our shape, too; it brought handlers of its own.
            "uvicorn": {"handlers": [], "propagate": True},
            "uvicorn.error": {"handlers": [], "propagate": True},
            # Its line per request has whole paths and no id: for whoever looks for a fault.
            "uvicorn.access": {
                "handlers": [],
                "propagate": True,
                "level": "INFO" if level == "DEBUG" else "WARNING",
            },
        },
    }
