"""A provider's log as numbers: losses by step, progress, and how long it will take. Pure.

Two spellings are understood: `step 12/90 loss 1.234` with an optional `eval_loss 1.2`, and the
dictionaries that Hugging Face's trainer prints (`{'loss': 1.234, …, 'epoch': 0.4, 'step': 5}`),
counted where they name no step; `90 steps` says how many there will be. Any other line is text. A
log is a stranger's: whatever it says is read in time that grows with its length and no faster.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

MOST_POINTS = 5_000
#: The newest lines are read: 4 MB may be millions of empty ones.
MOST_LINES = 100_000
#: Steps that the estimate of what is left rests on, and how few are too few.
BASIS_STEPS, FEWEST_STEPS = 60, 3

#: What a line may be marked with, the least first.
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_LINE = re.compile(
    rf"(\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)?\s*({'|'.join(LEVELS)})?\s*(.*)"
)
# Possessive: blanks that were passed are never looked through again for another beginning.
_STEP = re.compile(r"\bstep\s++(\d{1,9})\s*+(?:/|of)\s*+(\d{1,9})\b", re.I)
_NUMBER = r"(-?\d{1,9}(?:\.\d{1,18})?(?:[eE][-+]?\d{1,3})?)"
_LOSS = re.compile(rf"(?<![\w])'?loss'?\s*+[:=]?\s*+{_NUMBER}")
_EVAL = re.compile(rf"'?eval_loss'?\s*+[:=]?\s*+{_NUMBER}")
_TOLD = re.compile(r"'(?:loss|eval_loss)':")
_NAMED = re.compile(r"'step':\s*+(\d{1,9})\b")
_TOTAL = re.compile(r"\b(\d{1,9})\s++steps\b", re.I)


@dataclass(frozen=True)
class Line:
    at: dt.datetime | None
    level: str
    text: str


@dataclass(frozen=True)
class Point:
    """`loss` and `eval_loss` as they were written: text of a number, "" where there is none."""

    step: int
    loss: str
    eval_loss: str
    at: dt.datetime | None


@dataclass(frozen=True)
class Curve:
    """`of` is the number of steps in all, 0 where nobody said."""

    points: tuple[Point, ...]
    of: int

    @property
    def step(self) -> int:
        return self.points[-1].step if self.points else 0


@dataclass(frozen=True)
class Left:
    """Seconds that the rest may take, from the fastest and the slowest third of `steps` steps."""

    least: int
    most: int
    steps: int


def parse(text: str) -> list[Line]:
    """The newest `MOST_LINES` lines of a log, each with its time and level where it has them."""
    return [_line(raw) for raw in text.splitlines()[-MOST_LINES:]]


def _line(raw: str) -> Line:
    match = _LINE.fullmatch(raw)
    if match is None:
        return Line(None, "", raw)
    try:
        at = dt.datetime.fromisoformat(match[1]) if match[1] else None
    except ValueError:
        at = None
    return Line(at, match[2] or "", match[3])


def curve(lines: Iterable[Line]) -> Curve:
    """Losses by step, in the order they were told; a step told again counts once, the last time."""
    points: dict[int, Point] = {}
    of, counted = 0, 0
    for line in lines:
        step = _STEP.search(line.text)
        if step is None and not _of_trainer(line.text):
            if total := _TOTAL.search(line.text):
                of = max(of, int(total[1]))
            continue
        loss, eval_loss = _LOSS.search(line.text), _EVAL.search(line.text)
        if step is not None:
            number, of = int(step[1]), max(of, int(step[2]))
        else:
            named = _NAMED.search(line.text)
            counted = int(named[1]) if named else counted + (loss is not None)
            number = counted
        if loss is None and eval_loss is None:
            continue
        known = points.get(number)
        points[number] = Point(
            number,
            loss[1] if loss else known.loss if known else "",
            eval_loss[1] if eval_loss else known.eval_loss if known else "",
            line.at or (known.at if known else None),
        )
        if len(points) >= MOST_POINTS:
            break
    return Curve(tuple(points[number] for number in sorted(points)), of)


def _of_trainer(text: str) -> bool:
    """Whether a line is one of the trainer's dictionaries with a loss in it."""
    return text.startswith("{") and text.endswith("}") and _TOLD.search(text) is not None


def left(found: Curve) -> Left | None:
    """How long the rest may take, as a range with its basis; None where too little is known."""
    timed = [(point.step, point.at) for point in found.points if point.at is not None]
    timed = timed[-BASIS_STEPS - 1 :]
    paces = sorted(
        (later - earlier).total_seconds() / (step - before)
        for (before, earlier), (step, later) in pairwise(timed)
        if step > before and later >= earlier
    )
    rest = found.of - found.step
    if len(paces) < FEWEST_STEPS or not found.of or rest < 0:
        return None
    third = max(1, len(paces) // 3)
    fast, slow = sum(paces[:third]) / third, sum(paces[-third:]) / third
    return Left(int(rest * fast), int(rest * slow) + 1, len(paces))
