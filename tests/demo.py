"""A `./run demo` of this checkout as a subprocess, for tests that want the whole system."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent


def clean_environment(**extra: str) -> dict[str, str]:
    """The caller's environment without what the tests set for themselves."""
    from runner.environment import variables

    names = {*variables(), "DJANGO_SETTINGS_MODULE", "DJANGO_ALLOW_ASYNC_UNSAFE"}
    return {k: v for k, v in os.environ.items() if k not in names} | extra


class Demo:
    """A running `./run demo` with its output."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "run"), "demo"],
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ready(self) -> str:
        return self.until(r"^READY (http://127\.0\.0\.1:\d+)$")[1]

    def until(self, pattern: str, seconds: float = 300) -> re.Match[str]:
        """What it has printed, once that matches; the bound only ends a hopeless wait."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = re.search(pattern, self.text, re.MULTILINE)
            if found:
                return found
            assert self.process.poll() is None, self.text
            time.sleep(0.1)
        raise AssertionError(f"no {pattern!r} after {seconds} s:\n{self.text}\n{self._logs()}")

    def _logs(self) -> str:
        """The last words of each of its processes."""
        found = re.search(r"^Logs +(\S+)", self.text, re.MULTILINE)
        logs = sorted((ROOT / found[1]).glob("*.log")) if found else []
        ends = ((log.name, log.read_text(errors="replace")[-500:]) for log in logs)
        return "\n".join(f"{name}: {end}" for name, end in ends if end)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def tree(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def child(self, word: str) -> psutil.Process:
        """The one of its processes whose command has `word`, once it runs."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for one in self.tree():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if word in one.cmdline():
                        return one
            time.sleep(0.02)
        raise AssertionError(f"no {word} in:\n{self.text}")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def said(self, pattern: str) -> str:
        """The first group of `pattern` in the output."""
        found = re.search(pattern, self.text, re.MULTILINE)
        assert found, f"{pattern!r} is not in:\n{self.text}"
        return found[1]
