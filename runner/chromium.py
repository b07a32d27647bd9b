"""Where the browser of tests and pictures is."""

from __future__ import annotations

import os
from pathlib import Path


def chromium() -> str:
    """The path of CHROMIUM, else of one that the system has. Raises RuntimeError."""
    for candidate in (
        os.environ.get("CHROMIUM", ""),
        "/usr/bin/chromium-headless-shell",
        "/usr/bin/chromium",
        "/usr/bin/google-chrome",
    ):
        if candidate and Path(candidate).exists():
            return candidate
    raise RuntimeError("no Chromium: ./run test installs it, or set CHROMIUM to its path")
