"""Child processes that never outlive us: own session, parent-death signal, ordered stop."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def die_with_parent(sig: int = signal.SIGTERM, parent: int | None = None) -> Callable[[], None]:
    """A `preexec_fn` that has the kernel send `sig` to the child when the spawning *thread* ends.

    So spawn from a thread that lives on: the main one. `parent`: its process, where that is not
    the one that calls this.
    """
    parent = parent or os.getpid()

    def prctl() -> None:
        # Our own handler would take the signal and be gone with the program that has it.
        if sig != signal.SIGKILL:
            signal.signal(sig, signal.SIG_DFL)
        _libc.prctl(_PR_SET_PDEATHSIG, sig)
        if os.getppid() != parent:  # it has ended already: nobody is told
            os._exit(128 + sig)

    return prctl


#: Below those that the kernel gives to outgoing connections, which else take a port between its
#: choice and its server's start.
_PORTS = range(20_000, 32_000)
#: The ports this process chose last: as long as one is claimed here, under the same number of
#: another protocol, no other process of ours chooses it, though its server does not listen yet.
_claims: deque[socket.socket] = deque()
_MOST_CLAIMS = 64
#: What was asked to stop may take so long before it is killed.
STOP_SECONDS = 8


def free_port(preferred: int | None = None) -> int:
    """A TCP port on loopback that is free now: `preferred` where it is free, else any other.
    Raises OSError where there is none."""
    with _listening(preferred) as found:
        port: int = found.getsockname()[1]
        return port


def hold_port(preferred: int) -> socket.socket:
    """`free_port`, kept from others that look for one until the socket is closed: whoever starts a
    server there later closes it right before."""
    return _listening(preferred)


def _listening(preferred: int | None) -> socket.socket:
    others = (secrets.choice(_PORTS) for _ in _PORTS)
    for port in itertools.chain([preferred] if preferred else (), others):
        claim, probe = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
        # A server that has just ended leaves its port waiting; the next may have it. Of two that
        # bind the same port so, one can listen.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if port != preferred:
                claim.bind(("127.0.0.1", port))
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            probe.close()
            claim.close()
            continue
        _claims.append(claim)
        if len(_claims) > _MOST_CLAIMS:
            _claims.popleft().close()
        return probe
    raise OSError("no free port on loopback")


class Child:
    """One process in its own session; its output goes to a log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        cwd: Path,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    @property
    def code(self) -> int | None:
        return self.process.poll()

    def tail(self, lines: int = 15) -> str:
        """The last lines of the log, for an error message."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def terminate(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()

    def finish(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), then kill the whole session."""
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not stop in time; killing it", file=sys.stderr)
        # what it may have started itself
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def stop_all(children: Sequence[Child]) -> None:
    """Ask all to stop in reverse order of their start, wait together, kill what remains."""
    deadline = time.monotonic() + STOP_SECONDS
    for child in reversed(children):
        child.terminate()
    for child in reversed(children):
        child.finish(deadline)
