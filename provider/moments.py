"""Moments as programs read them."""

from __future__ import annotations

import datetime as dt


def iso(at: float) -> str:
    """Unix seconds in ISO 8601, UTC, to the millisecond: `2026-01-31T12:00:00.000Z`."""
    found = dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="milliseconds")
    return found.replace("+00:00", "Z")
