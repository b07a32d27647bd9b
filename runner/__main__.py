"""`python -m runner COMMAND`: what `./run` hands over to."""

from __future__ import annotations

import os
import sys

from runner.tree import ROOT


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
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])
    if command == "check":
        from runner.check import check

        return check(arguments)
    if command == "bench":
        from runner.bench import bench

        return bench(arguments)
    print(f"unknown command {command!r}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
