"""What a dataset holds, gathered line by line: problems, lengths, a preview. Pure but for the words
it is given.

Tokens here are an estimate (4 bytes of UTF-8 each): the provider counts with its own tokenizer, and
that count is what is charged (provider-protocol.md 6.6).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from protocol import datasets

BYTES_PER_TOKEN = 4
#: Upper ends of the histogram's bars, tokens; the last bar has what is longer.
EDGES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
PREVIEW_ROWS = 3
PREVIEW_CHARS = 600
MAX_PROBLEMS = 100


@dataclass
class Summary:
    """Everything a page says about a dataset. `bars` counts rows by `EDGES`."""

    kind: str = ""
    rows: int = 0
    duplicates: int = 0
    tokens: int = 0
    least: int = 0
    most: int = 0
    median: int = 0
    bars: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    problems: list[tuple[int, str]] = field(default_factory=list)
    problem_count: int = 0
    preview: list[tuple[str, str]] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        return bool(self.rows) and not self.problem_count


def summarise(lines: Iterable[bytes]) -> Summary:
    """Read a dataset to its end; memory grows with the number of distinct rows only, and
    with no more of them than `datasets.MOST_SEEN`."""
    report, found = datasets.Report(MAX_PROBLEMS), Summary()
    counts: dict[int, int] = {}
    for row in report.rows_of(lines):
        tokens = estimate(row.prompt) + estimate(row.answer)
        counts[tokens] = counts.get(tokens, 0) + 1
        found.bars[_bar(tokens)] += 1
        if len(found.preview) < PREVIEW_ROWS:
            found.preview.append((row.prompt[:PREVIEW_CHARS], row.answer[:PREVIEW_CHARS]))
    found.kind, found.rows, found.duplicates = report.kind, report.rows, report.duplicates
    found.problems = [(problem.line, problem.text) for problem in report.problems]
    found.problem_count = report.problem_count
    if counts:
        found.tokens = sum(tokens * times for tokens, times in counts.items())
        found.least, found.most = min(counts), max(counts)
        found.median = _median(counts, found.rows)
    return found


def estimate(text: str) -> int:
    """Tokens of a text, rounded up; nothing has none."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def _bar(tokens: int) -> int:
    return next((at for at, edge in enumerate(EDGES) if tokens <= edge), len(EDGES))


def _median(counts: dict[int, int], rows: int) -> int:
    """The middle one (the lower of two)."""
    seen = 0
    for tokens in sorted(counts):
        seen += counts[tokens]
        if seen * 2 >= rows:
            return tokens
    return 0
