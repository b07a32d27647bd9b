"""`python -m devnet.fleet --seed-file F --anchors F --port N --config F…`: a demo's outside world.

Intel's and NVIDIA's services in this process, and one forked process per broker (and for 0G
storage). All import the same libraries once, before the forks: forked, a broker costs a quarter of
the memory of one started by itself.

A broker writes to `<log folder>/<name of its config's folder>.log`. When one ends, all end.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from devnet.attestation.server import Server
from devnet.attestation.services import Services
from devnet.outages import Door
from devnet.storage import __main__ as storage
from provider import __main__ as broker
from provider.errors import ConfigError
from provider.tee import development
from runner.processes import die_with_parent

READY = "attestation READY"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m devnet.fleet", description=__doc__)
    options.add_argument("--seed-file", type=Path, required=True)
    options.add_argument("--anchors", type=Path, help="write the site's trust anchors here")
    options.add_argument("--port", type=int, default=0, help="of the services; default: a free one")
    options.add_argument("--config", type=Path, action="append", default=[], help="of a broker")
    options.add_argument("--logs", type=Path, help="folder; default: next to each config")
    options.add_argument("--storage", type=Path, help="run 0G storage with its files in here")
    options.add_argument("--storage-port", type=int, default=0)
    options.add_argument("--rpc", default="", help="the chain of --storage")
    options.add_argument(
        "--outages",
        type=outage,
        action="append",
        default=[],
        metavar="PORT:BEHIND:SECONDS",
        help="a door on PORT to the broker on BEHIND, open and shut in turn",
    )
    return options


def outage(text: str) -> Door:
    """`4001:4002:60`. Raises ValueError."""
    port, behind, seconds = text.split(":")
    return Door(int(port), int(behind), float(seconds))


def write_anchors(services: Services, path: Path) -> None:
    """The file for ATTESTATION_ANCHORS, whole at once."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(services.anchors(), indent=1))
    part.rename(path)


def start(main: Callable[[Sequence[str]], int], arguments: Sequence[str], log: Path) -> int:
    """Fork a program whose output goes to `log`; its process id."""
    dies = die_with_parent()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        dies()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        with log.open("wb", buffering=0) as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        random.seed()
        code = main(arguments)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        # The parent's clean-up is not ours to do.
        os._exit(code)


def stop(brokers: Sequence[int]) -> None:
    """Ask all brokers to stop, and wait."""
    for pid in brokers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for pid in brokers:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; 1 when a broker ended by itself."""
    options = parser().parse_args(arguments)
    try:
        services = Services(development.seed(options.seed_file))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if options.anchors:
        write_anchors(services, options.anchors)
    gc.collect()
    gc.freeze()  # so that the collector does not touch, and thereby copy, what is shared
    brokers: dict[int, Path] = {}
    for config in options.config:
        log = (options.logs or config.parent) / f"{config.parent.name}.log"
        brokers[start(broker.main, ["--config", str(config)], log)] = log
    if options.storage:
        log = (options.logs or options.storage.parent) / "storage.log"
        given = ["--rpc", options.rpc, "--data", str(options.storage)]
        given += ["--port", str(options.storage_port)]
        brokers[start(storage.main, given, log)] = log
    wanted = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    try:
        with Server(services, options.port) as server, contextlib.ExitStack() as doors:
            for door in options.outages:
                doors.enter_context(door)
            print(f"{READY} {server.url}", flush=True)
            return _watch(brokers, wanted)
    finally:
        stop(list(brokers))


def _watch(brokers: dict[int, Path], wanted: set[signal.Signals]) -> int:
    while True:
        ended = _ended(brokers)
        if ended:
            log = brokers.pop(ended)
            lines = log.read_text(errors="replace").splitlines()[-10:]
            print(f"{log.stem} ended; its last lines:", *lines, sep="\n", flush=True)
            return 1
        got = signal.sigtimedwait(wanted, 2.0)
        if got is not None and got.si_signo != signal.SIGCHLD:
            return 0


def _ended(brokers: dict[int, Path]) -> int:
    """The id of a broker that has ended, 0 while all run."""
    if not brokers:
        return 0
    pid, _ = os.waitpid(-1, os.WNOHANG)
    return pid


if __name__ == "__main__":
    sys.exit(main())
