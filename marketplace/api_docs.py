"""`/api/docs`: the OpenAPI document as a page of our own (no script, no third party, readable
without colour).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from marketplace.api import api
from marketplace.problems import CODES, Code

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A stretch of prose, or of `code`."""

    text: str
    code: bool


Prose = tuple[Run, ...]


@dataclass(frozen=True)
class FieldDoc:
    """A field of a shape or a parameter; `shape` is the name of the shape it holds, if any."""

    name: str
    type: str
    shape: str
    required: bool
    default: str
    description: Prose
    place: str = ""


@dataclass(frozen=True)
class ShapeDoc:
    name: str
    description: Prose
    fields: tuple[FieldDoc, ...]


@dataclass(frozen=True)
class OperationDoc:
    id: str
    method: str
    path: str
    summary: str
    description: Prose
    parameters: tuple[FieldDoc, ...]
    answer: str
    shape: str
    example: str


@dataclass(frozen=True)
class GroupDoc:
    name: str
    operations: tuple[OperationDoc, ...]


@dataclass(frozen=True)
class ApiDocsPage:
    description: Prose
    groups: tuple[GroupDoc, ...]
    shapes: tuple[ShapeDoc, ...]
    codes: tuple[Code, ...]


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    return render(request, "api/docs.html", {"page": read()})


@lru_cache(maxsize=1)
def read() -> ApiDocsPage:
    """The page of the running API; its schema does not change while the process lives."""
    schema: Json = api.get_openapi_schema(path_prefix="/api/v1/")
    groups: dict[str, list[OperationDoc]] = {}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["Other"])[0]
            groups.setdefault(tag, []).append(_operation(method, path, operation))
    shapes = schema.get("components", {}).get("schemas", {})
    return ApiDocsPage(
        description=prose(schema["info"]["description"]),
        groups=tuple(GroupDoc(name, tuple(found)) for name, found in groups.items()),
        shapes=tuple(
            ShapeDoc(_name(name), prose(shape.get("description", "")), tuple(_fields(shape)))
            for name, shape in sorted(shapes.items())
            if "properties" in shape and not name.endswith("In")
        ),
        codes=tuple(CODES.values()),
    )


def _operation(method: str, path: str, operation: Json) -> OperationDoc:
    answer, shape = _answer(operation)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    parameters = [
        _field(p["name"], p["schema"], bool(p.get("required")), p["in"], p.get("description", ""))
        for p in operation.get("parameters", ())
    ]
    for name, schema in body.get("schema", {}).get("properties", {}).items():
        parameters.append(_field(name, schema, name in body["schema"]["required"], "body", ""))
    sample = path
    for name in ("{provider}", "{address}"):
        sample = sample.replace(name, "0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    return OperationDoc(
        id=str(operation.get("operationId", "")),
        method=method.upper(),
        path=path,
        summary=str(operation.get("summary", "")),
        description=prose(operation.get("description") or operation.get("summary", "")),
        parameters=tuple(parameters),
        answer=answer,
        shape=shape,
        # Any address has an account; which services exist is not for the schema to know.
        example=sample if method == "get" and "{" not in sample else "",
    )


def _answer(operation: Json) -> tuple[str, str]:
    """The type of a successful answer and the shape to look up for it."""
    good = {str(k): v for k, v in operation.get("responses", {}).items()}.get("200", {})
    content: Json = good.get("content", {})
    if not content:
        return "", ""
    media, value = next(iter(content.items()))
    if media != "application/json":
        return media, ""
    return _type(value.get("schema", {}))


def _fields(shape: Json) -> Iterator[FieldDoc]:
    required = shape.get("required", ())
    for name, schema in shape["properties"].items():
        yield _field(name, schema, name in required, "", "")


def _field(name: str, schema: Json, required: bool, place: str, description: str) -> FieldDoc:
    kind, shape = _type(schema)
    if place == "query":
        # Whoever leaves it out sends no null, and an empty text only from a form.
        kind = kind.removesuffix(' or ""').removesuffix(" or null")
    default = schema.get("default")
    return FieldDoc(
        name=name,
        type=kind,
        shape=shape,
        required=required,
        default="" if default in (None, "") else str(default),
        description=prose(description or schema.get("description", "")),
        place=place,
    )


def _type(schema: Json) -> tuple[str, str]:
    """A schema in words, and the last shape it refers to."""
    if "$ref" in schema:
        name = _name(str(schema["$ref"]).rsplit("/", 1)[-1])
        return name, name
    for joiner in ("anyOf", "oneOf", "allOf"):
        if joiner in schema:
            parts = [_type(part) for part in schema[joiner]]
            shape = next((shape for _, shape in parts if shape), "")
            return " or ".join(dict.fromkeys(text for text, _ in parts)), shape
    if "const" in schema:
        return f'"{schema["const"]}"', ""
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"]), ""
    if schema.get("type") == "array":
        text, shape = _type(schema.get("items", {}))
        return f"list of {text}", shape
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        text, shape = _type(schema["additionalProperties"])
        return f"object of {text}", shape
    words = str(schema.get("type", "any"))
    return (f"{words} ({schema['format']})" if "format" in schema else words), ""


def _name(raw: str) -> str:
    """`ListOf_Change_` is how the generator spells a list; people read `List of Change`."""
    if raw.startswith("ListOf_"):
        inner = raw.removeprefix("ListOf_").strip("_")
        return "List of " + ("services" if "_" in inner else inner.removesuffix("Out"))
    return raw.removesuffix("Out")


def prose(text: object) -> Prose:
    """Our docstrings on one line, their `code` marked."""
    parts = " ".join(str(text).split()).split("`")
    return tuple(Run(part, bool(index % 2)) for index, part in enumerate(parts) if part)
