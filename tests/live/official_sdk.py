"""The official client, installed from npm as anybody would, and our broker to point it at."""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.forks import PROVIDER, Forked

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "@0gfoundation/0g-compute-ts-sdk"
VERSION = "0.9.0"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def install() -> Path:
    """The CLI's entry file. Installed once (184 MB, about 20 s) and kept under `.data/sdk`."""
    folder = ROOT / ".data" / "sdk"
    if not _is_installed(folder):
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError("npm is missing: install Node.js 20 or newer")
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="sdk-", dir=folder.parent))
        # What npm knows of a package already is believed: asking anew takes a third of the time.
        known = ("--prefer-offline", "--no-package-lock")
        options = ("--no-audit", "--no-fund", "--ignore-scripts", *known)
        command = [npm, "install", *options, "--prefix", str(fresh), f"{PACKAGE}@{VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if not _is_installed(fresh):
            shutil.rmtree(fresh, ignore_errors=True)
            raise RuntimeError(f"npm could not install {PACKAGE}@{VERSION}: {done.stderr[-800:]}")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return folder / "node_modules" / PACKAGE / "cli.commonjs" / "cli" / "index.js"


def _is_installed(folder: Path) -> bool:
    """npm unpacks first and links last, so the lock file it writes at the end is the proof."""
    manifest = folder / "node_modules" / PACKAGE / "package.json"
    complete = (folder / "node_modules" / ".package-lock.json").exists()
    return complete and manifest.exists() and json.loads(manifest.read_text())["version"] == VERSION


@dataclass(frozen=True)
class Cli:
    """The official CLI for one wallet. It is never asked for its exit code: that is 0 even where it
    did nothing (provider-protocol.md 10, trap 29)."""

    entry: Path
    home: Path
    rpc: str

    @classmethod
    def of(cls, entry: Path, home: Path, rpc: str, private_key: str) -> Cli:
        settings = home / ".0g-compute-cli" / "config.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps({"privateKey": private_key}))
        return cls(entry, home, rpc)

    def __call__(self, *arguments: str) -> str:
        """What the command printed, without colours."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "ZG_RPC_ENDPOINT": self.rpc,
            "NO_UPDATE_NOTIFIER": "1",
        }
        done = subprocess.run(
            ["node", str(self.entry), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.home,
            env=environment,
            timeout=60,
            check=False,
        )
        return _COLOUR.sub("", done.stdout.decode(errors="replace"))


@contextmanager
def python(module: str, *arguments: str, log: Path, ready: str) -> Iterator[Sequence[str]]:
    """A program of ours as a child process; yields the words of its READY line."""
    with log.open("wb") as errors:
        process = PROVIDER.start(
            module, *arguments, env=os.environ, stdout=subprocess.PIPE, stderr=errors
        )
    try:
        yield _ready(process, ready, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(process: Forked, word: str, log: Path) -> Sequence[str]:
    assert process.stdout is not None
    with selectors.DefaultSelector() as watch:
        watch.register(process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and watch.select(deadline - time.monotonic()):
            line = process.stdout.readline()
            if not line:
                break
            if line.startswith(word):
                return line.split()
    raise RuntimeError(f"{word} did not appear: {log.read_text()[-800:]}")
