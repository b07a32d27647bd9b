"""The table of all benchmarks: what an issue asked to be measured, its goal, and what came out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.measure import Result, read, show, write

#: Names the file to which a benchmark of the table hands its results over.
HANDED_OVER = "BENCH_RESULTS"
#: Of what a failed benchmark said last.
LINES = 20


@dataclass(frozen=True)
class Bench:
    """`issue` asked for it. Options of the table and of `--quick`; minutes on two idle cores, after
    three times which it is ended."""

    issue: int
    about: str
    full: tuple[str, ...]
    quick: tuple[str, ...]
    minutes: float


#: In the order of the table: first what takes least.
BENCHMARKS = {
    "decode": Bench(3, "our decoders of logs and calldata", (), (), 0.5),
    "attestation": Bench(5, "judging stored evidence", (), ("--rounds", "1"), 1),
    "weight": Bench(7, "bytes of the list of services", (), (), 0.5),
    "head": Bench(3, "from a block to an open page", (), ("--times", "20"), 2),
    "pages": Bench(
        3, "pages at 10,000 services", (), ("--events", "50000", "--times", "15"), 6
    ),
    "index": Bench(
        3,
        "the back-fill",
        ("--events", "100000", "--repeats", "1", "--ponder"),
        ("--events", "20000", "--repeats", "1"),
        8,
    ),
    "streaming": Bench(
        6,
        "what websocket and relay add to a stream",
        ("--repeats", "1"),
        ("--repeats", "1", "--without-litellm", "--part", "speed"),
        8,
    ),
    "load": Bench(10, "what two web processes carry", ("--seconds", "6"), ("--seconds", "3"), 4),
}  # fmt: skip


def table(quick: bool) -> int:
    """Run all, print one table, write the full one down. 1 where a benchmark failed; a missed goal
    is a result."""
    results: list[Result] = []
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    for name, bench in BENCHMARKS.items():
        about = "quick" if quick else f"about {bench.minutes:g} min on an idle machine"
        print(f"== {name}: {bench.about} ({about})", flush=True)
        started = time.monotonic()
        found, failure = _measured(name, bench, bench.quick if quick else bench.full)
        seconds[name] = time.monotonic() - started
        results += [replace(one, issue=bench.issue) for one in found]
        if failure:
            failed[name] = failure
            print(f"   failed: {failure}", flush=True)
    print()
    show(results)
    if not quick:
        write(results)
    print("\n" + summary(results, failed, seconds))
    return 1 if failed else 0


def _measured(name: str, bench: Bench, options: Sequence[str]) -> tuple[list[Result], str]:
    """Results, and why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        log = Path(folder) / "errors"
        environment = {**os.environ, HANDED_OVER: str(file)}
        with log.open("w") as errors:
            try:
                code = subprocess.run(
                    [sys.executable, "-m", "bench", name, *options],
                    env=environment,
                    stderr=errors,
                    timeout=60 * max(5.0, 3 * bench.minutes),
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                return [], f"not done after {max(5.0, 3 * bench.minutes):g} minutes"
        if code or not file.exists():
            said = log.read_text(errors="replace").strip().splitlines()
            print(textwrap.indent("\n".join(said[-LINES:]), "   | "), flush=True)
            return [], said[-1][:160] if said else f"exit code {code}"
        found = read(file)
        return found, "" if found else "nothing to compare with here"


def summary(results: Sequence[Result], failed: dict[str, str], seconds: dict[str, float]) -> str:
    """Counts, what was missed or failed by name, and the time of each."""
    missed = [one for one in results if one.met is False]
    lines = [
        f"{sum(one.met is True for one in results)} goals met, {len(missed)} missed, "
        f"{sum(one.met is None for one in results)} told without a goal, "
        f"{len(failed)} benchmarks without a result"
    ]
    lines += [
        f"missed: {one.name}, {one.ratio:.2f} of {one.baseline} ({one.goal})" for one in missed
    ]
    lines += [f"failed: {name}, {why}" for name, why in failed.items()]
    lines.append("time: " + ", ".join(f"{name} {taken:.0f} s" for name, taken in seconds.items()))
    return "\n".join(lines)
