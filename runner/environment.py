"""`.env` files and the secrets of a self-hosted site."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from runner.tree import ROOT, Stop


def dotenv() -> dict[str, str]:
    """`NAME=value` lines of `.env`; quotes around a value are taken off, `#` starts a comment
    line. Raises Stop for other lines."""
    values: dict[str, str] = {}
    path = ROOT / ".env"
    if not path.exists():
        return values
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        if not equals or not name.strip().isidentifier():
            raise Stop(f"configuration: .env line {number}: write NAME=value", code=2)
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[name.strip()] = value
    return values


def variables() -> tuple[str, ...]:
    """Every variable that the site reads (`.env.example`), each also as a file's."""
    names = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.M)
    return (*names, *(f"{name}_FILE" for name in names))


def port_of(env: Mapping[str, str], default: int) -> int:
    """PORT: where the site listens, unless it is taken. Raises Stop for what is no port."""
    raw = env.get("PORT") or str(default)
    if not raw.isdecimal() or not 0 < int(raw) < 2**16:
        raise Stop(f"configuration: PORT={raw!r} is no port; use a number up to 65535", code=2)
    return int(raw)


def secrets_of(folder: Path) -> dict[str, str]:
    """SECRET_KEY and FIELD_KEYS of this installation: made once, kept readable by the owner
    only. Raises Stop where they cannot be read."""
    path = folder / "secrets.json"
    if not path.exists():
        _make_secrets(path)
    try:
        content = json.loads(path.read_text())
        return {str(key): str(value) for key, value in content.items()}
    except (OSError, ValueError, AttributeError):
        raise Stop(
            f"configuration: {path} cannot be read; bring it back from your backup, since what is "
            "stored encrypted opens with its FIELD_KEYS alone",
            code=2,
        ) from None


def _make_secrets(path: Path) -> None:
    """Whole or not at all: a file that a full disk or a kill left empty would never be made
    again. Of two that start at once the second finds what the first one made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / "secrets.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        values = {
            "SECRET_KEY": secrets.token_urlsafe(64),
            "FIELD_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        with part.open("w") as file:
            json.dump(values, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
