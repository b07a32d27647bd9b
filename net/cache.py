"""Django's Redis cache, with one pool of connections for the whole process.

Django makes a cache for every thread and every task, each with connections of its own, which for a
short task means to connect, say hello and leave again for one value; and a client of redis-py for
every command, which takes longer than the command. Pool and client are safe to share.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from django.core.cache import cache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from django.utils.functional import cached_property
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

_clients: dict[tuple[str, ...], Any] = {}
_making = threading.Lock()


class _Client(RedisCacheClient):
    """Of one server; otherwise Django's."""

    @cached_property
    def _one(self) -> Any:
        return super().get_client(write=True)

    def get_client(self, key: object = None, *, write: bool = False) -> Any:
        return self._one


class SharedRedisCache(RedisCache):
    """`django.core.cache.backends.redis.RedisCache` otherwise."""

    _servers: list[str]
    _options: dict[str, Any]

    @cached_property
    def _cache(self) -> Any:
        servers = tuple(self._servers)
        with _making:
            if servers not in _clients:
                _clients[servers] = _Client(self._servers, **self._options)
            return _clients[servers]

    def count(self, key: str, seconds: int, by: int = 1) -> int:
        """Add to a number that is forgotten `seconds` after its first one; what it is now. One step
        of the server, and one round trip.
        """
        return self.counts((key, seconds, by))[0]

    def counts(self, *added: tuple[str, int, int]) -> list[int]:
        """`count` of several (key, seconds, by), together."""
        client = self._cache.get_client(write=True)
        steps = client.pipeline()
        for key, seconds, by in added:
            name = self.make_and_validate_key(key)
            steps.incr(name, by).expire(name, seconds, nx=True)
        return [int(found) for found in steps.execute()[::2]]


# --- what a page can do without -------------------------------------------------------------------

#: After Redis did not answer, pages do without it for this long (seconds): each try may cost one.
PAUSE = 5.0
_asked_again = 0.0


def recall(key: str) -> Any:
    """What `keep` kept; None where nothing is, and while Redis is away: for what a page finds out
    anew, or does not need.
    """
    return tried(lambda: cache.get(key), None)


def keep(key: str, value: Any, seconds: int) -> None:
    """Keep what can be found out anew; while Redis is away it is not kept."""
    tried(lambda: cache.set(key, value, timeout=seconds), None)


def first(key: str, seconds: int) -> bool:
    """Whether this is the first time in so many seconds; False while Redis is away: for what is not
    missed when it is left out, never for a lock.
    """
    return bool(tried(lambda: cache.add(key, 1, timeout=seconds), False))


def tried(step: Callable[[], Any], without: Any) -> Any:
    """What a step comes to that asks Redis; `without` while it is away."""
    global _asked_again
    if time.monotonic() < _asked_again:
        return without
    try:
        return step()
    except RedisError as error:
        _asked_again = time.monotonic() + PAUSE
        log.warning("pages do without Redis: %s", error)
        return without
