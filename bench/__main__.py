"""`python -m bench [NAME [OPTIONS]]`: one benchmark, or without a name the quick set."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

import django

from bench.measure import Result, show

#: Names and what the quick set passes to each; `bench.NAME.NAME` measures.
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "attestation": (),
    "decode": (),
    "head": ("--times", "20"),
    "index": ("--repeats", "1"),
    "load": ("--seconds", "4"),
    "pages": ("--events", "50000", "--times", "15"),
    "streaming": ("--repeats", "1"),
}


def main(arguments: Sequence[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
    django.setup()
    name, *options = arguments or ("",)
    if name and name not in BENCHMARKS:
        print(f"./run bench: no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}")
        return 2
    results: list[Result] = []
    for known, quick in BENCHMARKS.items():
        if name in ("", known):
            print(f"== {known}", flush=True)
            module = importlib.import_module(f"bench.{known}")
            measure: Callable[[Sequence[str]], list[Result]] = getattr(module, known)
            results += measure(options if name else quick)
    show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
