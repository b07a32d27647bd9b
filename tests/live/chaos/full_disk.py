"""`python -m tests.live.chaos.full_disk`: the database's disk fills up under the follower.

To be run in a mount namespace of its own (`unshare -m`, or `unshare -Urm` without root): it mounts
a small tmpfs there. Ends with 0 when nothing was half-written and work went on by itself once there
was space again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.live.chaos.__main__ import environment
from tests.live.chaos.own_database import own_database

SIZE = "192m"


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="zgm-full-") as name:
        disk = Path(name)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", name], check=True)
        try:
            environment("postgresql://app@/app")
            import django

            django.setup()
            with own_database(disk / "pg"):
                scene(disk)
        finally:
            subprocess.run(["umount", "-l", name], check=True)
    print("nothing lost")
    return 0


def scene(disk: Path) -> None:
    """Catch up; fill the disk while more happens on the chain; free it; catch up."""
    from django.conf import settings

    from chain.models import Head, RawLog
    from devnet.anvil import Anvil
    from devnet.client import Chain
    from devnet.deploy import deploy
    from devnet.scenario import run
    from tests.live.chaos import demands
    from tests.live.chaos.child import AS_THEY_ARE, Follower
    from tests.live.chaos.simulator import database

    with Anvil(args=("--slots-in-an-epoch", "2")) as node:
        deployment = deploy(node.url)
        run(1, 60, deployment, node.url)

        def caught_up() -> bool:
            head = Chain(node.url).block_number()
            return Head.objects.filter(indexed_block__gte=head).exists()

        follower = Follower.start(database(), (node.url,), AS_THEY_ARE)
        try:
            until(caught_up, follower)
            before, logs = demands.rows(), RawLog.objects.count()
            fill(disk / "ballast")
            run(2, 120, deployment, node.url)
            until(lambda: "disk full" in follower.said() or "No space" in follower.said(), follower)
            assert demands.rows() == before or RawLog.objects.count() > logs, "half-written rows"
            stopped = Head.objects.get().indexed_block
            (disk / "ballast").unlink()
            until(caught_up, follower)
            assert Head.objects.get().indexed_block > stopped
        finally:
            follower.kill()
        found = [*demands.misses(node.url, settings.START_BLOCK), *demands.replay_differs()]
        assert not found, "\n".join(found)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue


def until(ready: Callable[[], bool], follower: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        problem = follower.problem()  # type: ignore[attr-defined]
        assert problem is None, problem
        assert time.monotonic() < deadline, follower.said()  # type: ignore[attr-defined]
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
