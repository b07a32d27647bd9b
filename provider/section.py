"""One mapping of the operator's file: takes settings out, checks them, and complains about what is
left."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from protocol.abi import checksum
from protocol.digests import address_of_key
from provider.errors import ConfigError

_HEX32 = re.compile(r"(0x)?[0-9a-fA-F]{64}\Z")


class Section:
    """One mapping of the file; takes keys out and complains about what is left."""

    def __init__(self, name: str, raw: object, folder: Path) -> None:
        if not isinstance(raw, Mapping):
            raise ConfigError(f"{name}: expected a mapping")
        self.name = name
        self.folder = folder
        self._left: dict[str, Any] = {str(key): value for key, value in raw.items()}

    def _where(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def fail(self, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self._where(key)}: {problem}")

    def has(self, key: str) -> bool:
        return key in self._left

    def take(self, key: str, default: Any = None) -> Any:
        return self._left.pop(key, default)

    def text(self, key: str, default: str | None = None) -> str:
        value = self.take(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.fail(key, "expected a text")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.take(key, default)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if type(value) is not int or value < 0:
            raise self.fail(key, "expected a whole number, zero or more")
        return value

    def seconds(self, key: str, default: float) -> float:
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self.fail(key, "expected a number of seconds above zero")
        return float(value)

    def choice(self, key: str, words: tuple[str, ...]) -> str:
        """One of `words`, the first of them by default."""
        value = self.text(key, words[0])
        if value not in words:
            raise self.fail(key, f"expected one of {', '.join(words)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, "expected true or false")
        return value

    def url(self, key: str, default: str | None = None) -> str:
        value = self.text(key, default).rstrip("/")
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self.fail(key, "expected an http or https URL")
        return value

    def address(self, key: str) -> str:
        try:
            return checksum(self.text(key))
        except ValueError as error:
            raise self.fail(key, "expected a 0x address of 40 hex digits") from error

    def secret(self, key: str) -> str:
        """The value of `key`, `key_file` or `key_env`; "" where none is given."""
        given = [name for name in (key, f"{key}_file", f"{key}_env") if name in self._left]
        if len(given) > 1:
            raise self.fail(key, f"given twice, as {' and '.join(given)}")
        if not given:
            return ""
        value = self.text(given[0], "")
        if given[0].endswith("_file"):
            try:
                return (self.folder / value).read_text().strip()
            except OSError as error:
                raise self.fail(given[0], f"cannot be read ({error.strerror})") from error
        if given[0].endswith("_env"):
            if not os.environ.get(value):
                raise self.fail(given[0], f"the environment variable {value} is not set")
            return os.environ[value].strip()
        return value

    def private_key(self, key: str) -> bytes | None:
        value = self.secret(key)
        if not value:
            return None
        try:
            if not _HEX32.match(value):
                raise ValueError("not 32 bytes of hex")
            raw = bytes.fromhex(value.removeprefix("0x"))
            address_of_key(raw)
        except ValueError as error:  # never repeat the value: it is a secret
            raise self.fail(key, "expected a private key of 64 hex digits") from error
        return raw

    def section(self, key: str, *, required: bool = False) -> Section:
        if required and key not in self._left:
            raise self.fail(key, "is missing")
        return Section(self._where(key), self.take(key, {}), self.folder)

    def done(self) -> None:
        if self._left:
            raise self.fail(min(self._left), "unknown setting")
