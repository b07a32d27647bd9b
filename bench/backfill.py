"""One back-fill in a process of its own, so that its memory can be measured: prints JSON.

    python -m bench.backfill raw|folded RPC_URL LAST_BLOCK SOURCES_JSON [REQUESTS_FILE]

`raw` stores facts only (the whole of `chain`, with a projection that folds nothing), `folded` is
what `manage.py follow --to-block` does. With a file, the HTTP bodies that are sent are kept, so
that the very same calls can be timed without us; one process sends them all then (no
`chain.helper`).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import django
from django.conf import settings


class FactsOnly:
    """`chain.projection.Projection` that stores the facts of fixed contracts and folds nothing."""

    def __init__(self, sources: dict[str, int]) -> None:
        self.fixed = sources

    def verify(self, head: object, read: object) -> None: ...

    def open(self, first: int, read: object) -> None: ...

    def sources(self) -> dict[str, int]:
        return dict(self.fixed)

    def discover(self, logs: object) -> dict[str, int]:
        return {}

    def fold_final(
        self,
        first: int,
        last: int,
        blocks: list,  # type: ignore[type-arg]
        read: object,
        *,
        sparse: bool = False,
        end: bool = True,
    ) -> list:  # type: ignore[type-arg]
        return blocks

    def fold_pending(self, blocks: list, read: object) -> list:  # type: ignore[type-arg]
        return blocks

    def write(self) -> None: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


def empty() -> None:
    """Forget everything the follower ever wrote."""
    from django.apps import apps
    from django.db import connection

    models = [
        *apps.get_app_config("chain").get_models(),
        *apps.get_app_config("ledger").get_models(),
    ]
    tables = ", ".join(f'"{model._meta.db_table}"' for model in models)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY")


def resident_mib() -> float:
    """This process's memory now, MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def keep_requests(file: BinaryIO) -> None:
    """Write down every body that is posted from now on, each after its length."""
    from chain import prefetch
    from chain.endpoint import Endpoint

    prefetch.MUCH = sys.maxsize
    post = Endpoint.post

    def kept(self: Endpoint, body: bytes, calls: int = 1) -> bytes:
        file.write(len(body).to_bytes(4, "big") + body)
        return post(self, body, calls)

    Endpoint.post = kept  # type: ignore[method-assign]


def run(kind: str, url: str, last: int, sources: dict[str, int]) -> dict[str, object]:
    """Back-fill blocks 0..`last` into emptied tables."""
    from chain.models import RawLog
    from chain.rpc import Rpc
    from chain.sync import Follower
    from ledger.models import Movement, Settlement
    from ledger.services import make_projector

    empty()
    rpc = Rpc([url], settings.CHAIN_ID, timeout=300)
    projection = FactsOnly(sources) if kind == "raw" else make_projector()
    started, cpu = time.perf_counter(), time.process_time()
    follower = Follower(
        rpc, projection, chain_id=settings.CHAIN_ID, confirmations=settings.CONFIRMATIONS
    )
    follower.limit = last
    memory = []
    while True:
        step = follower.step()
        memory.append((step.indexed_block, resident_mib()))
        if step.indexed_block >= last:
            break
    seconds = time.perf_counter() - started
    follower.close()
    helper = resource.getrusage(resource.RUSAGE_CHILDREN)  # chain.helper has ended
    # What is held at the end of every tenth of the history.
    marks = [last * tenth // 10 for tenth in range(1, 11)]
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu + helper.ru_utime + helper.ru_stime,
        "steps": len(memory),
        "events": RawLog.objects.count(),
        "rows": Movement.objects.count() + Settlement.objects.count(),
        "mib": [round(next(mib for block, mib in memory if block >= mark)) for mark in marks],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "helper_mib": helper.ru_maxrss / 1024,
    }


def main(arguments: Sequence[str]) -> None:
    kind, url, last, sources = arguments[:4]
    django.setup()
    if len(arguments) > 4:
        with Path(arguments[4]).open("wb") as file:
            keep_requests(file)
            found = run(kind, url, int(last), json.loads(sources))
    else:
        found = run(kind, url, int(last), json.loads(sources))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
