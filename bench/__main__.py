"""`python -m bench [--quick]`: every benchmark as one table; `python -m bench NAME [OPTIONS]`: one.

In the table each benchmark runs in a process of its own, with a time limit. One that fails leaves
a row that says so, and the others go on.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

import django

from bench.measure import Result, show, write
from bench.table import BENCHMARKS, HANDED_OVER, table


def main(arguments: Sequence[str]) -> int:
    quick = "--quick" in arguments
    name, *options = [word for word in arguments if word != "--quick"] or ("",)
    if not name:
        return table(quick)
    if name not in BENCHMARKS:
        print(f"./run bench: no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}")
        return 2
    results = measured(name, [*(BENCHMARKS[name].quick if quick else ()), *options])
    if handed_over := os.environ.get(HANDED_OVER):
        write(results, handed_over)
    else:
        show(results)
    return 0


def measured(name: str, options: Sequence[str]) -> list[Result]:
    """`bench.NAME.NAME` with its own options."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
    django.setup()
    measure: Callable[[Sequence[str]], list[Result]] = getattr(
        importlib.import_module(f"bench.{name}"), name
    )
    return measure(options)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # `… | head` had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is flushed at the very end
        code = 141  # as shells say it of whoever wrote to nobody
    sys.exit(code)
