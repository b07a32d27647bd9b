"""Django's Redis cache, with one pool of connections for the whole process.

Django makes a cache for every thread and every task, each with connections of its own, which for a
short task means to connect, say hello and leave again for one value. The pool is safe to share.
"""

from __future__ import annotations

import threading
from typing import Any

from django.core.cache.backends.redis import RedisCache
from django.utils.functional import cached_property

_clients: dict[tuple[str, ...], Any] = {}
_making = threading.Lock()


class SharedRedisCache(RedisCache):
    """`django.core.cache.backends.redis.RedisCache` otherwise."""

    _servers: list[str]
    _class: Any
    _options: dict[str, Any]

    @cached_property
    def _cache(self) -> Any:
        servers = tuple(self._servers)
        with _making:
            if servers not in _clients:
                _clients[servers] = self._class(self._servers, **self._options)
            return _clients[servers]

    def count(self, key: str, seconds: int) -> int:
        """Add one to a number that is forgotten `seconds` after its first one; what it is now. One
        step of the server, and one round trip.
        """
        name = self.make_and_validate_key(key)
        steps = self._cache.get_client(name, write=True).pipeline()
        found, _ = steps.incr(name).expire(name, seconds, nx=True).execute()
        return int(found)
