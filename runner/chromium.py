"""Where the browser of tests and pictures is. Standard library only: `run` asks as well."""

from __future__ import annotations

import os
from pathlib import Path

#: Best its headless shell: the same engine without what windows need, for two thirds of the
#: processor time.
PLACES = ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium", "/usr/bin/google-chrome")


def found() -> str:
    """The path of CHROMIUM, else of one that the system has, else ""."""
    candidates = (os.environ.get("CHROMIUM", ""), *PLACES)
    return next((each for each in candidates if each and Path(each).exists()), "")


def chromium() -> str:
    """`found`. Raises RuntimeError where there is none."""
    if path := found():
        return path
    raise RuntimeError("no Chromium: ./run test installs it, or set CHROMIUM to its path")
