"""Training data: JSON lines of three kinds, read one by one (provider-protocol.md 6.6).

`{"instruction", "input", "output"}`, `{"messages": [{"role", "content"}]}` with a user and ending
with the assistant, or `{"text"}`. Problems carry line numbers (from 1) and words for people. A
file's kind is its first row's; other kinds in it are problems.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

INSTRUCTION, MESSAGES, TEXT = "instruction", "messages", "text"
ROLES = ("system", "user", "assistant", "tool")
MAX_LINE_BYTES = 1024 * 1024
#: Fewer than this teach little (the documentation's advice).
ADVISED_ROWS = 10
#: Of so many different rows repeats are counted: 100 MB may hold millions, and each costs memory.
MOST_SEEN = 1_000_000
_BOM = b"\xef\xbb\xbf"


class BadRow(ValueError):
    """One line will not do; the text says why."""


@dataclass(frozen=True)
class Row:
    """One example: what the model is given, and what it should say.

    For TEXT rows all of it is to be learnt and `prompt` is "".
    """

    line: int
    kind: str
    prompt: str
    answer: str


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line; 0 stands for the whole file."""

    line: int
    text: str


@dataclass
class Report:
    """What a dataset holds, gathered while its lines pass.

    `problems` ends at `max_problems`; `problem_count` does not.
    """

    max_problems: int = 100
    kind: str = ""
    rows: int = 0
    duplicates: int = 0
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set, repr=False)

    def rows_of(self, lines: Iterable[bytes]) -> Iterator[Row]:
        """The good rows of `lines`, each with or without its newline; the report grows with them.

        Duplicates of the first `MOST_SEEN` different rows are counted, and given all the same.
        """
        for number, raw in enumerate(lines, 1):
            if number == 1:
                raw = raw.removeprefix(_BOM)
            if not raw.strip():
                continue
            try:
                row = parse_row(raw, number)
                if self.kind and row.kind != self.kind:
                    raise BadRow(f"a row of the kind {row.kind} in a file of {self.kind} rows")
            except BadRow as problem:
                self.add(number, str(problem))
                continue
            self.kind = row.kind
            self.rows += 1
            seen = hash((row.prompt, row.answer))
            self.duplicates += seen in self._seen
            if len(self._seen) < MOST_SEEN:
                self._seen.add(seen)
            yield row
        if not self.rows and not self.problem_count:
            self.add(0, "the file holds no rows")

    def add(self, line: int, text: str) -> None:
        """Note a problem."""
        self.problem_count += 1
        if len(self.problems) < self.max_problems:
            self.problems.append(Problem(line, text))


def parse_row(raw: bytes, line: int) -> Row:
    """One line of a dataset, with or without its newline. Raises BadRow."""
    if len(raw.removesuffix(b"\n")) > MAX_LINE_BYTES:
        raise BadRow("longer than 1 MiB")
    try:
        found = json.loads(raw.decode(), parse_constant=_no_json)
    except UnicodeDecodeError as error:
        raise BadRow(f"not UTF-8 at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise BadRow(f"not valid JSON: {error.msg} at character {error.pos + 1}") from error
    except (ValueError, RecursionError) as error:
        raise BadRow("not valid JSON") from error
    if not isinstance(found, dict):
        raise BadRow("expected a JSON object")
    if "messages" in found:
        return _conversation(found["messages"], line)
    if "instruction" in found or "output" in found:
        return _instruction(found, line)
    if "text" in found:
        return Row(line, TEXT, "", _filled(found, "text"))
    raise BadRow("expected instruction and output, messages, or text")


def _no_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _instruction(found: dict[str, Any], line: int) -> Row:
    given = found.get("input", "")
    if not isinstance(given, str):
        raise BadRow("input: expected a text")
    prompt = _filled(found, "instruction")
    if given.strip():
        prompt += "\n" + _filled(found, "input")
    return Row(line, INSTRUCTION, prompt, _filled(found, "output"))


def _conversation(messages: object, line: int) -> Row:
    if not isinstance(messages, list) or not messages:
        raise BadRow("messages: expected a list of messages")
    said: list[tuple[str, str]] = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            raise BadRow(f"messages: the {number}. is not an object")
        role = message.get("role")
        if role not in ROLES:
            raise BadRow(f"messages: the {number}. has no known role")
        try:
            said.append((role, _filled(message, "content")))
        except BadRow as problem:
            raise BadRow(f"messages: the {number}. {problem}") from problem
    if not any(role == "user" for role, _ in said):
        raise BadRow("messages: nobody is the user")
    if said[-1][0] != "assistant":
        raise BadRow("messages: the last one is not the assistant's")
    prompt = "\n".join(text for _, text in said[:-1])
    return Row(line, MESSAGES, prompt, said[-1][1])


def _filled(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str):
        raise BadRow(f"{key}: expected a text")
    if not value.strip():
        raise BadRow(f"{key}: is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRow(f"{key}: holds half a character (a lone surrogate)") from error
    return value
