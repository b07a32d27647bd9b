"""The JSON API of interfaces.md 3 under `/api/v1`, put together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, ClassVar

from django.conf import settings
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema

from marketplace import (
    api_accounts,
    api_catalogue,
    api_changes,
    api_compare,
    api_health,
    api_network,
    api_notes,
    api_overviews,
    api_own,
    api_providers,
    api_services,
    api_transactions,
    api_verifications,
    limits,
    problems,
)


class MarketApi(NinjaAPI):
    """An API whose document says what really comes: problem documents for errors, an empty 304 for
    whoever has the answer already, and what is left of the limit.
    """

    _documents: ClassVar[dict[str, OpenAPISchema]] = {}

    def get_openapi_schema(
        self,
        *,
        path_prefix: str | None = None,
        path_params: dict[str, Any] | None = None,
    ) -> OpenAPISchema:
        """Made once per process and prefix, 0.15 s of work that anybody may ask for: read it,
        leave it as it is."""
        if path_prefix is None:
            path_prefix = self.get_root_path(path_params or {})
        if path_prefix not in self._documents:
            self._documents[path_prefix] = _honest(
                super().get_openapi_schema(path_prefix=path_prefix)
            )
        return self._documents[path_prefix]


_HEADERS = {
    "RateLimit": 'what is left: `"api";r=599;t=1`, all is back in `t` seconds',
    "RateLimit-Policy": 'the limit: `"api";q=600;w=60`, `q` units in `w` seconds',
    "X-Request-ID": "quote it when you report something",
}
_ETAG = {"ETag": "names this answer; send it back as `If-None-Match`"}


def _honest(schema: OpenAPISchema) -> OpenAPISchema:
    tags: dict[str, None] = {}
    for methods in schema["paths"].values():
        for method, operation in methods.items():
            tags |= dict.fromkeys(operation["tags"])
            _parameters(operation.get("parameters", ()))
            # A file that is written while it is sent has no tag (`api_catalogue`).
            tagged = method == "get" and operation["operationId"] != "export_services"
            _answers(tagged, operation["responses"])
    schema["tags"] = [{"name": tag} for tag in tags]
    shapes = schema["components"]["schemas"]
    # What a question may hold stands with each parameter; as a shape it is nobody's.
    asked = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schema)))
    schema["components"]["schemas"] = {name: shapes[name] for name in shapes if name in asked}
    return schema


def _parameters(parameters: Iterable[dict[str, Any]]) -> None:
    """The generator repeats the examples of a parameter's JSON Schema, which are a list, where
    OpenAPI has an object of that name; one value stands under `example`."""
    for parameter in parameters:
        examples = parameter.pop("examples", None)
        if examples:
            parameter["example"] = examples[0]


def _answers(tagged: bool, responses: dict[Any, Any]) -> None:
    """`tagged`: the answer carries an ETag, so it may also be a 304."""
    for status, response in responses.items():
        content = response.get("content", {})
        if int(status) >= 400 and "application/json" in content:
            content[problems.CONTENT_TYPE] = content.pop("application/json")
        named = _HEADERS | (_ETAG if tagged and int(status) == 200 else {})
        response["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in named.items()
        }
        if int(status) == 429:
            seconds = {"type": "integer", "minimum": 1}
            response["headers"]["Retry-After"] = {"description": "seconds", "schema": seconds}
    if tagged:
        responses[304] = {"description": "Not modified: `If-None-Match` names this very answer"}


api = MarketApi(
    title="API of 0G Market",  # begins with a letter, as packages do that are generated
    version="1",
    description=(
        "What the contracts of the 0G Compute Network say, indexed: services, accounts, movements, "
        "earnings. Amounts are decimal strings of neuron (1 0G = 10^18 neuron), times ISO 8601 "
        "UTC, addresses EIP-55. Lists are `{count, items, next}`. Every error is a problem "
        "document (RFC 9457). Reading needs no key, except what is your own (`/me`); "
        f"{limits.API.per_minute} requests per minute and address."
    ),
    servers=[{"url": settings.SITE_URL}],
    openapi_extra={"security": []},  # but where an operation says otherwise
    docs_url=None,
    openapi_url="/openapi.json",
    urls_namespace="api",
)
problems.install(api)
api.add_router("", api_network.router)
api.add_router("", api_catalogue.router)
api.add_router("", api_overviews.router)
api.add_router("", api_compare.router)
api.add_router("/services", api_services.router)
api.add_router("", api_changes.router)
api.add_router("/services", api_health.router)
api.add_router("", api_verifications.router)
api.add_router("/accounts", api_accounts.router)
api.add_router("/me", api_own.router)
api.add_router("/providers", api_providers.router)
api.add_router("/notes", api_notes.router)
api.add_router("", api_transactions.router)
