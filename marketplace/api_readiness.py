"""`/readyz`: can this process serve? Database and cache must answer; the index's state is told
beside.
"""

from __future__ import annotations

import secrets

import redis
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from chain import selectors as chain


def readyz(request: HttpRequest) -> JsonResponse:
    """200 while pages and API can answer, else 503.

    `indexer` is `never`, `fresh`, `late`, `stale` or `halted`: rows stay readable in each, so it
    does not take the process out of service.
    """
    state = {"database": _database(), "cache": _cache(), "indexer": "unknown"}
    if state["database"] == "ok":
        state["indexer"] = chain.head().state
    ready = state["database"] == "ok" and state["cache"] == "ok"
    response = JsonResponse({"ready": ready, **state}, status=200 if ready else 503)
    response["Cache-Control"] = "no-store"
    return response


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "down"
    return "ok"


def _cache() -> str:
    key, value = f"readyz:{settings.CHAIN_ID}", secrets.token_hex(4)
    try:
        cache.set(key, value, timeout=10)
        # Another process may write the same key in between; any answer proves that it answers.
        return "ok" if cache.get(key) is not None else "down"
    except redis.RedisError:
        return "down"
