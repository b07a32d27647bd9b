"""The follower as a process of its own, forked from a server that has loaded Django already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from runner.processes import die_with_parent
from tests.live.chaos.plan import Knobs

#: What makes waiting short, seconds: the rules are the same, the clock runs faster.
WAIT, REST, POLL, TIMEOUT = (0.01, 0.1), (0.02, 0.2), 0.02, 0.6


#: Instead of knobs: the follower's own constants.
AS_THEY_ARE: Knobs | None = None


def server() -> ForkServerContext:
    """A context whose children start in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.live.chaos.preload"])
    return context


def spawn(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    process = server().Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


@dataclass
class Follower:
    """A running `manage.py follow`; its standard error is kept in a file."""

    process: ForkServerProcess
    log: Path

    @classmethod
    def start(
        cls,
        database: dict[str, Any],
        urls: tuple[str, ...],
        knobs: Knobs | None,
        *arguments: str,
    ) -> Follower:
        handle, name = tempfile.mkstemp(prefix="zgm-chaos-")
        os.close(handle)
        return cls(spawn(follow, database, urls, knobs, name, arguments), Path(name))

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.join(10)
        self.log.unlink(missing_ok=True)

    def problem(self) -> str | None:
        """Why it ended by itself, or None while it runs."""
        code = self.process.exitcode
        return None if code is None else f"the follower ended with exit code {code}: {self.said()}"

    def said(self) -> str:
        return self.log.read_text(errors="replace").strip()[-4000:]


def follow(
    database: dict[str, Any],
    urls: tuple[str, ...],
    knobs: Knobs | None,
    log: str,
    arguments: tuple[str, ...],
) -> None:
    """In the child: the real command, on this database and these nodes."""
    become(database, urls, knobs, log)
    if knobs is not None:
        turn(knobs)
    from django.core.management import call_command

    call_command("follow", *arguments)


def become(database: dict[str, Any], urls: tuple[str, ...], knobs: Knobs | None, log: str) -> None:
    """In a child: write to `log`, die with the test, use this database and these nodes."""
    with Path(log).open("ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    die_with_parent(signal.SIGKILL, os.getppid())()
    from django.conf import settings
    from django.db import connections

    connections["default"].settings_dict.update(database)
    settings.CHAIN_RPC_URLS = urls
    if knobs is not None:
        settings.CONFIRMATIONS = knobs.confirmations


def turn(knobs: Knobs) -> None:
    """Set the follower's constants."""
    from chain import endpoint, fetch, prefetch, rpc, sync
    from ledger import services

    values: tuple[tuple[Any, str, Any], ...] = (
        (prefetch, "MUCH", knobs.much),
        (sync, "NEAR", knobs.near),
        (sync, "DENSE", knobs.dense),
        (sync, "DENSE_CHUNK", knobs.dense_chunk),
        (sync, "FIRST_SPARSE_CHUNK", knobs.sparse_chunk),
        (sync, "SPARSE_CHUNK", knobs.sparse_chunk),
        (fetch, "FIRST_SPAN", knobs.span),
        (endpoint, "FIRST_REST_SECONDS", REST[0]),
        (endpoint, "LAST_REST_SECONDS", REST[1]),
        (services, "FIRST_WAIT", WAIT[0]),
        (services, "LAST_WAIT", WAIT[1]),
        (services, "ONCE_TRIES", 1000),
        (services, "poll_seconds", lambda: POLL),
        (services, "listening_seconds", lambda: POLL),
        (services, "Rpc", partial(rpc.Rpc, timeout=TIMEOUT)),
    )
    for module, name, value in values:
        if not hasattr(module, name):
            raise AttributeError(f"{module.__name__} has no {name} any more")
        setattr(module, name, value)
