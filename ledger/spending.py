"""What one account was charged: by sub-account and by day, in one statement and so one snapshot."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connection

#: (serving, provider)
Pair = tuple[str, str]


@dataclass(frozen=True)
class Charged:
    """Neuron and number of charges inside a window, newest day first; `recent` is what was charged
    since a second moment. `settled` is the same total, read from the settlements.
    """

    by_pair: dict[Pair, tuple[int, int]]
    by_day: dict[dt.date, tuple[int, int]]
    recent: dict[Pair, int]
    settled: int

    @property
    def total(self) -> int:
        return sum(amount for amount, _ in self.by_pair.values())


# Blocks and times rise together: the block of the last row before a moment leads to what follows by
# the index that every history has, past all the older rows.
_CHARGED = """
WITH moved AS (
    SELECT serving, provider, (at AT TIME ZONE 'UTC')::date AS day, -amount AS amount,
        at >= %(recent)s AS recent
    FROM ledger_movement
    WHERE "user" = %(user)s AND kind = 'settlement' AND balance = 'sub_account'
        AND at >= %(since)s AND block >= COALESCE((
            SELECT block FROM ledger_movement WHERE "user" = %(user)s AND at < %(since)s
            ORDER BY block DESC LIMIT 1
        ), 0)
), settled AS (
    SELECT COALESCE(SUM(settled), 0) AS amount FROM ledger_settlement
    WHERE "user" = %(user)s AND at >= %(since)s AND block >= COALESCE((
        SELECT block FROM ledger_settlement WHERE "user" = %(user)s AND at < %(since)s
        ORDER BY block DESC LIMIT 1
    ), 0)
)
SELECT serving, provider, day, SUM(amount), COUNT(*), SUM(amount) FILTER (WHERE recent)
FROM moved GROUP BY GROUPING SETS ((serving, provider), (day))
UNION ALL
SELECT NULL, NULL, NULL, amount, 0, 0 FROM settled
ORDER BY day DESC
"""
_EVER = "-infinity"


def charged(user: str, since: dt.datetime | None, recent: dt.datetime) -> Charged:
    """What settlements took from `user`'s sub-accounts since a moment, or ever (1 query)."""
    given = {"user": user, "since": since or _EVER, "recent": recent}
    found = Charged({}, {}, {}, 0)
    settled = 0
    with connection.cursor() as cursor:
        cursor.execute(_CHARGED, given)
        for serving, provider, day, amount, count, lately in cursor.fetchall():
            if day is not None:
                found.by_day[day] = (int(amount), count)
            elif provider is not None:
                found.by_pair[serving, provider] = (int(amount), count)
                found.recent[serving, provider] = int(lately or 0)
            else:
                settled = int(amount)
    return Charged(found.by_pair, found.by_day, found.recent, settled)
