"""`python -m bench [NAME [OPTIONS]]`: one benchmark, or without a name the quick set."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import django

from bench.measure import Result, show


def _index(arguments: Sequence[str]) -> list[Result]:
    from bench.index import index

    return index(arguments)


BENCHMARKS: dict[str, Callable[[Sequence[str]], list[Result]]] = {"index": _index}


def main(arguments: Sequence[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
    django.setup()
    name, *options = arguments or ("",)
    if name and name not in BENCHMARKS:
        print(f"./run bench: no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}")
        return 2
    results: list[Result] = []
    for known, measure in BENCHMARKS.items():
        if name in ("", known):
            print(f"== {known}", flush=True)
            results += measure(options)
    show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
