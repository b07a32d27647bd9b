"""`python -m provider.smallmodel count|train FOLDER`: an executor (provider/tuning/executor.py)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from protocol import tuning
from protocol.datasets import Report
from provider.smallmodel import examples, tune
from provider.smallmodel.network import load_base

MAX_ROWS = 20_000


def say(line: str) -> None:
    """One line of the task's log, now."""
    print(line, flush=True)


def count(folder: Path) -> int:
    """Check the dataset and count the tokens of one epoch; the exit code."""
    _, tokenizer = load_base()
    report = Report(max_problems=10)
    tokens = 0
    for row in examples.rows(folder / "dataset", report):
        tokens += examples.whole_length(tokenizer, row)
    for problem in report.problems:
        say(f"ERROR line {problem.line}: {problem.text}")
    if report.problem_count:
        say(f"ERROR {report.problem_count} problems in the dataset")
        return 1
    if report.rows > MAX_ROWS:
        say(f"ERROR {report.rows} rows, at most {MAX_ROWS} are taken")
        return 1
    say(f"{report.rows} {report.kind} rows, {tokens} tokens, {report.duplicates} duplicates")
    (folder / "tokens.json").write_text(json.dumps({"tokens": tokens}))
    return 0


def train(folder: Path) -> int:
    """Learn the dataset; the exit code."""
    task = json.loads((folder / "task.json").read_text())
    wanted = tuning.parse_parameters(task["parameters"])
    base, tokenizer = load_base()
    context = base.shape.context
    learn = [
        examples.example(tokenizer, row, context)
        for row in examples.rows(folder / "dataset", Report())
    ]
    cut = sum(each.cut for each in learn)
    if cut:
        say(f"WARNING {cut} rows are longer than the context of {context} tokens and were cut")
    outcome = tune.tune(base, learn, wanted, say)
    tune.save_adapter(folder / "output_model", outcome.adapter, tokenizer)
    say(f"adapter saved, loss {outcome.first_loss:.4f} -> {outcome.last_loss:.4f}")
    return 0


def main() -> int:
    commands = {"count": count, "train": train}
    if len(sys.argv) != 3 or sys.argv[1] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    return commands[sys.argv[1]](Path(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
