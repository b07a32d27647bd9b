"""Places in a history, so that a long list can be read on without counting what was read.

Rows of a history are ordered by block, then by their number within it, newest first. New rows come
before every place that was handed out, and rows that become final keep their block and number: who
reads on from a place neither misses a row nor sees one twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet

Table = TypeVar("Table", bound=Model)

#: How a place is written; meant to be handed back as it was, not to be read.
PATTERN = r"^[0-9]{1,18}\.[0-9]{1,9}\.[0-9]{1,18}$"


@dataclass(frozen=True)
class Place:
    """A row of a history: its block, its number in the block, its key."""

    block: int
    sequence: int
    pk: int

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """The place that `str` wrote; None for anything else."""
        if re.fullmatch(PATTERN, text, re.ASCII) is None:
            return None
        place = cls(*(int(part) for part in text.split(".")))
        return place if place.sequence < 2**31 else None

    @classmethod
    def of(cls, row: Any) -> Place:
        return cls(row.block, row.sequence, row.pk)

    def __str__(self) -> str:
        return f"{self.block}.{self.sequence}.{self.pk}"


def older(rows: QuerySet[Table], place: Place | None) -> QuerySet[Table]:
    """Those after a place in a list that shows the newest first; all of them without a place."""
    if place is None:
        return rows
    within = Q(sequence__lt=place.sequence) | Q(sequence=place.sequence, pk__lt=place.pk)
    # The first condition alone leads to the rows by index.
    return rows.filter(Q(block__lte=place.block) & (Q(block__lt=place.block) | within))
