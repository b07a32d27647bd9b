"""One process tree: starts children in order, notices when one dies, ends all of them together."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from runner.postgres import EmbeddedPostgres, PostgresError
from runner.processes import Child, stop_all
from runner.valkey import EmbeddedValkey, ValkeyError

ROOT = Path(__file__).resolve().parent.parent
# The tests run beside whatever the developer runs, in folders of their own.
DATA = ROOT / (os.environ.get("RUN_DATA") or ".data")
RUN_FILE = DATA / "run.json"


#: `follow` stopped on a fact that must not be guessed (interfaces.md 1): not a crash. The site goes
#: on and says that its index stands still.
HALTED = 2
#: What was started may take so long before it answers.
READY_SECONDS = 60


class Stop(Exception):
    """The tree must end; `code` is the exit code and the text, if any, says why."""

    def __init__(self, text: str = "", code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """Say nothing of a Stop that is lost where none can be raised: `Tree.heed` does it again."""
    if not isinstance(lost.exc_value, Stop):
        sys.__unraisablehook__(lost)


class Tree:
    """The processes of one `demo`, `serve` or `exec`, with their common environment and data
    folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.env: dict[str, str] = dict(os.environ)
        self.children: list[Child] = []
        self.postgres: EmbeddedPostgres | None = None
        self.valkey: EmbeddedValkey | None = None
        self.started = float(os.environ.get("RUN_STARTED", time.time()))
        self._asked: Stop | None = None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        sys.unraisablehook = _unraisable

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A second signal while we are stopping must not interrupt the stopping.
        for again in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(again, signal.SIG_IGN)
        self._asked = Stop(code=0 if number == signal.SIGINT else 128 + number)
        raise self._asked

    def heed(self) -> None:
        """Raise the Stop of a signal that has arrived, once more: where the interpreter can raise
        nothing (between a fork's two sides, in a finalizer) the first is lost.
        """
        if self._asked is not None:
            raise self._asked

    def say(self, text: str) -> None:
        print(f"[{time.time() - self.started:5.1f} s] {text}", flush=True)

    def start_stores(self, *, durable: bool) -> None:
        """PostgreSQL and Valkey of our own, unless the environment names running ones."""
        try:
            if not self.env.get("REDIS_URL"):
                self.valkey = EmbeddedValkey(self.data / "valkey" if durable else None).start()
                self.env["REDIS_URL"] = self.valkey.url
            if not self.env.get("DATABASE_URL"):
                self.postgres = EmbeddedPostgres(self.data / "postgres", durable=durable).start()
                self.env["DATABASE_URL"] = self.postgres.dsn
        except (PostgresError, ValkeyError) as error:
            raise Stop(str(error)) from None

    def spawn(
        self,
        name: str,
        *command: str | Path,
        env: Mapping[str, str] | None = None,
    ) -> Child:
        logs = self.data / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        logs.chmod(0o700)  # they name wallets and network addresses
        child = Child(
            name,
            command,
            log=logs / f"{name}.log",
            env={**self.env, **(env or {})},
            cwd=ROOT,
        )
        self.children.append(child)
        return child

    def python(
        self, name: str, *arguments: str | Path, env: Mapping[str, str] | None = None
    ) -> Child:
        return self.spawn(name, sys.executable, *arguments, env=env)

    def ended(self, child: Child, what: str, seconds: float = 120) -> None:
        """Wait until a short-lived child has ended, well or not."""
        deadline = time.monotonic() + seconds
        while child.code is None:
            self.check(ignore=child)
            if time.monotonic() > deadline:
                raise Stop(f"{what} took longer than {seconds:.0f} s; see {self.shown(child.log)}")
            time.sleep(0.02)
        self.children.remove(child)

    def finished(self, child: Child, what: str, seconds: float = 120) -> None:
        """Wait until a short-lived child has ended well."""
        self.ended(child, what, seconds)
        if child.code != 0:
            last = child.tail()
            for line in reversed(last.splitlines()):
                # One line that names the variable and the fix.
                if line.startswith(("configuration: ", "database: ")):
                    raise Stop(line, code=2)
            raise Stop(f"{what} failed (exit code {child.code}):\n{last}")

    def check(self, ignore: Child | None = None) -> None:
        """Raise Stop when a child has died, or a signal has arrived."""
        self.heed()
        for child in self.children:
            if child is not ignore and child.code is not None:
                raise Stop(
                    f"{child.name} ended with exit code {child.code}; everything stops. "
                    f"Its last lines:\n{child.tail()}"
                )
        postgres = self.postgres and self.postgres.process
        valkey = self.valkey and self.valkey.process
        if postgres and postgres.poll() is not None:
            raise Stop("PostgreSQL died; everything stops")
        if valkey and valkey.poll() is not None:
            raise Stop("Valkey died; everything stops")

    def until(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                logs = self.shown(self.data / "logs")
                raise Stop(f"{what} did not get ready within {READY_SECONDS} s; see {logs}")
            time.sleep(0.05)

    def until_http(self, url: str) -> None:
        self.until(lambda: answers(url), "the site")

    def wait(self, short: Child | None = None) -> None:
        """Until a signal arrives, a child dies, or the `short`-lived one has ended, well or not.

        A follower that stopped by itself is let go.
        """
        while short is None or short.code is None:
            for child in [c for c in self.children if (c.name, c.code) == ("follow", HALTED)]:
                self.say(f"follow stopped; the site goes on and says so:\n{child.tail(3)}")
                self.children.remove(child)
            self.check(ignore=short)
            time.sleep(0.25)
        self.children.remove(short)

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stop_all(self.children)
        if self.postgres:
            self.postgres.stop()
        if self.valkey:
            self.valkey.stop()

    def announce(self, values: Mapping[str, object], names: Sequence[str]) -> None:
        """Write `.data/run.json`, so that `./run exec` finds us; `names` are variables to pass
        on. With a PostgreSQL of our own also where its programs are: another version's `pg_dump`
        refuses it."""
        if self._other_is_running():
            return
        content = {
            **values,
            "pid": os.getpid(),
            "pid_started": started_ticks(os.getpid()),
            "programs": str(self.postgres.binaries) if self.postgres else "",
            "env": {name: self.env[name] for name in names if name in self.env},
        }
        part = RUN_FILE.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(json.dumps(content, indent=1))
        part.rename(RUN_FILE)

    def _other_is_running(self) -> bool:
        running = read_run_file()
        return running is not None and running.get("pid") != os.getpid()

    def withdraw(self) -> None:
        running = read_run_file()
        if running and running.get("pid") == os.getpid():
            RUN_FILE.unlink(missing_ok=True)

    @staticmethod
    def shown(path: Path) -> str:
        """A path as the user sees it: relative to the checkout where it lies inside."""
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def answers(url: str) -> bool:
    """True when the URL answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=3) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def started_ticks(pid: int) -> str:
    """When a process started (clock ticks since boot): with the pid it names one process for
    good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rsplit(")", 1)[1].split()[19]


def read_run_file() -> dict[str, object] | None:
    """The running demo or serve of this checkout, or None."""
    try:
        content = json.loads(RUN_FILE.read_text())
        pid = int(content["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(content, dict) or started_ticks(pid) != content.get("pid_started"):
        return None
    return content
