"""Python programs of the tests that start in milliseconds: forked from a process that has imported
already what they need, since the tests start hundreds and each import costs a processor second.

`PROVIDER.start("provider", "--config", path)` is `python -m provider --config path`, and
`SITE.run("manage", "check")` is `python manage.py check`: the program runs from its first line, in
a process of its own, with the environment, arguments and files given. All processes of a run of
the tests share one such server (`FORKS`, tests/environment.py).
Only modules that are the same whatever the environment says are shared: all of the provider's, and
of the site's what is not ours, since ours read the settings.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
#: Together with a program's arguments and environment, bytes.
LONGEST_REQUEST = 1 << 17


class Forked:
    """A started program: what the tests use of `subprocess.Popen`."""

    def __init__(self, pid: int, status: int, stdout: IO[str] | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._status = status
        self._reading = threading.Lock()
        weakref.finalize(self, os.close, status)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, negative for a signal. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            with self._reading:
                if self.returncode is None:  # no other thread was quicker
                    said = os.read(self._status, 16)
                    # Nothing said: the server is gone, and its children with it.
                    self.returncode = int(said or -signal.SIGKILL)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Server:
    """A process that has imported `modules`. It starts with the first program that any process of
    the run wants, and ends with the run; what a process started ends with that process."""

    def __init__(self, *modules: str) -> None:
        self.modules = modules
        self._line: socket.socket | None = None
        self._asking = threading.Lock()

    def start(
        self,
        *command: str,
        env: Mapping[str, str],
        stdout: int | IO[Any] = 1,
        stderr: int | IO[Any] = 2,
    ) -> Forked:
        """`python -m` `command` in the checkout, on our own streams unless others are named.
        `stdout` may be subprocess.PIPE, `stderr` then subprocess.STDOUT."""
        done, done_end = os.pipe()
        reader: IO[str] | None = None
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, done_end)
            null = stack.enter_context(Path(os.devnull).open("rb"))
            if stdout == subprocess.PIPE:
                ours, theirs = os.pipe()
                stack.callback(os.close, theirs)
                reader = os.fdopen(ours)
            else:
                theirs = _number(stdout)
            errors = theirs if stderr == subprocess.STDOUT else _number(stderr)
            files = [null.fileno(), theirs, errors, done_end]
            request = json.dumps({"command": command, "env": dict(env)}).encode()
            with self._asking:
                line = self._line or self._begin()
                socket.send_fds(line, [request], files)
                pid = int(line.recv(16))
        return Forked(pid, done, reader)

    def run(self, *command: str, env: Mapping[str, str]) -> tuple[int, str]:
        """The exit code of `python -m` `command` and all that it said."""
        process = self.start(*command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        with process.stdout as reader:
            said = reader.read()
        return process.wait(), said

    def _begin(self) -> socket.socket:
        run, folder = os.environ["FORKS"].split(":", 1)
        place = Path(folder, hashlib.sha256(" ".join(self.modules).encode()).hexdigest()[:8])
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with Path(folder, "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                self._listen(place, run)
        line.connect(str(place))
        self._line = line
        return line

    def _listen(self, place: Path, run: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.bind(str(place))
            door.listen()  # whoever calls is answered once all is imported
            subprocess.Popen(
                [sys.executable, "-m", __name__, str(door.fileno()), run, *self.modules],
                cwd=ROOT,
                env={**_without_settings(), "PYTHONUNBUFFERED": "1"},
                stdout=subprocess.DEVNULL,
                pass_fds=[door.fileno()],
                start_new_session=True,  # an interrupt of the tests is theirs to deal with
            )


def _without_settings() -> dict[str, str]:
    return {name: v for name, v in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}


def _number(file: int | IO[Any]) -> int:
    return file if isinstance(file, int) else file.fileno()


# --- in the server -------------------------------------------------------------------------------


def _serve(door: socket.socket, run: int) -> tuple[list[str], dict[str, str]]:
    """Fork whatever is asked for; returns in the child, with its command and environment."""
    lines: dict[int, socket.socket] = {}
    running: dict[int, tuple[int, int, int]] = {}  # by pidfd: pid, where its end is told, line
    watched = selectors.DefaultSelector()
    watched.register(door, selectors.EVENT_READ)
    watched.register(run, selectors.EVENT_READ)
    while True:
        for key, _ in watched.select():
            if key.fd in running:
                pid, done, _ = running.pop(key.fd)
                watched.unregister(key.fd)
                os.close(key.fd)
                _tell(done, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                continue
            if key.fd == run:
                _kill(running.values())
                sys.exit(0)
            if key.fileobj is door:
                line, _ = door.accept()
                lines[line.fileno()] = line
                watched.register(line, selectors.EVENT_READ)
                continue
            line = lines[key.fd]
            request, files = b"", list[int]()
            with contextlib.suppress(ConnectionError):
                request, files, *_ = socket.recv_fds(line, LONGEST_REQUEST, 4)
            if not request:  # its tests have ended: so does everything that they left running
                _kill(one for one in running.values() if one[2] == key.fd)
                watched.unregister(line)
                lines.pop(key.fd).close()
                continue
            pid = os.fork()
            if pid == 0:
                watched.close()
                door.close()
                for each in lines.values():
                    each.close()
                for watch, (_, done, _) in running.items():
                    os.close(watch)
                    os.close(done)
                os.close(run)
                _wear(files)
                asked = json.loads(request)
                return asked["command"], asked["env"]
            for number in files[:3]:
                os.close(number)
            watch = os.pidfd_open(pid)
            running[watch] = pid, files[3], key.fd
            watched.register(watch, selectors.EVENT_READ)
            with contextlib.suppress(ConnectionError):
                line.send(str(pid).encode())


def _tell(done: int, code: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(done, str(code).encode())
    os.close(done)


def _kill(running: Iterable[tuple[int, int, int]]) -> None:
    for pid, *_ in running:
        os.kill(pid, signal.SIGKILL)


def _wear(files: Sequence[int]) -> None:
    """The child's own streams."""
    for place, number in enumerate(files[:3]):
        os.dup2(number, place)
    for number in files:
        os.close(number)


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as door:
        door.set_inheritable(False)
        run = os.pidfd_open(int(sys.argv[2]))
        for module in sys.argv[3:]:
            importlib.import_module(module)
        gc.freeze()
        (module, *arguments), env = _serve(door, run)
    os.environ.clear()
    os.environ.update(env)
    if "TZ" in env:
        time.tzset()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


