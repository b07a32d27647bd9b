"""Timing and the table of results."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results.json"


@dataclass(frozen=True)
class Result:
    """One comparison. `ratio` = ours / baseline in `unit`; `goal` says what `issue` wants, `met`
    whether (None: it is told, and nothing was asked)."""

    name: str
    baseline: str
    unit: str
    ours: float
    theirs: float
    goal: str
    met: bool | None = None
    issue: int = 0

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def rate(work: Callable[[], int]) -> float:
    """Items per second of `work` (returns how many items it did), repeated for about a second."""
    work()
    done, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < 1:
        done += work()
    return done / passed


def p95_of(samples: Sequence[float]) -> float:
    return statistics.quantiles(samples, n=20)[18]


def show(results: list[Result]) -> None:
    """Print the table; with the issue's number where results of several are in it."""
    rows = [
        (
            f"#{r.issue}" if r.issue else "",
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
    head = ("", "what", "ours", "baseline", "unit", "ratio", "baseline is", "goal", "")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        print("  ".join(cells).rstrip())


def write(results: list[Result], path: str | Path = RESULTS) -> None:
    """The results as JSON, by default into `bench/results.json`."""
    rows = [{**asdict(r), "ratio": round(r.ratio, 3)} for r in results]
    Path(path).write_text(json.dumps(rows, indent=1) + "\n")


def read(path: Path) -> list[Result]:
    """What `write` wrote."""
    rows = json.loads(path.read_text())
    return [Result(**{name: row[name] for name in row if name != "ratio"}) for row in rows]
