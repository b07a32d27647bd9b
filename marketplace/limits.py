"""Rate limits per caller: a token bucket (GCRA) kept in Redis, decided by one script, hence
atomic.

GCRA stores a single number per caller, the "theoretical arrival time" at which the bucket would
be full again; it allows a burst and then a steady rate, without the double burst of fixed
windows.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import redis
from django.conf import settings
from django.http import HttpRequest

from accounts.errors import TooMany
from accounts.limits import address, hit
from marketplace import presence
from net import callers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limit:
    """`per_minute` units flow back each minute; at most `burst` can be spent at once."""

    name: str
    per_minute: int
    burst: int

    @property
    def interval_ms(self) -> float:
        return 60_000 / self.per_minute


#: Reads of the JSON API, per network address. A plain read costs 1, a CSV export `CSV_COST`,
#: a transaction's preview `PREVIEW_COST`.
API = Limit("api", per_minute=600, burst=600)
CSV_COST = 20
#: Questions to the search, its palette and the documentation, per network address: each reads every
#: passage of the documentation, and the first two a dozen tables.
SEARCH = Limit("search", per_minute=300, burst=300)
#: Opening `/ws/live`, per network address: a page opens one and comes back after a pause.
LIVE = Limit("live", per_minute=120, burst=120)
#: A preview asks the chain node about ten questions; the node's own limit is shared by everybody.
PREVIEW_COST = 5
#: Pages of one transaction, per network address: each asks the node, too, whoever opens it.
TRANSACTION = Limit("transaction", per_minute=120, burst=120)


@dataclass(frozen=True)
class Decision:
    """Whether to go on; `reset_s` seconds until the bucket is full, `retry_s` until this cost
    fits again.
    """

    allowed: bool
    limit: Limit
    remaining: int
    reset_s: int
    retry_s: int

    @property
    def headers(self) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy` as structured fields (IETF draft 10: r units remain,
        all are back in t seconds; q units in w seconds), and their three forerunners, which many
        clients read.
        """
        headers = {
            "RateLimit-Policy": f'"{self.limit.name}";q={self.limit.per_minute};w=60',
            "RateLimit": f'"{self.limit.name}";r={self.remaining};t={self.reset_s}',
            "RateLimit-Limit": str(self.limit.burst),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
        }
        return headers if self.allowed else {**headers, "Retry-After": str(max(1, self.retry_s))}


_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local room = burst * interval
-- A clock that was set back must not shut anybody out until it is there again.
local full = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or now), now), now + room)
local after = full + cost * interval
if after - room > now then
  local left = math.floor((now + room - full) / interval)
  return {0, left, math.ceil(full - now), math.ceil(after - room - now)}
end
redis.call('SET', KEYS[1], string.format('%.3f', after), 'PX', math.ceil(after - now) + 1000)
return {1, math.floor((now + room - after) / interval), math.ceil(after - now), 0}
"""


def take(limit: Limit, who: str, cost: int = 1) -> Decision:
    """Spend `cost` units of `who`, and of the IPv6 network around them, which has `callers.SHARES`
    times as many. While Redis is away reads stay possible: all are allowed."""
    own = _take(limit, who, cost)
    if not own.allowed or not (around := callers.around(who)):
        return own
    more = callers.SHARES
    wide = replace(limit, per_minute=limit.per_minute * more, burst=limit.burst * more)
    of_all = _take(wide, around, cost)
    return own if of_all.allowed else of_all


def _take(limit: Limit, who: str, cost: int) -> Decision:
    tag = callers.tag(who, settings.SECRET_KEY)
    arguments = (limit.interval_ms, limit.burst, min(cost, limit.burst))
    try:
        allowed, remaining, reset_ms, retry_ms = presence.client().eval(
            _SCRIPT, 1, f"limit:{limit.name}:{tag}", *arguments
        )
    except redis.RedisError as error:
        log.warning("rate limit not checked: %s", error)
        return Decision(True, limit, limit.burst, 0, 0)
    if not allowed:
        hit(limit.name)
    return Decision(
        bool(allowed),
        limit,
        max(0, int(remaining)),
        math.ceil(reset_ms / 1000),
        math.ceil(retry_ms / 1000),
    )


def spend(limit: Limit, request: HttpRequest) -> None:
    """Spend one unit of a page's reader. Raises TooMany."""
    decision = take(limit, address(request))
    if not decision.allowed:
        raise TooMany(max(1, decision.retry_s), (limit.name, limit.per_minute, 60))
