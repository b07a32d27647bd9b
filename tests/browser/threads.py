"""The database within reach of a browser test: Playwright's loop runs in the test's own thread,
where Django refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection


def in_thread(work: Callable[[], object]) -> None:
    """Do `work` in a thread of its own, as a worker would; raises what it raises."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()
