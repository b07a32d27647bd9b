"""The JSON API of interfaces.md 3 under `/api/v1`, put together."""

from __future__ import annotations

from ninja import NinjaAPI

from marketplace import (
    api_accounts,
    api_catalogue,
    api_changes,
    api_health,
    api_network,
    api_providers,
    api_services,
    api_transactions,
    api_verifications,
    limits,
    problems,
)

api = NinjaAPI(
    title="0G Market API",
    version="1",
    description=(
        "What the contracts of the 0G Compute Network say, indexed: services, accounts, movements, "
        "earnings. Amounts are decimal strings of neuron (1 0G = 10^18 neuron), times ISO 8601 "
        "UTC, addresses EIP-55. Lists are `{count, items, next}`. Every error is a problem "
        "document (RFC 9457). Reading needs no key; "
        f"{limits.API.per_minute} requests per minute and address."
    ),
    docs_url=None,
    openapi_url="/openapi.json",
    urls_namespace="api",
)
problems.install(api)
api.add_router("", api_network.router)
api.add_router("", api_catalogue.router)
api.add_router("/services", api_services.router)
api.add_router("", api_changes.router)
api.add_router("/services", api_health.router)
api.add_router("", api_verifications.router)
api.add_router("/accounts", api_accounts.router)
api.add_router("/providers", api_providers.router)
api.add_router("", api_transactions.router)
