"""The price of 0G in US dollars: asked of the one source that the host names (USD_PRICE_URL), kept
as facts, and handed to whatever shows amounts. Without a source nothing here does anything.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import urlsplit

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.cache import cache
from django.db import Error as DatabaseError
from django.utils import timezone

from net.addresses import Policy
from net.cache import recall
from net.client import Client
from net.errors import NetError
from net.limits import Limits
from probes import dollars
from probes.dollars import Price
from probes.models import ExchangeRate

log = logging.getLogger(__name__)

#: Seconds between two questions; beat comes more often (`CELERY_BEAT_SCHEDULE`).
EVERY = 600
#: A process believes what it read for this long (seconds): pages cost no query.
BELIEVED = 60.0
_ASKED, _PROBLEM = "probes:exchange-asked", "probes:exchange-problem"
_LIMITS = Limits(total=20.0, max_bytes=dollars.SHAPE.max_bytes)

#: Whether the reader of the page that is being made wants dollars; outside of a page nobody does.
_wanted: ContextVar[bool] = ContextVar("dollars", default=False)
_believed: tuple[float, str, Price | None] = (0.0, "", None)


def source() -> str:
    """The host that is asked; "" without one. Never the whole URL, which may hold a key."""
    return urlsplit(settings.USD_PRICE_URL).hostname or ""


# --- writes ---------------------------------------------------------------------------------------


def ask() -> bool:
    """Ask the source, at most once in `EVERY` seconds over all workers; whether a new fact came.
    What went wrong is kept for `/ops`."""
    if not source() or not cache.add(_ASKED, 1, timeout=EVERY - 10):
        return False
    try:
        price = dollars.read(
            async_to_sync(_fetched)(settings.USD_PRICE_URL), source(), timezone.now()
        )
    except NetError as error:
        log.warning("no price in dollars from %s: %s", source(), error)
        cache.set(_PROBLEM, str(error)[:200], timeout=int(dollars.ENDS.total_seconds()))
        return False
    cache.delete(_PROBLEM)
    _, new = ExchangeRate.objects.get_or_create(
        source=price.source, quoted_at=price.at, defaults={"micro": price.micro}
    )
    forget()
    return new


async def _fetched(url: str) -> bytes:
    """Private addresses only on a devnet, though the host chose the place: its name may not lead
    into our own network."""
    async with (
        Client(Policy(allow_private=settings.IS_DEVNET), _LIMITS) as client,
        client.open("GET", url, headers=settings.USD_PRICE_HEADER) as answer,
    ):
        return await answer.read()


# --- reads ----------------------------------------------------------------------------------------


def newest() -> Price | None:
    """What the source said last, however old; None without a source, a fact or a database. SQL: one
    query a minute in each process."""
    global _believed
    host = source()
    if not host:
        return None
    since, of, price = _believed
    if not since or of != host or time.monotonic() - since > BELIEVED:
        try:
            row = ExchangeRate.objects.filter(source=host).order_by("-quoted_at").first()
            price = Price(row.micro, row.quoted_at, row.source) if row else None
        except DatabaseError:
            price = None  # an error page must not fail a second time
        _believed = (time.monotonic(), host, price)
    return price


def forget() -> None:
    """Read anew the next time."""
    global _believed
    _believed = (0.0, "", None)


def problem() -> str:
    """Why the source could not be read the last time, in our words; "" where it could."""
    return str(recall(_PROBLEM) or "")


def current() -> Price | None:
    """The newest price while it may be shown."""
    price = newest()
    return None if price is None or price.ended(timezone.now()) else price


def shown() -> Price | None:
    """The price for the reader of this page; None where there is none or it is not wanted."""
    return current() if _wanted.get() else None


def said(neuron: int) -> str:
    """An amount in dollars for the reader of this page (`Price.of`); "" where none is shown."""
    price = shown()
    return price.of(neuron) if price is not None else ""


@contextmanager
def wanted(yes: bool) -> Iterator[None]:
    """Whether amounts inside are said in dollars too."""
    token = _wanted.set(yes)
    try:
        yield
    finally:
        _wanted.reset(token)
