"""`python -m tests.live.chaos`: any number of seeds, on a database of its own."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from runner.postgres import EmbeddedPostgres


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m tests.live.chaos", description=__doc__)
    top.add_argument("--seeds", type=int, default=25, help="how many seeds (default: 25)")
    top.add_argument("--first", type=int, default=1, help="the first one (default: 1)")
    top.add_argument("--seed", type=int, help="only this one")
    top.add_argument("--seconds", type=float, help="say which seeds took longer than this")
    top.add_argument("--verbose", action="store_true", help="say what happens")
    return top


def environment(url: str) -> None:
    """What Django's settings read; another site's variables around us do not count."""
    for name in ("CHAIN_RPC_URLS", "CHAIN_ID", "LEDGER_ADDRESS", "START_BLOCK", "CONFIRMATIONS"):
        os.environ.pop(name, None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "marketplace.settings",
        "NETWORK": "devnet",
        "DATABASE_URL": url,
        "DATABASE_POOL_SIZE": "0",
        "LOG_LEVEL": "ERROR",
        # Nobody listens: pages are not part of this, and the follower must not mind.
        "REDIS_URL": "redis://127.0.0.1:9/0",
    }


def main() -> int:
    options = parser().parse_args()
    seeds = [options.seed] if options.seed is not None else None
    chosen = seeds or range(options.first, options.first + options.seeds)
    folder = Path(tempfile.mkdtemp(prefix="zgm-chaos-"))
    folder.chmod(0o755)
    try:
        with EmbeddedPostgres(folder / "pg") as server:
            environment(server.dsn)
            return simulate(list(chosen), options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def simulate(seeds: list[int], options: argparse.Namespace) -> int:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from tests.live.chaos.simulator import run_seed

    call_command("migrate", verbosity=0)
    bad, slow = [], []
    for seed in seeds:
        result = run_seed(seed, print if options.verbose else lambda _: None)
        print(result.line(), flush=True)
        if options.verbose:
            print("faults:", dict(result.faults), "\nactions:", *result.did, sep=" ")
        if result.problems:
            bad.append(seed)
            print(*(f"  {problem}" for problem in result.problems), sep="\n")
            print(f"  again: {result.repro()}", flush=True)
        if options.seconds and result.seconds > options.seconds:
            slow.append(seed)
    connections.close_all()
    print(f"{len(seeds) - len(bad)} of {len(seeds)} seeds good" + (f"; bad: {bad}" if bad else ""))
    if slow:
        print(f"longer than {options.seconds:g} s: {slow}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
