"""Reads the operator's file so that every complaint can name the line it is about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from provider.errors import ConfigError

T = TypeVar("T")


def read(path: Path, parse: Callable[[object, Path], T]) -> T:
    """What `parse` makes of the YAML document in `path`, given with the file's folder.

    Raises ConfigError with one line, `FILE:LINE: what to fix`.
    """
    lines: dict[str, int] = {}
    try:
        text = path.read_text()
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document: Any = yaml.safe_load(text)
        if node is not None:
            _walk(node, "", lines, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: is not valid YAML ({error.problem})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        detail = " ".join(str(error).split())
        raise ConfigError(f"{path}: is not valid YAML ({detail})") from error
    try:
        return parse(document, path.parent)
    except ConfigError as error:
        text = str(error).removeprefix(": ")
        raise ConfigError(f"{path}:{_line(error.key, lines)}: {text}", error.key) from error


def _walk(node: Node, name: str, lines: dict[str, int], path: Path) -> None:
    """Note the line of each key. Raises ConfigError for a key that is there twice: YAML would
    silently keep the last."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                continue
            inner = f"{name}.{key.value}" if name else key.value
            line = key.start_mark.line + 1
            if inner in lines:
                raise ConfigError(f"{path}:{line}: {inner}: is given twice", inner)
            lines[inner] = line
            _walk(value, inner, lines, path)
    elif isinstance(node, SequenceNode):
        for number, value in enumerate(node.value):
            inner = f"{name}[{number}]"
            lines[inner] = value.start_mark.line + 1
            _walk(value, inner, lines, path)


def _line(key: str, lines: dict[str, int]) -> int:
    """The line of a key in any of its forms, or of what should contain it."""
    while key:
        for form in (key, f"{key}_file", f"{key}_env"):
            if form in lines:
                return lines[form]
        key = key.rpartition(".")[0]
    return 1
