"""The JSON shapes of what our probes measured (`docs/how-we-measure.md`). Times are UTC."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from ninja import Schema
from pydantic import WithJsonSchema

Percent = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,3}\.[0-9]{2}$",
            "description": "percent, cut to two decimals",
            "examples": ["99.31"],
        }
    ),
]
Decimal1 = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^[0-9]+\.[0-9]$"})]
HealthState = Literal["up", "degraded", "down", "none"]


class UptimeOut(Schema):
    """Mean over the measured quarters of an hour (`cells`), from so many probes."""

    percent: Percent
    probes: int
    cells: int


class UptimesOut(Schema):
    """As of the last probe (`checked_at`). Null where a window has none, or where an eighth of it
    passed since the last."""

    last_24h: UptimeOut | None
    last_7d: UptimeOut | None
    last_90d: UptimeOut | None


class MillisecondsOut(Schema):
    """Percentiles of `n` samples: each a value that was measured."""

    p50: int
    p95: int
    n: int


class TokensOut(Schema):
    """Tokens a second after the first one; 19 of 20 answers were faster than `p5`."""

    p50: Decimal1
    p5: Decimal1
    n: int


class HealthOut(Schema):
    """What our probes say about a service; spreads are of the 7 days up to the last probe.

    `state` is `none` without a probe in the last two hours. Null: not measured, and of spreads
    also: not in the last 21 hours. `tls_days`: left now, by the look that saw the certificate last;
    less than 0 where it has ended since. `example`: made for a demonstration, measured nowhere.
    """

    state: HealthState
    since: dt.datetime | None
    checked_at: dt.datetime | None
    failure: str | None
    note: str | None
    uptime: UptimesOut
    answer_ms: MillisecondsOut | None
    first_token_ms: MillisecondsOut | None
    tokens_per_second: TokensOut | None
    tls_days: int | None
    cors: bool | None
    model_listed: bool | None
    usage_in_final_chunk: bool | None
    opted_out: bool
    example: bool


class HealthCellOut(Schema):
    """A cell of a window. Where nobody looked `state` is `none`, and what is measured null."""

    start: dt.datetime
    state: HealthState
    uptime: Percent | None
    probes: int
    answer_ms: MillisecondsOut | None
    first_token_ms: MillisecondsOut | None
    tokens_per_second: TokensOut | None
    example: bool


class HealthHistoryOut(Schema):
    """A window that ends now; percentiles are over all of it."""

    window: Literal["24h", "7d", "90d"]
    cell_seconds: int
    now: HealthOut
    uptime: UptimeOut | None
    answer_ms: MillisecondsOut | None
    first_token_ms: MillisecondsOut | None
    tokens_per_second: TokensOut | None
    cells: list[HealthCellOut]
    example: bool
