"""The turns of a conversation as a tree: an edited or repeated question is another child of the
same parent, so nothing is ever lost. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from uuid import UUID


@dataclass(frozen=True)
class Node:
    """A turn's place. Turns with one `batch` were asked side by side and share their place."""

    id: int
    parent: int | None
    batch: UUID | None = None


@dataclass(frozen=True)
class Place:
    """Where a turn stands among the versions of its question, counted from 1; the neighbours are
    turn ids, 0 where there is none. `columns` are the turns shown side by side, oldest first.
    """

    version: int
    versions: int
    before: int
    after: int
    columns: tuple[int, ...]


class Tree:
    """All turns of one conversation. Ids grow with time, and parents are older than children."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._children: dict[int | None, list[int]] = {}
        for node in sorted(self._nodes.values(), key=lambda x: x.id):
            self._children.setdefault(node.parent, []).append(node.id)

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int | None, UUID | None]]) -> Self:
        return cls(Node(*row) for row in rows)

    def __contains__(self, turn: int) -> bool:
        return turn in self._nodes

    def path(self, leaf: int | None) -> list[int]:
        """From the first turn down to `leaf`; empty for a leaf that is not there."""
        path: list[int] = []
        at = leaf
        while at is not None and at in self._nodes:
            path.append(at)
            at = self._nodes[at].parent
        return path[::-1]

    def parent(self, turn: int) -> int | None:
        return self._nodes[turn].parent

    def newest_leaf(self, turn: int) -> int:
        """The end of the branch through `turn` that was asked last."""
        while children := self._children.get(turn):
            turn = children[-1]
        return turn

    def place(self, turn: int) -> Place:
        """The versions of the question at `turn`'s place."""
        groups: dict[UUID | int, list[int]] = {}
        for sibling in self._children[self._nodes[turn].parent]:
            groups.setdefault(self._nodes[sibling].batch or sibling, []).append(sibling)
        versions = list(groups.values())
        at = next(i for i, group in enumerate(versions) if turn in group)
        return Place(
            version=at + 1,
            versions=len(versions),
            before=versions[at - 1][0] if at else 0,
            after=versions[at + 1][0] if at + 1 < len(versions) else 0,
            columns=tuple(versions[at]),
        )
