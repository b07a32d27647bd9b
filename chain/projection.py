"""What stands between the follower and whoever folds its facts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chain.facts import Block, Call, Header, Log


class Reader(Protocol):
    """What a projection may still ask the node while it folds."""

    def views(self, header: Header, calls: Sequence[Call]) -> list[str]: ...

    def balances(self, address: str, headers: Sequence[int | str]) -> list[int]: ...

    def blocks(self, numbers: Sequence[int]) -> list[Block]: ...


class Projection(Protocol):
    """Turns facts into rows. `fold_*` work in memory; `write` runs inside our transaction."""

    def verify(self, head: Header, read: Reader) -> None:
        """Before anything else: `NotOurContract` when what stands at our address is another."""

    def open(self, first: int, read: Reader) -> None:
        """Before the very first range, which starts at block `first`."""

    def sources(self) -> dict[str, int]:
        """Every contract we read (EIP-55) with the first block to read it from."""

    def discover(self, logs: Sequence[Log]) -> dict[str, int]:
        """Further contracts these logs name, as in `sources`."""

    def fold_final(
        self,
        first: int,
        last: int,
        blocks: list[Block],
        read: Reader,
        *,
        sparse: bool = False,
        end: bool = True,
    ) -> list[Block]:
        """Fold final blocks; returns them with every answer (and block) it asked for.

        Only in the first range, or where `discover` finds something, it may use the database.
        `sparse`: blocks in which our contracts logged nothing are left out; `end` is False when
        another sparse range follows at once.
        """

    def fold_pending(self, blocks: list[Block], read: Reader) -> list[Block]:
        """Fold the blocks above the final one on top."""

    def write(self) -> None: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...
