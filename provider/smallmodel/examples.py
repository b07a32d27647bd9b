"""Rows of a dataset as the model sees them: tokens, and which of them are to be learnt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from protocol.datasets import Report, Row
from provider.smallmodel.network import Ints
from provider.smallmodel.tokenizer import ASSISTANT, END, USER, Tokenizer

IGNORED = -1


@dataclass(frozen=True)
class Example:
    """One row in tokens; targets from `first` on are learnt. `cut` says that it was too long."""

    tokens: list[int]
    first: int
    cut: bool


def prompt_tokens(tokenizer: Tokenizer, prompt: str, most: int) -> list[int]:
    """A question as the model expects it; of a long one the end."""
    asked = tokenizer.encode(prompt)[-most:] if prompt else []
    return [USER, *asked, ASSISTANT]


def example(tokenizer: Tokenizer, row: Row, context: int) -> Example:
    """A row, at most `context` tokens of it."""
    answer = [*tokenizer.encode(row.answer), END]
    asked = tokenizer.encode(row.prompt)
    start = prompt_tokens(tokenizer, row.prompt, max(context - len(answer) - 2, context // 3))
    tokens = start + answer
    first = len(start) if row.prompt else 1
    return Example(tokens[:context], first, len(asked) + 2 + len(answer) > context)


def whole_length(tokenizer: Tokenizer, row: Row) -> int:
    """The tokens of a row, however long: what is paid for."""
    return len(tokenizer.encode(row.prompt)) + len(tokenizer.encode(row.answer)) + 3


def batch(examples: list[Example]) -> tuple[Ints, Ints]:
    """Inputs and targets, padded to the longest; padding and questions are not learnt."""
    longest = max(len(each.tokens) for each in examples) - 1
    tokens = np.full((len(examples), longest), END, np.int64)
    targets = np.full((len(examples), longest), IGNORED, np.int64)
    for number, each in enumerate(examples):
        length = len(each.tokens) - 1
        tokens[number, :length] = each.tokens[:-1]
        targets[number, each.first - 1 : length] = each.tokens[each.first :]
    return tokens, targets


def rows(path: Path, report: Report) -> Iterator[Row]:
    """The good rows of a JSON lines file, read line by line."""

    def lines() -> Iterable[bytes]:
        with path.open("rb") as source:
            while line := source.readline(2**21):
                yield line

    return report.rows_of(lines())
