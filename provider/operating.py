"""The sections of the operator's file about operating a broker: its own door, and its log."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from provider.section import Section

LOG_LEVELS = ("warning", "info", "debug", "error")
LOG_FORMATS = ("text", "json")
MIN_TOKEN_CHARS = 16


@dataclass(frozen=True)
class AdminChoice:
    """The operator's own door, on loopback only; `token` "" means one kept in the state folder."""

    host: str
    port: int
    token: str


@dataclass(frozen=True)
class LogChoice:
    """What is logged and where: `file` None means standard error. A file of `max_bytes` is put
    aside, and the newest `files` of them are kept; 0 leaves that to others."""

    level: str = "warning"
    format: str = "text"
    file: Path | None = None
    max_bytes: int = 10 * 1024 * 1024
    files: int = 5


def admin_choice(section: Section) -> AdminChoice:
    """The section `admin`. Raises ConfigError."""
    admin = AdminChoice(
        host=section.text("host", "127.0.0.1"),
        port=section.integer("port"),
        token=section.secret("token"),
    )
    try:
        if not ip_address(admin.host).is_loopback:
            raise ValueError(admin.host)
    except ValueError as error:
        raise section.fail("host", "expected a loopback address, 127.0.0.1 or ::1") from error
    if admin.token and len(admin.token) < MIN_TOKEN_CHARS:
        raise section.fail("token", f"expected at least {MIN_TOKEN_CHARS} characters")
    section.done()
    return admin


def log_choice(section: Section) -> LogChoice:
    """The section `log`, which both kinds of broker have. Raises ConfigError."""
    file = section.text("file", "", "path")
    choice = LogChoice(
        level=section.choice("level", LOG_LEVELS),
        format=section.choice("format", LOG_FORMATS),
        file=section.folder / file if file else None,
        max_bytes=section.integer("max_bytes", 10 * 1024 * 1024, "bytes"),
        files=section.integer("files", 5),
    )
    section.done()
    return choice
