"""Starts and stops anvil as the devnet uses it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import requests

from devnet.rpc import Rpc, RpcError
from runner.processes import die_with_parent

CHAIN_ID = 31337
START_SECONDS = 15
ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
# A block per second even when idle, at once when there is a transaction, final two blocks later.
DEVNET_ARGS = ("--block-time", "1", "--mixed-mining", "--slots-in-an-epoch", "1")
_LISTENING = re.compile(r"^Listening on 127\.0\.0\.1:(\d+)\s*$", re.MULTILINE)


class AnvilError(Exception):
    """anvil is missing or did not start; the message says what to do."""


def find_anvil() -> Path:
    """The binary of `ANVIL`, of our node_modules, or of PATH. Raises AnvilError."""
    for candidate in (os.environ.get("ANVIL"), str(BINARY), shutil.which("anvil")):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    raise AnvilError(
        "anvil not found: npm leaves it out where Node.js is older than 20 (update it, delete "
        "node_modules, start again) or the machine is no x86-64 (set ANVIL to its path)"
    )


class Anvil:
    """A chain that lives as long as this object: `with Anvil() as node: node.url`.

    The kernel also ends it when the thread that started it ends, so start it in a thread that
    stays (the main one). `port` None lets the kernel choose; `args` replaces the devnet's own.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        args: Sequence[str] = DEVNET_ARGS,
        chain_id: int = CHAIN_ID,
    ) -> None:
        self.chain_id = chain_id
        self._port = port
        self._options = ("--accounts", "20", "--chain-id", str(chain_id), *args)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self.url = ""
        self.port = 0

    def __enter__(self) -> Anvil:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def rpc(self) -> Rpc:
        return Rpc(self.url)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise AnvilError("anvil is not running")
        return self._process.pid

    def start(self) -> Anvil:
        """Returns when the node answers. Raises AnvilError with its last words otherwise."""
        binary = find_anvil()
        self._folder = Path(tempfile.mkdtemp(prefix="zgm-anvil-"))
        command = [str(binary), "--host", "127.0.0.1", "--port", str(self._port or 0)]
        # States of old blocks, up to gigabytes: with the log, so that they go with it.
        command += ["--cache-path", str(self._folder / "states")]
        with (self._folder / "anvil.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        try:
            self.port = self._wait_for_port()
            self.url = f"http://127.0.0.1:{self.port}"
            self._wait_for_answer()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Idempotent; waits until the process is gone."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _log(self) -> str:
        assert self._folder is not None
        with contextlib.suppress(OSError):
            return (self._folder / "anvil.log").read_text(errors="replace")
        return ""

    def _check_alive(self, deadline: float) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise AnvilError(f"anvil ended with code {code}: {self._log()[-400:].strip()}")
        if time.monotonic() > deadline:
            raise AnvilError(f"anvil did not start within {START_SECONDS} s")

    def _wait_for_port(self) -> int:
        """From the log: asking for port 0 and reading the answer leaves no gap for a rival."""
        deadline = time.monotonic() + START_SECONDS
        while not (match := _LISTENING.search(self._log())):
            self._check_alive(deadline)
            time.sleep(0.005)
        return int(match[1])

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        rpc = Rpc(self.url, timeout=2)
        while True:
            try:
                # Otherwise the log grows with every request of a long-lived demo.
                rpc.call("anvil_setLoggingEnabled", False)
                found = int(rpc.call("eth_chainId"), 16)
                break
            except (requests.RequestException, RpcError):
                self._check_alive(deadline)
                time.sleep(0.01)
        rpc.close()
        if found != self.chain_id:
            raise AnvilError(f"{self.url} is chain {found}, not {self.chain_id}")
