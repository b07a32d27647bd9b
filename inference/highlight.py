"""Code of a model's answer with its words marked: a few classes of our own, nothing else. Pure.

Highlighters are regular expressions over text of strangers, so the languages are a closed list and
the length is bounded; anything else stays plain.
"""

from __future__ import annotations

import re
from functools import cache

import nh3
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Token, _TokenType

MAX_CHARS = 8_000
#: Long lines and long runs of empty ones are what takes such expressions quadratic time.
_STRAINING = re.compile(r"[^\n]{300}|\n[ \t\r\n]{40}")
#: C#, Java and Kotlin by JavaScript's rules: those of their own take quadratic time.
LANGUAGES = {
    "bash": "bash", "c": "c", "c++": "cpp", "cpp": "cpp", "csharp": "js", "css": "css",
    "diff": "diff", "go": "go", "html": "html", "ini": "ini", "java": "js", "javascript": "js",
    "js": "js", "json": "json", "jsx": "js", "kotlin": "js", "php": "php", "py": "python",
    "python": "python", "rb": "ruby", "ruby": "ruby", "rs": "rust", "rust": "rust", "sh": "bash",
    "shell": "bash", "sol": "solidity", "solidity": "solidity", "sql": "sql", "swift": "swift",
    "toml": "toml", "ts": "ts", "tsx": "ts", "typescript": "ts", "xml": "xml", "yaml": "yaml",
    "yml": "yaml",
}  # fmt: skip
_MARKS: tuple[tuple[_TokenType, str], ...] = (
    (Token.Comment, "hc"),
    (Token.Keyword, "hk"),
    (Token.Literal.String, "hs"),
    (Token.Literal.Number, "hn"),
    (Token.Name.Function, "hf"),
    (Token.Name.Class, "hf"),
    (Token.Name.Builtin, "hf"),
    (Token.Name.Tag, "hk"),
    (Token.Generic.Inserted, "hs"),
    (Token.Generic.Deleted, "hd"),
)
CLASSES = {mark for _, mark in _MARKS}


def highlight(code: str, language: str) -> str:
    """`code` as HTML text with `<span class=…>` of CLASSES; plain for an unknown language."""
    name = LANGUAGES.get(language.strip().lower())
    if name is None or len(code) > MAX_CHARS or _STRAINING.search(code):
        return nh3.clean_text(code)
    parts: list[str] = []
    for kind, text in _lexer(name).get_tokens(code):
        mark = next((mark for wanted, mark in _MARKS if kind in wanted), "")
        clean = nh3.clean_text(text)
        parts.append(f'<span class="{mark}">{clean}</span>' if mark else clean)
    return "".join(parts)


@cache
def _lexer(name: str) -> Lexer:
    return get_lexer_by_name(name, stripnl=False, ensurenl=False)
