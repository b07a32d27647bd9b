"""The project's documentation as passages: Markdown sections, and docstrings of its own code."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

MAX_PASSAGE_CHARS = 900
MIN_DOCSTRING_CHARS = 120
SKIPPED_FOLDERS = frozenset({"node_modules", "migrations", "tests", "static", "templates", "bench"})

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*\Z")
_FENCE = re.compile(r"\s*(```|~~~)")


@dataclass(frozen=True)
class Passage:
    """A few hundred characters with their origin; `weight` says how much it counts as an answer."""

    source: str
    heading: str
    text: str
    weight: float = 1.0


def load(root: Path) -> list[Passage]:
    """Every passage under `root`: top-level and docs/ Markdown, then the code's docstrings."""
    passages: list[Passage] = []
    for path in [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]:
        # The log of changes repeats every word of the documentation without explaining one.
        if path.name != "CHANGELOG.md":
            source = path.relative_to(root).as_posix()
            weight = 0.7 if "decisions" in path.parts else 1.0
            passages += [replace(p, weight=weight) for p in _markdown(source, _text(path))]
    for path in sorted(_programs(root)):
        passages += _docstrings(path.relative_to(root).as_posix(), _text(path))
    return passages


def _programs(root: Path) -> Iterator[Path]:
    """The code below `root`, not beside it; what is skipped (among it the tens of thousands of
    files of .venv and node_modules) is not even listed."""
    for folder, below, files in os.walk(root):
        below[:] = [n for n in below if not n.startswith(".") and n not in SKIPPED_FOLDERS]
        if Path(folder) != root:
            yield from (Path(folder, n) for n in files if n.endswith(".py") and n[0] != ".")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _markdown(source: str, text: str) -> Iterator[Passage]:
    """One passage per section, long sections cut between paragraphs."""
    trail: list[tuple[int, str]] = []
    block: list[str] = []
    fenced = False

    def flush() -> Iterator[Passage]:
        heading = " › ".join(title for _, title in trail)
        for part in _pieces("\n".join(block)):
            yield Passage(source, heading, part)
        block.clear()

    for line in text.splitlines():
        fenced ^= bool(_FENCE.match(line))
        match = None if fenced else _HEADING.match(line)
        if match is None:
            block.append(line)
            continue
        yield from flush()
        level = len(match[1])
        trail = [(depth, title) for depth, title in trail if depth < level]
        trail.append((level, match[2].replace("`", "")))
    yield from flush()


def _pieces(text: str) -> Iterator[str]:
    """`text` in parts of whole paragraphs, each up to MAX_PASSAGE_CHARS where paragraphs allow."""
    part = ""
    for paragraph in _paragraphs(text):
        if part and len(part) + len(paragraph) > MAX_PASSAGE_CHARS:
            yield part
            part = ""
        part = f"{part}\n\n{paragraph}" if part else paragraph
    if part:
        yield part


def _paragraphs(text: str) -> Iterator[str]:
    """Blocks between blank lines; a fenced block stays whole and comments of HTML go."""
    block: list[str] = []
    fenced = False
    for line in [*re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL).splitlines(), ""]:
        fenced ^= bool(_FENCE.match(line))
        if line.strip() or fenced:
            block.append(line.rstrip())
        elif block:
            yield "\n".join(block)
            block = []
    if block:
        yield "\n".join(block)


def _docstrings(source: str, code: str) -> Iterator[Passage]:
    """Long docstrings of a module and of its public classes and functions."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return
    named: list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]] = [
        (source, tree)
    ]
    below = list[ast.AST](tree.body)
    for node in below:  # which grows: statements only, since no expression holds one
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            named.append((node.name, node))
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            held = getattr(node, field, ())
            below += held if isinstance(held, list) else ()
    for name, node in named:
        text = ast.get_docstring(node)
        if text and len(text) >= MIN_DOCSTRING_CHARS and not name.startswith("_"):
            yield Passage(source, name, text[:MAX_PASSAGE_CHARS], weight=0.6)
