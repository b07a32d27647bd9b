"""Timing and the table of results."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results.json"


@dataclass(frozen=True)
class Result:
    """One comparison. `ratio` = ours / baseline in `unit`; `goal` says what we want, `met`
    whether."""

    name: str
    baseline: str
    unit: str
    ours: float
    theirs: float
    goal: str
    met: bool | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def rate(work: Callable[[], int], *, seconds: float = 1.0) -> float:
    """Items per second of `work` (returns how many items it did), repeated for about `seconds`."""
    work()
    done, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        done += work()
    return done / passed


def p95_ms(call: Callable[[], object], *, times: int = 60) -> float:
    """The 95th percentile of the duration of `call`, in milliseconds, after a warm-up."""
    for _ in range(5):
        call()
    samples = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        samples.append((time.perf_counter() - started) * 1000)
    return statistics.quantiles(samples, n=20)[18]


def show(results: list[Result]) -> None:
    """Print the table and write `bench/results.json`."""
    rows = [
        (
            r.name,
            f"{r.ours:,.1f}",
            f"{r.theirs:,.1f}",
            r.unit,
            f"{r.ratio:.2f}",
            r.baseline,
            r.goal,
            "" if r.met is None else "met" if r.met else "MISSED",
        )
        for r in results
    ]
    head = ("what", "ours", "baseline", "unit", "ratio", "baseline is", "goal", "")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    RESULTS.write_text(
        json.dumps([{**asdict(r), "ratio": round(r.ratio, 3)} for r in results], indent=1) + "\n"
    )
