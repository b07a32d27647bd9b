"""Readers of the messages in a template, a Python file, a script: text in, messages out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from babel.messages.jslexer import Token, tokenize, unquote_string
from django.utils.translation.template import templatize

#: What each function's first arguments are: its message, its context.
_PYTHON = {
    **dict.fromkeys(("_", "gettext", "gettext_lazy", "gettext_noop", "N_"), ("one",)),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), ("one", "many")),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ("context", "one")),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), ("context", "one", "many")),
}
_SCRIPT = {"t": 1, "tn": 2}


@dataclass(frozen=True)
class Found:
    """A message: its English text, or its (singular, plural)."""

    id: str | tuple[str, str]
    context: str | None = None


def in_python(source: str) -> Iterator[Found]:
    """Calls with literal texts. Raises SyntaxError where a text is put together before it is
    translated: no catalogue could hold it."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    for node in sorted(calls, key=lambda one: (one.lineno, one.col_offset)):
        if isinstance(node.func, (ast.Name, ast.Attribute)):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in _PYTHON and node.args:
                yield from _call(node, _PYTHON[name])


def _call(node: ast.Call, roles: tuple[str, ...]) -> Iterator[Found]:
    said: dict[str, str] = {}
    for role, argument in zip(roles, node.args, strict=False):
        if isinstance(argument, (ast.JoinedStr, ast.BinOp)):
            raise SyntaxError(f"line {node.lineno}: a text made before it is translated")
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            said[role] = argument.value
    if len(said) == len(roles):
        one, many = said["one"], said.get("many")
        yield Found((one, many) if many else one, said.get("context"))


#: `templatize` writes everything else as letters and keeps each call on its line.
_CALL = re.compile(r"(?<![\w.])(n?p?gettext|_)\(")


def in_template(source: str) -> Iterator[Found]:
    """`{% translate %}`, `{% blocktranslate %}` and `_("…")` in the arguments of tags."""
    readable = templatize(source)
    for match in _CALL.finditer(readable):
        yield from in_python(_whole_call(readable, match.start()))


def _whole_call(text: str, start: int) -> str:
    """The call that begins at `start`, to its closing bracket outside of strings."""
    string = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|[()]")
    depth = 0
    for match in string.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(match.group(), 0)
        if depth == 0:
            return text[start : match.end()]
    raise SyntaxError(f"a translation that does not end: {text[start : start + 60]}")


_INSIDE = re.compile(r"\$\{")


def in_javascript(source: str) -> Iterator[Found]:
    """`t("…")` and `tn("…", "…", n)`, also inside `${…}` of template strings."""
    tokens = [
        token
        for token in tokenize(source, jsx=False)
        if token.type not in ("linecomment", "multilinecomment", "whitespace")
    ]
    for index, token in enumerate(tokens):
        if token.type == "template_string":
            for inner in _insides(token.value):
                yield from in_javascript(inner)
        called = index + 1 < len(tokens) and tokens[index + 1].value == "("
        free = index == 0 or tokens[index - 1].value not in (".", "function")
        if token.type == "name" and token.value in _SCRIPT and called and free:
            texts = _texts(tokens, index + 2, _SCRIPT[token.value])
            if texts:
                yield Found((texts[0], texts[1]) if len(texts) > 1 else texts[0])


def _insides(template: str) -> Iterator[str]:
    """The expressions of a template string."""
    for match in _INSIDE.finditer(template):
        depth, end = 1, match.end()
        while depth and end < len(template):
            depth += {"{": 1, "}": -1}.get(template[end], 0)
            end += 1
        yield template[match.end() : end - 1]


def _texts(tokens: list[Token], index: int, wanted: int) -> list[str]:
    """The literal arguments from `index` on; none where the first one is no literal."""
    texts: list[str] = []
    while len(texts) < wanted:
        if tokens[index].type != "string":
            if tokens[index].type == "template_string" or texts:
                raise SyntaxError(f"line {tokens[index].lineno}: not a plain text to translate")
            return []
        text = unquote_string(tokens[index].value)
        while tokens[index + 1].value == "+":
            if tokens[index + 2].type != "string":
                raise SyntaxError(
                    f"line {tokens[index].lineno}: a text made before its translation"
                )
            text, index = text + unquote_string(tokens[index + 2].value), index + 2
        texts.append(text)
        index += 2
    return texts
