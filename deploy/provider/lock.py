"""`python deploy/provider/lock.py > deploy/provider/requirements.lock`: the part of the project's
lock that a broker needs, with its hashes, so that the image holds nothing of the site."""

from __future__ import annotations

import re
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
#: What provider/ and protocol/ import, as their distributions are called.
NEEDED = (
    "aiohttp",
    "coincurve",
    "cryptography",
    "eth-abi",
    "eth-account",
    "eth-hash[pycryptodome]",
    "eth-utils",
    "orjson",
    "prometheus-client",
    "pyyaml",
    "rlp",
    "uvicorn[standard]",
)


def closure() -> set[str]:
    """Every distribution that NEEDED needs, by canonical name, as installed here."""
    found: set[tuple[str, str]] = set()
    todo = [Requirement(text) for text in NEEDED]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        extras = {"", *wanted.extras}
        new = {(name, extra) for extra in extras} - found
        if not new:
            continue
        found |= new
        for text in requires(wanted.name) or ():
            needed = Requirement(text)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for _, extra in new):
                todo.append(needed)
    return {name for name, _ in found}


def entries() -> dict[str, str]:
    """The project's lock by canonical name: each requirement with its lines of hashes."""
    text = (ROOT / "requirements.lock").read_text()
    parts = re.findall(r"^[A-Za-z0-9].*(?:\n[ \t].*)*", text, re.MULTILINE)
    return {canonicalize_name(re.split(r"[\[=;@ ]", part, maxsplit=1)[0]): part for part in parts}


def lock() -> str:
    """The file's text."""
    known = entries()
    lines = [re.sub(r"\n\s+# .*", "", known[name]) for name in sorted(closure())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(lock())
