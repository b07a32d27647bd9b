"""One mapping of the operator's file: takes settings out, checks them, and complains about what is
left."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from protocol.abi import checksum
from protocol.digests import address_of_key
from provider.errors import ConfigError
from provider.keyfiles import is_keystore, open_keystore

Word = TypeVar("Word", bound=str)
_HEX32 = re.compile(r"(0x)?[0-9a-fA-F]{64}\Z")


@dataclass(frozen=True)
class Setting:
    """A key that a file may have: `kind` says what is expected, `default` None that it is
    required."""

    path: str
    kind: str
    default: str | None


@dataclass(frozen=True)
class SecretPlace:
    """Where a secret was found: in `file`, or with None in the environment. `inline`: the file is
    the configuration itself, whose name only its reader knows."""

    key: str
    file: Path | None
    inline: bool = False


@dataclass
class Notes:
    """What was asked for while a file was read, all sections together."""

    settings: list[Setting] = field(default_factory=list)
    secrets: list[SecretPlace] = field(default_factory=list)


class Section:
    """One mapping of the file; takes keys out and complains about what is left."""

    def __init__(self, name: str, raw: object, folder: Path, notes: Notes | None = None) -> None:
        if not isinstance(raw, Mapping):
            raise ConfigError(f"{name}: expected a mapping", name)
        self.name = name
        self.folder = folder
        self.notes = notes or Notes()
        self._left: dict[str, Any] = {str(key): value for key, value in raw.items()}
        self._asked: set[str] = set()

    def _where(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def fail(self, key: str, problem: str) -> ConfigError:
        where = self._where(key)
        return ConfigError(f"{where}: {problem}", where)

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._left

    def take(self, key: str, default: Any = None) -> Any:
        self._asked.add(key)
        return self._left.pop(key, default)

    def note(self, key: str, kind: str, default: object) -> None:
        """Remember that this key was asked for."""
        if default is not None:
            default = str(default).lower() if isinstance(default, bool) else str(default)
        self.notes.settings.append(Setting(self._where(key), kind, default))

    def text(self, key: str, default: str | None = None, kind: str = "text") -> str:
        self.note(key, kind, default)
        value = self.take(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.fail(key, "expected a text")
        return value

    def integer(self, key: str, default: int | None = None, kind: str = "number") -> int:
        self.note(key, kind, default)
        value = self.take(key, default)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 79:
            value = int(value)
        if type(value) is not int or not 0 <= value < 2**256:
            raise self.fail(key, "expected a whole number, zero or more, of at most 256 bits")
        return value

    def optional_integer(self, key: str) -> int | None:
        """None where the key is absent."""
        present = self.has(key)
        value = self.integer(key, 0)
        self.notes.settings[-1] = Setting(self._where(key), "number", "")
        return value if present else None

    def optional_url(self, key: str) -> str | None:
        """None where the key is absent."""
        if self.has(key):
            return self.url(key, "")
        self.note(key, "URL", "")
        return None

    def neuron(self, key: str, default: int | None = None) -> int:
        """An amount of money."""
        return self.integer(key, default, "neuron")

    def seconds(self, key: str, default: float) -> float:
        self.note(key, "seconds", default)
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**31:
            raise self.fail(key, "expected a number of seconds, above zero and below 2^31")
        return float(value)

    def choice(self, key: str, words: tuple[Word, ...]) -> Word:
        """One of `words`, the first of them by default."""
        value = self.text(key, words[0], " or ".join(words))
        for word in words:
            if word == value:
                return word
        raise self.fail(key, f"expected one of {', '.join(words)}")

    def flag(self, key: str, default: bool) -> bool:
        self.note(key, "true or false", default)
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, "expected true or false")
        return value

    def url(self, key: str, default: str | None = None) -> str:
        value = self.text(key, default, "URL").rstrip("/")
        try:
            parts = urlsplit(value)
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
                return value
        except ValueError:  # brackets that do not match, a port beyond the last
            pass
        raise self.fail(key, "expected an http or https URL")

    def address(self, key: str) -> str:
        try:
            return checksum(self.text(key, None, "address"))
        except ValueError as error:
            raise self.fail(key, "expected a 0x address of 40 hex digits") from error

    def secret(self, key: str, kind: str = "secret") -> str:
        """The value of `key`, `key_file` or `key_env`; "" where none is given."""
        self.note(key, kind, "")
        names = (key, f"{key}_file", f"{key}_env")
        self._asked.update(names)
        given = [name for name in names if name in self._left]
        if len(given) > 1:
            raise self.fail(key, f"given twice, as {' and '.join(given)}")
        if not given:
            return ""
        value = self.text(given[0], "", "")
        self.notes.settings.pop()  # one key in three forms
        if given[0].endswith("_file"):
            path = self.folder / value
            self.notes.secrets.append(SecretPlace(self._where(given[0]), path))
            try:
                return path.read_text().strip()
            except OSError as error:
                raise self.fail(given[0], f"cannot be read ({error.strerror})") from error
            except UnicodeDecodeError as error:
                raise self.fail(given[0], "is not text") from error
        if given[0].endswith("_env"):
            if not os.environ.get(value):
                raise self.fail(given[0], f"the environment variable {value} is not set")
            self.notes.secrets.append(SecretPlace(self._where(given[0]), None))
            return os.environ[value].strip()
        if value:
            self.notes.secrets.append(SecretPlace(self._where(key), None, inline=True))
        return value

    def private_key(self, key: str) -> bytes | None:
        """32 bytes: hex digits, or an encrypted key file (JSON) and its password."""
        value = self.secret(key, "private key")
        password = self.secret(f"{key}_password")
        if not value:
            return None
        try:
            if is_keystore(value):
                raw = open_keystore(value, password, ask=self._where(key))
            elif _HEX32.match(value):
                raw = bytes.fromhex(value.removeprefix("0x"))
            else:
                raise self.fail(key, "expected a private key of 64 hex digits, or a key file")
            address_of_key(raw)
        except ConfigError as error:
            raise self.fail(key, error.args[0].removeprefix(f"{self._where(key)}: ")) from error
        except ValueError as error:  # never repeat the value: it is a secret
            raise self.fail(key, "expected a private key of 64 hex digits") from error
        return raw

    def needed_private_key(self, key: str) -> bytes:
        return self.private_key(key) or self._missing(key)

    def needed_secret(self, key: str) -> str:
        return self.secret(key) or self._missing(key)

    def _missing(self, key: str) -> NoReturn:
        raise self.fail(key, f"is missing (or give {key}_file or {key}_env)")

    def section(self, key: str, *, required: bool = False) -> Section:
        if required and not self.has(key):
            raise self.fail(key, "is missing")
        return Section(self._where(key), self.take(key, {}), self.folder, self.notes)

    def done(self) -> None:
        if self._left:
            key = min(self._left)
            near = get_close_matches(key, sorted(self._asked - self._left.keys()), 1, 0.75)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise self.fail(key, f"unknown setting{hint}")
