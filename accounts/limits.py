"""Rate limits for the doors of this app: a fixed window per caller, counted atomically in the
cache.
"""

from __future__ import annotations

import time

from django.core.cache import cache
from django.http import HttpRequest

from accounts.errors import TooMany


def caller(request: HttpRequest) -> str:
    """Whom to count: the signed-in wallet, else the network address."""
    if request.user.is_authenticated:
        return request.user.get_username()
    return str(request.META.get("REMOTE_ADDR", ""))


def spend(name: str, who: str, *, limit: int, seconds: int) -> None:
    """Count one use of `name` by `who`; TooMany above `limit` uses per window of `seconds`."""
    window, into = divmod(int(time.time()), seconds)
    key = f"limit:{name}:{who}:{window}"
    # `add` then `incr`: both atomic in Redis, and the key is only ever read inside its own window.
    cache.add(key, 0, timeout=seconds + 5)
    if cache.incr(key) > limit:
        raise TooMany(seconds - into)
