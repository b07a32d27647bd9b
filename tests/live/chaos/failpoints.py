"""A follower that dies at a chosen point of its work with the database."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tests.live.chaos.child import become, turn
from tests.live.chaos.plan import Knobs


class Fuse:
    """Counts statements, COPYs (in the middle too) and commits; SIGKILL at number `last`."""

    def __init__(self, last: int) -> None:
        self.left = last

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def statement(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        """For `connection.execute_wrapper`."""
        self.burn()
        return execute(sql, params, many, context)

    def copy(self, copy: Callable[..., None]) -> Callable[..., None]:
        def burning(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
            self.burn()
            copy(table, columns, self._rows(rows))

        return burning

    def _rows(self, rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        held = list(rows)
        for number, row in enumerate(held):
            if number == len(held) // 2:
                self.burn()
            yield row

    def commit(self, commit: Callable[[], None]) -> Callable[[], None]:
        def burning() -> None:
            self.burn()
            commit()
            self.burn()

        return burning


def step(
    database: dict[str, Any], urls: tuple[str, ...], knobs: Knobs, log: str, last: int
) -> None:
    """In a child: steps until there is nothing more to do, dying at point `last` (0: never)."""
    become(database, urls, knobs, log)
    from django.db import connection

    from chain import bulk
    from ledger import services

    turn(knobs)
    fuse = Fuse(last)
    bulk._copy = fuse.copy(bulk._copy)
    wrapper: Any = connection
    wrapper._commit = fuse.commit(wrapper._commit)
    with wrapper.execute_wrapper(fuse.statement):
        follower = services.make_follower()
        while follower.step().more:
            pass
