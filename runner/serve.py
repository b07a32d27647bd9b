"""`./run serve` and `./run exec`: the site's processes without a local chain."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from runner.environment import dotenv, port_of, secrets_of, variables
from runner.processes import free_port
from runner.tree import DATA, ROOT, Stop, Tree, read_run_file

NETWORKS = ("devnet", "galileo", "aristotle", "custom")


def site_processes(tree: Tree, port: int) -> None:
    """web, follow, worker (with beat): the same in demo and serve."""
    tree.python(
        "web",
        *("-m", "uvicorn", "marketplace.asgi:application", "--host", "127.0.0.1"),
        *("--port", str(port), "--ws", "websockets-sansio", "--lifespan", "on"),
        *("--log-level", "warning", "--no-server-header", "--ws-max-size", "262144"),
        "--no-proxy-headers",  # the site reads them by its own TRUSTED_PROXIES
        *("--timeout-graceful-shutdown", "5"),
    )
    tree.python("follow", "manage.py", "follow")
    tree.python(
        "worker",
        *("-m", "celery", "-A", "marketplace", "worker", "-B", "-s", tree.data / "beat"),
        *("-P", "threads", "-c", "4", "-l", "WARNING", "--without-gossip", "--without-mingle"),
    )


def migrate(tree: Tree) -> None:
    # The checks import the whole site; what depends on this place is the doctor's to say.
    command = ("manage.py", "migrate", "--skip-checks")
    child = tree.python("migrate", *command)
    # A large table takes its time, and an index that is broken off half-made stands in the way.
    tree.finished(child, "preparing the database", math.inf)


def examine(tree: Tree) -> None:
    """Say what is wrong before the site starts; what would show wrong money stops the start."""
    child = tree.python("doctor", "manage.py", "doctor", "--start")
    tree.ended(child, "the check of the surroundings", seconds=60)
    said = [line.removeprefix("WRONG ") for line in child.tail().splitlines() if line.strip()]
    if child.code:
        raise Stop("\n".join(said), code=2)
    for line in said:
        tree.say(f"attention: {line}")


def collect_static(tree: Tree) -> None:
    """Hashed copies of the static files, unless the operator collected them elsewhere."""
    if not tree.env.get("STATIC_ROOT"):
        tree.env["STATIC_ROOT"] = str(tree.data / "static")
        command = ("manage.py", "collectstatic", "--noinput", "--clear", "-v", "0")
        tree.finished(tree.python("collectstatic", *command), "collecting the static files")


def prepare(tree: Tree) -> None:
    """Environment of serve and exec: `.env` below the real environment, secrets made once."""
    for name, value in dotenv().items():
        tree.env.setdefault(name, value)
    if not tree.env.get("NETWORK"):
        raise Stop(
            "configuration: NETWORK is missing; write NETWORK=galileo (or aristotle, custom) "
            "into .env, or use ./run demo for a local network",
            code=2,
        )
    if tree.env["NETWORK"] not in NETWORKS:  # it names a folder below
        raise Stop(
            f"configuration: NETWORK={tree.env['NETWORK']!r} is unknown; use one of: "
            + ", ".join(NETWORKS),
            code=2,
        )
    tree.data = DATA / "serve" / tree.env["NETWORK"]
    for name, value in secrets_of(DATA / "serve").items():
        if not tree.env.get(name) and not tree.env.get(f"{name}_FILE"):
            tree.env[name] = value


def locked(folder: Path, fix: str = "stop it, or set DATABASE_URL and REDIS_URL") -> int:
    """A lock on a data folder, or Stop when another run uses it; returns the open descriptor."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Stop(f"another run uses {Tree.shown(folder)}; {fix}") from None
    return descriptor


def serve(arguments: Sequence[str]) -> int:
    """The site on the network of the environment, until Ctrl-C."""
    tree = Tree(DATA / "serve")
    try:
        prepare(tree)
        port = free_port(port_of(tree.env, 8000))
        locked(tree.data)
        url = tree.env.setdefault("SITE_URL", f"http://127.0.0.1:{port}")
        tree.start_stores(durable=True)
        migrate(tree)
        collect_static(tree)
        examine(tree)
        site_processes(tree, port)
        tree.until_http(f"http://127.0.0.1:{port}/healthz")
        announce(tree, url, port)
        print(f"READY {url}", flush=True)
        tree.wait()
    except Stop as stop:
        return stopped(stop)
    finally:
        tree.withdraw()
        tree.stop()
    return 0


def announce(tree: Tree, url: str, port: int) -> None:
    """Commands beside us do as we do: what prunes keeps as long, what dumps finds the folder. Where
    we listen is said too: SITE_URL may be the proxy's, and PORT may have been taken."""
    tree.announce({"mode": "serve", "site_url": url}, variables())
    place = f"listening on 127.0.0.1:{port}, logs in {tree.shown(tree.data)}/logs"
    tree.say(f"network {tree.env['NETWORK']}, {place}")


def execute(arguments: Sequence[str]) -> int:
    """Run a command beside a running demo or serve, or with stores started for it alone."""
    command = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    if not command:
        print("usage: ./run exec -- CMD …", file=sys.stderr)
        return 2
    running = read_run_file()
    values = running.get("env") if running else None
    asked = os.environ.get("NETWORK")
    tree = Tree(DATA / "exec")
    try:
        # Who asks for another network than the running one does not mean the running one.
        if isinstance(values, dict) and asked in (None, "", values.get("NETWORK")):
            # What the caller set on purpose wins over what the running site uses.
            tree.env = {**{str(k): str(v) for k, v in values.items()}, **tree.env}
            programs = str(running.get("programs", "")) if running else ""
        else:
            for name, value in dotenv().items():
                tree.env.setdefault(name, value)
            tree.env.setdefault("NETWORK", "devnet")
            prepare(tree)
            if not (tree.env.get("DATABASE_URL") and tree.env.get("REDIS_URL")):
                # One that is ready would have been found by its file.
                locked(tree.data, "of a serve that starts wait for READY, of an exec for its end")
            own_database = not tree.env.get("DATABASE_URL")
            tree.start_stores(durable=True)
            if own_database:
                migrate(tree)
            programs = str(tree.postgres.binaries) if tree.postgres else ""
        if programs:
            tree.env["PATH"] = f"{programs}:{tree.env.get('PATH', os.defpath)}"
        return run_in_foreground(command, tree)
    except Stop as stop:
        return stopped(stop)
    finally:
        tree.stop()


def run_in_foreground(command: Sequence[str], tree: Tree) -> int:
    """The command with our terminal; its exit code."""
    try:
        process = subprocess.Popen(command, env=tree.env, cwd=ROOT)
    except (FileNotFoundError, PermissionError) as error:
        print(f"./run exec: cannot start {command[0]!r}: {error.strerror}", file=sys.stderr)
        return 127
    try:
        while True:
            tree.heed()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(0.5)
    except Stop:
        process.terminate()
        try:
            return process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def stopped(stop: Stop) -> int:
    if str(stop):
        print(f"./run: {stop}", file=sys.stderr, flush=True)
    return stop.code
