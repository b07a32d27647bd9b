"""`.env` files and the secrets of a self-hosted site."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from runner.tree import ROOT, Stop


def dotenv(path: Path = ROOT / ".env") -> dict[str, str]:
    """`NAME=value` lines of a file; quotes around a value are taken off, `#` starts a comment
    line."""
    values: dict[str, str] = {}
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


def port_of(env: Mapping[str, str], default: int) -> int:
    """PORT: where the site listens, unless it is taken. Raises Stop for what is no port."""
    raw = env.get("PORT") or str(default)
    if not raw.isdecimal() or not 0 < int(raw) < 2**16:
        raise Stop(f"configuration: PORT={raw!r} is no port; use a number up to 65535", code=2)
    return int(raw)


def secrets_of(folder: Path) -> dict[str, str]:
    """SECRET_KEY and FIELD_KEYS of this installation: made once, kept readable by the owner
    only."""
    path = folder / "secrets.json"
    if path.exists():
        content = json.loads(path.read_text())
        return {str(key): str(value) for key, value in content.items()}
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "SECRET_KEY": secrets.token_urlsafe(64),
        "FIELD_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(values, file, indent=1)
    return values
