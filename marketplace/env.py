"""Reading the environment: a wrong value stops the start with one line that names the variable and
the fix."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


class Env:
    """Typed access to environment variables; `NAME_FILE` may hold a path to a file with the value
    instead."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values = os.environ if values is None else values

    def text(self, name: str, default: str = "") -> str:
        path = self.values.get(f"{name}_FILE")
        if path:
            try:
                return Path(path).read_text().strip()
            except OSError as error:
                raise ImproperlyConfigured(
                    f"{name}_FILE: cannot read the file it names ({error.strerror}); "
                    "fix the path or unset it"
                ) from None
        return self.values.get(name, "").strip() or default

    def integer(self, name: str, default: int, *, least: int = 0) -> int:
        raw = self.text(name)
        if not raw:
            return default
        if not re.fullmatch(r"\d{1,18}", raw) or int(raw) < least:
            raise ImproperlyConfigured(
                f"{name}={raw!r} is not a whole number of at least {least}; fix or unset it"
            )
        return int(raw)

    def boolean(self, name: str, default: bool = False) -> bool:
        raw = self.text(name).lower()
        if not raw:
            return default
        if raw in ("1", "true", "yes", "on"):
            return True
        if raw in ("0", "false", "no", "off"):
            return False
        raise ImproperlyConfigured(f"{name}={raw!r} is not a yes/no value; use 1 or 0")

    def items(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        raw = self.text(name)
        return tuple(part.strip() for part in raw.split(",") if part.strip()) or default

    def choice(self, name: str, options: tuple[str, ...], default: str) -> str:
        value = self.text(name, default)
        if value not in options:
            raise ImproperlyConfigured(
                f"{name}={value!r} is unknown; use one of: {', '.join(options)}"
            )
        return value

    def address(self, name: str, default: str = "") -> str:
        from eth_utils.address import is_address, to_checksum_address

        value = self.text(name, default)
        if not value:
            return ""
        if not is_address(value):
            raise ImproperlyConfigured(
                f"{name}={value!r} is not an address; use 0x and 40 hex digits"
            )
        return to_checksum_address(value)

    def urls(
        self, name: str, default: tuple[str, ...] = (), *, kinds: str = "http"
    ) -> tuple[str, ...]:
        """`kinds`: `http`, or `http|ws` where websocket URLs may stand among them."""
        values = self.items(name, default)
        for value in values:
            if not re.match(rf"(?:{kinds})s?://[^\s/]+", value):
                wanted = kinds.replace("|", "(s) or ")
                raise ImproperlyConfigured(f"{name}: {value!r} is not an {wanted}(s) URL; fix it")
        return values