#: Not what reads Django's settings when it is imported.
_LIBRARIES = """
    aiohttp celery.app.amqp celery.app.base celery.signals channels.layers channels.routing
    channels_redis.pubsub coincurve Crypto.Hash.keccak cryptography.x509.ocsp
    django.contrib.admin.options django.contrib.postgres.indexes django.contrib.postgres.search
    django.core.cache.backends.redis django.core.management django.core.serializers.json
    django.db.backends.postgresql.base django.db.migrations.operations
    django.template.defaultfilters django.test.client django.urls django.views.generic
    eth_abi.abi eth_account eth_utils jwt kombu.transport.redis lxml.etree markdown_it orjson
    PIL.Image PIL.ImageDraw PIL.ImageFont PIL.ImageOps prometheus_client psutil psycopg
    psycopg_pool pydantic pygments.lexers redis.asyncio requests uvicorn.lifespan.on
    uvicorn.main uvicorn.protocols.http.auto uvicorn.protocols.websockets.websockets_sansio_impl
    websockets.asyncio.client yaml
"""
SITE = Server(*_LIBRARIES.split())
_PROVIDERS = "provider.serve provider.tuning.serve provider.tuning.options devnet.storage.node"
PROVIDER = Server(*_PROVIDERS.split())

if __name__ == "__main__":
    main()
