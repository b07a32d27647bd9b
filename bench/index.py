"""The back-fill against raw fetching, web3.py with the ORM, and Ponder (issue 3, "Fast")."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from bench import ponder, web3_baseline, workload
from bench.measure import Result
from devnet.anvil import Anvil

#: Logs that web3.py gets to read: its rate does not depend on how many follow.
WEB3_LOGS = 20_000
REPEATS = 2
#: From so many logs on it is also measured how the cost of one grows.
MANY = 200_000


def index(arguments: Sequence[str]) -> list[Result]:
    parser = argparse.ArgumentParser(prog="./run bench index")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--ponder", action="store_true", help="install Ponder from npm, compare")
    options = parser.parse_args(arguments)
    with (
        Anvil(args=workload.ANVIL_ARGS) as node,
        tempfile.TemporaryDirectory(prefix="zgm-bench-") as folder,
    ):
        history = workload.make(node, options.events)
        print(
            f"{history.logs:,} logs of {history.transactions:,} transactions in "
            f"{history.last_block:,} blocks, made in {history.seconds:.0f} s"
        )
        return _compare(node.url, history, Path(folder), options.repeats, options.ponder)


def _compare(
    url: str, history: workload.History, folder: Path, repeats: int, with_ponder: bool
) -> list[Result]:
    bodies = folder / "requests"
    backfill("raw", url, history, bodies)
    fetch: list[float] = []
    raw: list[dict[str, Any]] = []
    folded: list[dict[str, Any]] = []
    for _ in range(repeats):
        raw.append(backfill("raw", url, history))
        fetch.append(_fetch_alone(url, bodies))
        folded.append(backfill("folded", url, history))
    events = raw[0]["events"]
    a = events / min(fetch)
    b, c = (events / min(run["seconds"] for run in runs) for runs in (raw, folded))
    d = web3_baseline.rate(url, history, WEB3_LOGS)
    size = f"{events // 1000}k"
    held = " ".join(str(mib) for mib in folded[-1]["mib"])
    print(
        f"memory of the back-fill after each tenth: {held} MiB, at most "
        f"{folded[-1]['peak_mib']:.0f}, and {folded[-1]['helper_mib']:.0f} of the process that "
        f"reads ahead; {folded[-1]['rows']:,} history rows"
    )
    results = [
        _result(f"raw rows {size}", b, a, "the same JSON-RPC calls alone", 0.5),
        _result(f"raw rows {size}", b, d, "web3.py get_logs + bulk_create", 10),
        _result(f"folded rows {size}", c, d, "web3.py get_logs + bulk_create", 5),
    ]
    if events >= MANY:
        results += _growth(url, history, min(folded, key=_seconds), size)
    if with_ponder:
        e = ponder.rate(url, history, events)
        results.append(_result(f"folded rows {size}", c, e, "Ponder", 2))
    return results


def _seconds(run: dict[str, Any]) -> float:
    return float(run["seconds"])


def _growth(url: str, history: workload.History, whole: dict[str, Any], size: str) -> list[Result]:
    """What an event costs in a long history, against the first tenth of the same one."""
    tenth = backfill("folded", url, history, last=history.last_block // 10)
    found = []
    for what, name in (("seconds", "time"), ("cpu_seconds", "CPU time")):
        ours, theirs = (1e6 * run[what] / run["events"] for run in (whole, tenth))
        title, baseline = f"index: {name} per event, folded {size}", "the first tenth alone"
        found.append(Result(title, baseline, "us", ours, theirs, "<= 1.3", ours / theirs <= 1.3))
    return found


def _result(name: str, ours: float, theirs: float, baseline: str, goal: float) -> Result:
    return Result(
        f"index: {name}", baseline, "events/s", ours, theirs, f">= {goal:g}", ours / theirs >= goal
    )


def backfill(
    kind: str,
    url: str,
    history: workload.History,
    bodies: Path | None = None,
    *,
    last: int | None = None,
) -> dict[str, Any]:
    """One back-fill in a child process (bench.backfill), up to block `last`."""
    sources = dict.fromkeys((history.ledger, history.inference, history.fine_tuning), 0)
    end = history.last_block if last is None else last
    command = [sys.executable, "-m", "bench.backfill", kind, url, str(end)]
    command += [json.dumps(sources), *([str(bodies)] if bodies else [])]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=dict(os.environ))
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def _fetch_alone(url: str, bodies: Path) -> float:
    """Seconds to send the requests of a back-fill again and to parse the JSON of the answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=300)
    headers = {"Content-Type": "application/json"}
    started = time.perf_counter()
    for body in _bodies(bodies):
        connection.request("POST", "/", body, headers)
        orjson.loads(connection.getresponse().read())
    seconds = time.perf_counter() - started
    connection.close()
    return seconds


def _bodies(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size := file.read(4):
            yield file.read(int.from_bytes(size, "big"))
