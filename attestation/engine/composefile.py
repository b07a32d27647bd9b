"""Compose files: which images they run, and tapp's hash of them. The YAML is a stranger's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import yaml
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from attestation.engine.evidence import Unreadable, document
from attestation.engine.limits import (
    MAX_COMPOSE_BYTES,
    MAX_YAML_CHARACTERS,
    MAX_YAML_DEPTH,
    MAX_YAML_NODES,
    MAX_YAML_NUMBER,
    TooMuch,
    check,
)

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_IMAGE_LINE = re.compile(
    r"^[ \t]*(?:-[ \t]+)?[\"']?image[\"']?[ \t]*:[ \t]*[\"']?([^\s\"'#]+)", re.M
)
#: At the end: what a variable adds is not fixed. A line of flow style ends in a mark of YAML.
_DIGEST = re.compile(r"@(sha256:([0-9a-f]{64}))[],}]*\Z")
#: Members of a service whose image is not, or not only, named here.
_ELSEWHERE = {"build", "extends"}
_MAX_IMAGES = 200
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class Compose(NamedTuple):
    """`images`: every image it names as `{"ref", "digest"}`, by line and by YAML, so that neither
    flow style nor a broken document hides one; `read`: these are all, so none was cut, the YAML
    could be read, and nothing is built or taken from another file; `started`: the references of
    its services, by YAML alone, since a line that looks like one may stand in a text that starts
    nothing.
    """

    images: list[dict[str, str | None]]
    read: bool = False
    started: tuple[str, ...] = ()


def listed(app_compose: str) -> Compose:
    """What a dstack app-compose names and starts; nothing where it cannot be read."""
    try:
        outer = document(app_compose.encode())
    except (Unreadable, UnicodeEncodeError):
        return Compose([])
    text = outer.get("docker_compose_file") if isinstance(outer, dict) else None
    return named(text) if isinstance(text, str) else Compose([])


def named(text: str) -> Compose:
    """What a compose file names and starts."""
    found, read = list(_IMAGE_LINE.findall(text)), False
    started: tuple[str, ...] = ()
    with suppress(ValueError):
        inner = load(text)
        found += [ref for ref in _image_values(inner) if ref not in found]
        services = _services(inner)
        read = isinstance(inner, dict) and "include" not in inner
        read = read and not any(service.keys() & _ELSEWHERE for service in services)
        started = tuple(image for s in services if isinstance(image := s.get("image"), str))
    images: list[dict[str, str | None]] = [
        {"ref": ref, "digest": match[1] if (match := _DIGEST.search(ref)) else None}
        for ref in found[:_MAX_IMAGES]
    ]
    return Compose(images, read and len(found) <= _MAX_IMAGES, started[:_MAX_IMAGES])


def _services(inner: Any) -> list[dict[Any, Any]]:
    services = inner.get("services") if isinstance(inner, dict) else None
    held = services.values() if isinstance(services, dict) else ()
    return [service for service in held if isinstance(service, dict)]


def digests(references: Iterable[str]) -> list[str]:
    """SHA-256 (hex) of the images that name one, in order."""
    return [found[2] for ref in references if (found := _DIGEST.search(ref))]


def tapp_hash(compose: str) -> str:
    """tapp's compose_hash: SHA-384 of the YAML as sorted, indented JSON (attestation.md 7).

    Raises ValueError for YAML that is malformed, too large or not JSON's data.
    """
    try:
        text = json.dumps(load(compose), sort_keys=True, indent=2, ensure_ascii=False)
    except (TypeError, RecursionError) as error:
        raise Unreadable(f"compose content is not JSON's data: {error}") from None
    return hashlib.sha384(text.encode()).hexdigest()


def load(text: str) -> Any:
    """A YAML 1.1 document. Raises ValueError for malformed text and for one that explodes."""
    check("compose bytes", len(text), MAX_COMPOSE_BYTES)
    _check_shape(text)
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded(node, {})
        check("compose characters", _characters(node, {}), MAX_YAML_CHARACTERS)
        return loader.construct_document(node)
    except (yaml.YAMLError, RecursionError) as error:
        raise Unreadable(f"not YAML: {type(error).__name__}") from None
    finally:
        loader.dispose()


def _check_shape(text: str) -> None:
    """Raises Unreadable or TooMuch. Events come one by one; the tree that is made of them next is
    built by recursion in C, which ends the process where a text is nested deeply enough.
    """
    depth = events = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            events += 1
            check("compose events", events, 2 * MAX_YAML_NODES)
            if isinstance(event, CollectionStartEvent):
                depth += 1
                check("compose nesting", depth, MAX_YAML_DEPTH)
            elif isinstance(event, CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError as error:
        raise Unreadable(f"not YAML: {type(error).__name__}") from None


def _expanded(node: Node, sizes: dict[int, int]) -> int:
    """Nodes of a document after its aliases are followed. Raises TooMuch, also for a loop."""
    known = sizes.get(id(node))
    if known is not None:
        if known == 0:
            raise TooMuch("compose content refers to itself")
        return known
    sizes[id(node)] = 0
    children: list[Node] = []
    if isinstance(node, SequenceNode):
        children = node.value
    elif isinstance(node, MappingNode):
        children = [part for pair in node.value for part in pair]
    size = 1
    for child in children:
        size += _expanded(child, sizes)
        check("compose nodes", size, MAX_YAML_NODES)
    sizes[id(node)] = size
    return size


def _characters(node: Node, known: dict[int, int]) -> int:
    """Characters of all scalars after aliases are followed; of a tree that is no loop.

    Raises TooMuch for a number without end: one in base 60 takes time that grows by the square.
    """
    if isinstance(node, ScalarNode):
        if node.tag in _NUMBERS:
            check("characters of a number", len(node.value), MAX_YAML_NUMBER)
        return len(node.value)
    if id(node) not in known:
        children = node.value
        if isinstance(node, MappingNode):
            children = [part for pair in node.value for part in pair]
        known[id(node)] = sum(_characters(child, known) for child in children)
    return known[id(node)]


def _image_values(value: Any) -> list[str]:
    if isinstance(value, list):
        return [ref for item in value for ref in _image_values(item)]
    if not isinstance(value, dict):
        return []
    found = [ref for item in value.values() for ref in _image_values(item)]
    image = value.get("image")
    return [image, *found] if isinstance(image, str) and image else found
