"""Which part of an answer that is still being written is closed: whole Markdown blocks that no
further text can change. Pure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inference import markdown

#: A tail longer than this is no longer looked at: it is shown as text until the answer ends.
MAX_TAIL_CHARS = 16_000
#: Blocks that end where a blank line follows; lists and indented code may go on behind one.
_END_AT_BLANK = {
    "paragraph_open", "heading_open", "fence", "hr", "table_open", "blockquote_open", "math_block",
}  # fmt: skip


@dataclass
class Pace:
    """Rendering takes at most a fifth of a process's time, however many answers it writes: after a
    render that took d seconds, none follows for 4 d.
    """

    clock: Callable[[], float] = time.monotonic
    _next: float = 0.0

    def may(self) -> bool:
        return self.clock() >= self._next

    def took(self, started: float) -> None:
        now = self.clock()
        self._next = now + 4 * (now - started)


@dataclass(frozen=True)
class Block:
    """The answer up to character `upto` (not included) is closed; `html` is what was closed since
    the block before.
    """

    upto: int
    html: str


@dataclass
class Closer:
    """Takes an answer in pieces and gives out what is closed of it."""

    pace: Pace = field(default_factory=Pace)
    _tail: str = ""
    _upto: int = 0
    _new_line: bool = False
    _references: dict[str, Any] = field(default_factory=dict)

    def add(self, text: str) -> None:
        self._tail += text
        self._new_line = self._new_line or "\n" in text

    def take(self) -> Block | None:
        """The next closed block or blocks; None while there are none, or none may be rendered."""
        if not self._new_line or len(self._tail) > MAX_TAIL_CHARS or not self.pace.may():
            return None
        self._new_line = False
        started = self.pace.clock()
        try:
            length = closed(self._tail)
            if not length:
                return None
            html = markdown.render(self._tail[:length], self._references)
        finally:
            self.pace.took(started)
        self._tail, self._upto = self._tail[length:], self._upto + length
        return Block(self._upto, html)


def closed(text: str) -> int:
    """How many characters of `text` are whole blocks that nothing behind them can change.

    Only complete lines count: the start of a line can look like something it is not. A block is
    closed where the next one has begun, or, for most, where a blank line follows.
    """
    whole = text[: text.rfind("\n") + 1]
    lines = whole.splitlines(keepends=True) if "\r" not in whole else []
    if not lines:
        return 0
    tops = markdown.top_level(whole)
    if not tops:
        return 0
    kind, start, end = tops[-1]
    if kind == markdown.HALF_FORMULA and len(tops) > 1 and tops[-2][2] == start:
        # If it turns out to be none, it is more of what stands before it.
        start = tops[-2][1]
    if kind in _END_AT_BLANK and end < len(lines):
        start = len(lines)
    return sum(map(len, lines[:start]))
