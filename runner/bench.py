"""`./run bench`: the benchmarks on stores of their own, each a ratio against a baseline in the
same run."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from runner.serve import migrate, run_in_foreground, stopped
from runner.tree import Stop, Tree


def bench(arguments: Sequence[str]) -> int:
    """Run all benchmarks, or those whose names are given."""
    folder = Path(tempfile.mkdtemp(prefix="zgm-bench-"))
    folder.chmod(0o755)
    tree = Tree(folder)
    try:
        for name in ("DATABASE_URL", "REDIS_URL"):
            tree.env.pop(name, None)
        tree.env.update(NETWORK="devnet", DATABASE_POOL_SIZE="0", ALLOW_PRIVATE_PROVIDERS="1")
        tree.start_stores(durable=False)
        migrate(tree)
        return run_in_foreground([sys.executable, "-m", "bench", *arguments], tree)
    except Stop as stop:
        return stopped(stop)
    finally:
        tree.stop()
        shutil.rmtree(folder, ignore_errors=True)
