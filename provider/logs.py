"""Where the log goes, in which form, and how long it is kept."""

from __future__ import annotations

import json
import logging
import sys
from logging.handlers import RotatingFileHandler, WatchedFileHandler

from provider.errors import ConfigError
from provider.moments import iso
from provider.operating import LogChoice

_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}
TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object per line: at (ISO 8601, UTC), level, logger, message, and exception where
    there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class OneLine(logging.Formatter):
    """Text, with line breaks and other controls inside a message made visible: a stranger's string
    must not write lines of its own, nor speak to the terminal that shows it."""

    def format(self, record: logging.LogRecord) -> str:
        record.msg, record.args = record.getMessage().translate(_CONTROLS), ()
        return super().format(record)


def set_up(choice: LogChoice, *, verbose: bool = False) -> None:
    """Log as the operator chose; `verbose` tells at least what is done. Raises ConfigError for a
    file that cannot be written."""
    level = getattr(logging, choice.level.upper())
    if verbose:
        level = min(level, logging.INFO)
    handler = _handler(choice)
    handler.setFormatter(JsonLines() if choice.format == "json" else OneLine(TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _handler(choice: LogChoice) -> logging.Handler:
    if choice.file is None:
        return logging.StreamHandler(sys.stderr)
    try:
        choice.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not choice.max_bytes:  # logrotate puts it aside, and we follow
            return WatchedFileHandler(choice.file, encoding="utf-8")
        return RotatingFileHandler(
            choice.file, maxBytes=choice.max_bytes, backupCount=choice.files, encoding="utf-8"
        )
    except OSError as error:
        raise ConfigError(f"log.file: cannot be written ({error.strerror})") from error
