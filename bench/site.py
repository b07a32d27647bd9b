"""The site's own processes, as `./run serve` starts them, on a benchmark's stores."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from runner.processes import free_port

#: An empty view behind all middleware.
EMPTY = "/healthz"


@contextmanager
def site(database: str, **changed: str) -> Iterator[int]:
    """uvicorn, one process; yields its port."""
    with served(database, **changed) as (port, _):
        yield port


@contextmanager
def served(database: str, **changed: str) -> Iterator[tuple[int, int]]:
    """The same; yields its port and its process id."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ["-m", "uvicorn", "marketplace.asgi:application", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--lifespan", "on", "--ws", "websockets-sansio"]
    command += ["--log-level", "error", "--no-access-log", "--no-proxy-headers"]
    given = {"DATABASE_URL": database, "DATABASE_POOL_SIZE": "4", "SITE_URL": url, **changed}
    with child(command, **given) as process:
        _until_up(process, port)
        yield port, process.pid


@contextmanager
def child(arguments: list[str], **changed: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process with these variables changed, ended at the end."""
    environment = {**os.environ, "LOG_LEVEL": "ERROR", **changed}
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _until_up(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 180  # a busy machine is slow, not broken
    while time.monotonic() < deadline and process.poll() is None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            link.request("GET", EMPTY)
            if link.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            link.close()
    raise RuntimeError("the site did not start")
