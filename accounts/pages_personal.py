"""The page "Your data" and the receipt of an erasure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from accounts.models import Erasure, Export, ExportState
from accounts.pages_parts import tabs
from accounts.pages_transaction import Link
from accounts.personal_erase import WORD
from chain.selectors import Freshness


@dataclass(frozen=True)
class Kept:
    """One category: what, why, how many rows (`count`), how long (in words)."""

    key: str
    title: str
    what: str
    why: str
    count: int
    kept: str


@dataclass(frozen=True)
class PersonalPage:
    """`nothing`: titles of categories without an entry; `stays`: (title, why) of what is kept.
    `fresh`: the signature is new enough for files and erasing."""

    rows: tuple[Kept, ...]
    nothing: tuple[str, ...]
    stays: tuple[tuple[str, str], ...]
    export: Export | None
    erasure: Erasure | None
    fresh: bool
    freshness: Freshness
    now: dt.datetime
    error: str = ""
    word: str = WORD

    @property
    def tabs(self) -> tuple[Link, ...]:
        return tabs("/account/data")

    @property
    def download(self) -> str:
        """The path of a file that can be fetched."""
        if self.export is None or not self.export.ready(self.now):
            return ""
        return f"/account/data/{self.export.pk}.zip"

    @property
    def failed(self) -> bool:
        return self.export is not None and self.export.state == ExportState.FAILED


@dataclass(frozen=True)
class Receipt:
    """What anybody with its address may know of an erasure: when, and numbers."""

    erasure: Erasure
    rows: int
