"""Rate limits of what people do: a fixed window per caller, counted atomically in the cache; while
Redis is away nothing passes. Reading has `marketplace.limits`, which says in headers how much is
left, and lets everybody through then.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest

from accounts.errors import TooMany
from net import callers
from net.cache import SharedRedisCache


def address(request: HttpRequest) -> str:
    """The network address to count (`net.callers`)."""
    remote = str(request.META.get("REMOTE_ADDR", ""))
    forwarded = str(request.META.get("HTTP_X_FORWARDED_FOR", ""))
    return callers.caller(remote, forwarded, settings.TRUSTED_PROXIES)


def address_of_socket(scope: Mapping[str, Any]) -> str:
    """The same of a websocket."""
    remote = (scope.get("client") or ("",))[0]
    name = b"x-forwarded-for"
    forwarded = b",".join(value for header, value in scope["headers"] if header.lower() == name)
    return callers.caller(remote, forwarded.decode("latin-1"), settings.TRUSTED_PROXIES)


def caller(request: HttpRequest) -> str:
    """Whom to count: the signed-in wallet, else the network address."""
    if request.user.is_authenticated:
        return request.user.get_username()
    return address(request)


def key(name: str, who: str, number: int) -> str:
    """Where uses of the window of that `number` are counted; it tells nobody who `who` is."""
    return f"limit:{name}:{callers.tag(who, settings.SECRET_KEY)}:{number}"


#: Refusals of this process by the limit's name, since `marketplace.traffic` last took them.
_hits: Counter[str] = Counter()
_lock = Lock()


def hit(name: str) -> None:
    """Somebody was refused: counted for the host, without who."""
    with _lock:
        _hits[name.split(":")[0]] += 1


def take_hits() -> Counter[str]:
    """What was counted since the last time."""
    with _lock:
        taken = _hits.copy()
        _hits.clear()
    return taken


def window(seconds: int) -> tuple[int, int]:
    """The present window of that length by its number, and how many seconds of it are over."""
    return divmod(int(time.time()), seconds)


class Use(NamedTuple):
    """So many `uses` of `name` by `who`, of whom `limit` are allowed in a window of `seconds`."""

    name: str
    who: str
    limit: int
    seconds: int
    uses: int = 1


def spend(name: str, who: str, *, limit: int, seconds: int, uses: int = 1) -> None:
    """Count one use of `name` by `who`, or as many as it costs; TooMany above `limit` uses per
    window of `seconds`, and above `callers.SHARES` times as many of all in an IPv6 network.
    """
    spend_each(Use(name, who, limit, seconds, uses))


def spend_each(*uses: Use) -> None:
    """`spend` of several, counted together whatever each comes to."""
    moments = [window(use.seconds) for use in uses]
    # Atomic in Redis; the key is only ever read inside its own window.
    counted = cast(SharedRedisCache, cache).counts(
        *[
            (key(use.name, use.who, number), use.seconds + 5, use.uses)
            for use, (number, _) in zip(uses, moments, strict=True)
        ]
    )
    for use, (_, into), found in zip(uses, moments, counted, strict=True):
        name = use.name.split(":")[0]
        if found > use.limit:
            hit(name)
            raise TooMany(use.seconds - into, (name, use.limit, use.seconds))
        if around := callers.around(use.who):
            spend_each(use._replace(who=around, limit=use.limit * callers.SHARES))


#: Checks of transactions for people of one network address, each some ten questions to the chain
#: node, whose own limit is everybody's: a person has limits, too, but wallets cost nothing.
CHECKS_PER_MINUTE = 600


def spend_check(request: HttpRequest) -> None:
    """Count one transaction that is checked against the chain. Raises TooMany."""
    spend("checks-from", address(request), limit=CHECKS_PER_MINUTE, seconds=60)
