"""`python -m runner COMMAND`: what `./run` hands over to."""

from __future__ import annotations

import os
import signal
import sys

from runner.tree import ROOT


def shared_out(arguments: list[str]) -> list[str]:
    """pytest's options for several processes, for the whole suite and for folders of it.

    Files and tests named, or a choice by words, run in one process: they are few, and each process
    has to start a database first. Two per core: many tests wait for servers. What does not exist
    goes to one as well: it says so at once, many say after minutes that there were no tests.
    """
    few = ("-n", "--numprocesses", "-k", "--co", "--collect-only", "--pdb", "-h", "--help")
    missing = any(not (ROOT / word).exists() for word in arguments[:1] if word[:1] != "-")
    if missing or any(".py" in word or word.startswith(few) for word in arguments):
        return []
    return ["-n", str(min(8, 2 * (os.cpu_count() or 1)))]


def main() -> int:
    command, arguments = sys.argv[1], sys.argv[2:]
    os.chdir(ROOT)
    if command == "demo":
        from runner.demo import demo

        return demo(arguments)
    if command == "serve":
        from runner.serve import serve

        return serve(arguments)
    if command == "exec":
        from runner.serve import execute

        return execute(arguments)
    if command == "test":
        os.execv(
            sys.executable, [sys.executable, "-m", "pytest", *shared_out(arguments), *arguments]
        )
    if command == "check":
        from runner.check import check

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `… | head` may have had enough
        return check(arguments)
    if command == "bench":
        from runner.bench import bench

        return bench(arguments)
    print(f"unknown command {command!r}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
