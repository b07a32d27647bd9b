"""Days as addresses say them, moments as forms do: in UTC. Pure."""

from __future__ import annotations

import datetime as dt


def day_of(text: str) -> dt.date | None:
    """The day `YYYY-MM-DD`; None for whatever is none."""
    try:
        return dt.date.fromisoformat(text) if len(text) == 10 and text.isascii() else None
    except ValueError:
        return None


def start_of(day: dt.date) -> dt.datetime:
    """Its first moment."""
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def end_of(day: dt.date) -> dt.datetime:
    """The first moment after it; of the calendar's last day its last one, since none follows."""
    if day == dt.date.max:
        return dt.datetime.max.replace(tzinfo=dt.UTC)
    return start_of(day + dt.timedelta(days=1))


def moment_of(text: str) -> dt.datetime | None:
    """The moment `2026-05-01T12:00` of a browser's field, which names no zone; None for whatever is
    none, and for another zone than UTC: the form asks for UTC, so somebody mistook it."""
    try:
        found = dt.datetime.fromisoformat(text.strip()[:32])
    except ValueError:
        return None
    return None if found.utcoffset() else found.replace(tzinfo=dt.UTC)


def utc(at: dt.datetime) -> str:
    """A moment in UTC, to the minute, as English texts have it: `2026-05-01 12:00 UTC`."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
