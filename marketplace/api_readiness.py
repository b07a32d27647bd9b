"""`/readyz`: may a load balancer send visitors here? (features.md M1)

Ready needs a database with all migrations, a cache, an index that has caught up with the chain, and
a process that was not told to end. An index that only stands still (no node answers, or it halted)
stays ready: its rows can be read, and every page says how old they are.
"""

from __future__ import annotations

import secrets
from typing import Any

import redis
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from chain import selectors as chain
from inference import lifespan
from marketplace.metrics import brings_token

#: Once all migrations of this code were seen applied, they stay so while this process lives.
_seen: set[str] = set()


def readyz(request: HttpRequest) -> JsonResponse:
    """200 or 503 with `{"ready": …}`; staff and the bearer of METRICS_TOKEN read why."""
    state = {
        "process": "ending" if lifespan.ENDING.is_set() else "ok",
        "database": _database(),
        "migrations": "unknown",
        "cache": _cache(),
    }
    behind: dict[str, Any] = {"indexer": "unknown"}
    caught_up = False
    if state["database"] == "ok":
        state["migrations"] = _migrations()
    if state["migrations"] == "ok":
        head = chain.head()
        caught_up = head.indexed_block >= 0 and not head.catching_up
        behind = {
            "indexer": head.state,
            "indexed_block": head.indexed_block,
            "head_block": head.head_block,
            "lag_blocks": head.lag_blocks,
            "lag_seconds": head.lag_seconds,
            "caught_up": caught_up,
        }
    ready = caught_up and all(word == "ok" for word in state.values())
    body = {"ready": ready, **({**state, **behind} if _may_know(request) else {})}
    response = JsonResponse(body, status=200 if ready else 503)
    response["Cache-Control"] = "no-store"
    # Not an error of this process, and asked every few seconds: nothing for the log.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _may_know(request: HttpRequest) -> bool:
    try:
        return brings_token(request) or bool(
            request.user.is_authenticated and request.user.is_staff
        )
    except DatabaseError:
        return False


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "down"
    return "ok"


def _migrations() -> str:
    name = str(connection.settings_dict["NAME"])
    if name in _seen:
        return "ok"
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return "unknown"
    if missing:
        return "missing"
    _seen.add(name)
    return "ok"


def _cache() -> str:
    key, value = f"readyz:{settings.CHAIN_ID}", secrets.token_hex(4)
    try:
        cache.set(key, value, timeout=10)
        # Another process may write the same key in between; any answer proves that it answers.
        return "ok" if cache.get(key) is not None else "down"
    except redis.RedisError:
        return "down"
