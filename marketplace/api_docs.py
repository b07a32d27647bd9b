"""`/api/docs`: the OpenAPI document as a page of our own (no script, no third party, readable
without colour).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from accounts import refusals
from accounts.codes import CODES, Code
from attestation.models import Verification
from ledger import listed, selectors
from ledger.models import ServiceTotal, SubAccount
from ledger.records import Listing
from marketplace.api import api
from marketplace.parts import service_id

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
    token: bool
    body: str
    example: str = ""
    curl: str = ""


@dataclass(frozen=True)
class GroupDoc:
    name: str
    operations: tuple[OperationDoc, ...]


@dataclass(frozen=True)
class ApiDocsPage:
    description: Prose
    groups: tuple[GroupDoc, ...]
    shapes: tuple[ShapeDoc, ...]
    codes: tuple[tuple[Code, Prose], ...]
    refusals: tuple[tuple[str, str], ...]
    body: str = ""


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The page with examples that run here: they name what this index holds (5 queries)."""
    values = tuple(known_values().items())
    page = replace(read(), body=body(get_language() or "", values))
    return render(request, "api/docs.html", {"page": page})


@lru_cache(maxsize=8)
def body(language: str, values: tuple[tuple[str, str], ...]) -> str:
    """All endpoints with examples, as `language` labels what can be copied. Kept: to write it takes
    0.1 s, and anybody may ask.
    """
    with translation.override(language):
        page = with_examples(read(), dict(values))
        return render_to_string("api/endpoints.html", {"page": page})


def known_values() -> dict[str, str]:
    """A value for each part of a path, and each question without which there is no answer: of the
    newest services, and of the listed one with most settlements and an account there: so lists have
    something in them. Several values of one stand in lines."""
    values = {"kind": "inference", "provider": "", "address": "", "id": ""}
    known = selectors.contracts()
    listed_rows = listed.rows().defer("search")
    newest = listed_rows.order_by("-created_block", "pk")[:2]
    services = [Listing.of(row, known) for row in newest]
    busy = ServiceTotal.objects.filter(items__gt=0, provider__in=listed_rows.values("provider"))
    busy = busy.order_by("-items", "pk")
    paid = listed_rows.filter(provider__in=busy.values("provider")[:1]).order_by("pk")[:1]
    for one in ([Listing.of(row, known) for row in paid] or services)[:1]:
        users = SubAccount.current.filter(provider=one.provider).values_list("user", flat=True)
        holder = users.order_by("user").first() or one.provider
        values |= {"kind": one.kind, "provider": one.provider, "address": holder}
    values["s"] = "\n".join(map(service_id, services))
    run = Verification.objects.order_by("-finished_at").values_list("pk", flat=True).first()
    return values | {"id": str(run or "")}


def with_examples(page: ApiDocsPage, values: Mapping[str, str]) -> ApiDocsPage:
    groups = tuple(
        replace(
            group,
            operations=tuple(
                replace(operation, example=filled(operation, values), curl=curl(operation, values))
                for operation in group.operations
            ),
        )
        for group in page.groups
    )
    return replace(page, groups=groups)


def filled(operation: OperationDoc, values: Mapping[str, str]) -> str:
    """The path with values in it; "" where none is known, or where it needs a token or a body."""
    if "/providers/{address}" in operation.path:
        values = {**values, "address": values["provider"]}
    asked = [one.name for one in operation.parameters if one.required and one.place == "query"]
    names = [*asked, *re.findall(r"{(\w+)}", operation.path)]
    if operation.method != "GET" or operation.token or not all(values.get(n) for n in names):
        return ""
    path = re.sub(r"{(\w+)}", lambda match: quote(values[match[1]], safe=""), operation.path)
    query = [(name, value) for name in asked for value in values[name].splitlines()]
    return path + ("?" + urlencode(query, safe="/") if query else "")


def curl(operation: OperationDoc, values: Mapping[str, str]) -> str:
    """A command that runs as it is printed."""
    site = settings.SITE_URL
    if operation.token and "{" not in operation.path:
        return f"curl -s -H 'Authorization: Bearer zgm_…' {shlex.quote(site + operation.path)}"
    if operation.body:
        header = "-H 'Content-Type: application/json'"
        return f"curl -s {header} -d {shlex.quote(operation.body)} {site}{operation.path}"
    path = filled(operation, values)
    # A zip belongs into a file.
    form = "curl -sOJ" if operation.answer == "application/zip" else "curl -s"
    return f"{form} {shlex.quote(site + path)}" if path else ""


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
            if "properties" in shape
        ),
        codes=tuple((code, prose(code.meaning)) for code in CODES.values()),
        refusals=tuple((name, " ".join(said)) for name, said in sorted(refusals.SENTENCES.items())),
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
    example = body.get("schema", {}).get("example")
    return OperationDoc(
        id=str(operation.get("operationId", "")),
        method=method.upper(),
        path=path,
        summary=str(operation.get("summary", "")),
        description=prose(operation.get("description") or operation.get("summary", "")),
        parameters=tuple(parameters),
        answer=answer,
        shape=shape,
        token=bool(operation.get("security")),
        body=json.dumps(example) if example else "",
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
        kind = kind.removesuffix(' or ""')
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
        return " | ".join(str(value) for value in schema["enum"] if value != ""), ""
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
        return "List of " + raw.removeprefix("ListOf_").strip("_").removesuffix("Out")
    return raw.removesuffix("Out")


def prose(text: object) -> Prose:
    """Our docstrings on one line, their `code` marked."""
    parts = " ".join(str(text).split()).split("`")
    return tuple(Run(part, bool(index % 2)) for index, part in enumerate(parts) if part)
