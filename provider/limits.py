"""How often and how much at once: requests per minute and user, answers under way
(provider-protocol.md 1.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

from provider.config import Limits
from provider.errors import Refused

WINDOW_SECONDS = 60
MAX_TRACKED = 10_000
#: Anybody is given a /48 of IPv6, 65,536 times what counts as one customer (`provider.http`): all
#: of one have as much as so many together.
SHARES = 16


class Windows:
    """Counts requests by somebody in fixed one-minute windows."""

    def __init__(self, limit: int) -> None:
        self._limit, self._most = limit, limit * SHARES
        self._window = 0
        self._counts: dict[str, int] = {}

    def count(self, who: str, now: float) -> dict[str, str]:
        """Count one request at unix time `now`; returns the X-RateLimit headers.

        Raises Refused 429 beyond the limit.
        """
        window = int(now) // WINDOW_SECONDS
        if window != self._window:
            self._window, self._counts = window, {}
        network = around(who)
        used = self._counts.get(who, 0) + 1
        of_all = self._counts.get(network, 0) + 1 if network else 0
        for name, count in ((network, of_all), (who, used)):
            # Whoever does not fit into a full table is not counted: it must not grow, nor be filled
            # by whoever is refused.
            known = name in self._counts
            if name and (known or (len(self._counts) < MAX_TRACKED and of_all <= self._most)):
                self._counts[name] = count
        reset = (window + 1) * WINDOW_SECONDS - int(now)
        headers = {
            "X-RateLimit-Limit": str(self._limit),
            "X-RateLimit-Remaining": str(max(self._limit - used, 0)),
            "X-RateLimit-Reset": str(reset),
        }
        if used > self._limit or of_all > self._most:
            raise Refused(
                429,
                "Rate limit exceeded. Please slow down your request rate "
                f"(limit: {self._limit} requests/min).",
                {**headers, "Retry-After": str(reset)},
            )
        return headers


def around(who: str) -> str:
    """The /48 that a customer of IPv6 is in; "" for everybody else."""
    return str(ip_network(who).supernet(new_prefix=48)) if who.endswith("/64") else ""


class Gatekeeper(Windows):
    """A user's requests per minute, and answers under way."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits.requests_per_minute)
        self._limits = limits
        self._running: defaultdict[str, int] = defaultdict(int)
        self._total = 0

    @contextmanager
    def running(self, user: str) -> Iterator[None]:
        """Hold one place while an answer is under way. Raises Refused 503 when none is free."""
        if (
            self._total >= self._limits.concurrency
            or self._running.get(user, 0) >= self._limits.concurrency_per_user
        ):
            raise Refused(503, f"{user}: too many answers under way", {"Retry-After": "1"})
        self._running[user] += 1
        self._total += 1
        try:
            yield
        finally:
            self._total -= 1
            self._running[user] -= 1
            if not self._running[user]:
                del self._running[user]
