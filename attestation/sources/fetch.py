"""One request to a fixed service: bounded, patient, and never an exception.

Redirects to another host are refused by the client; the host itself comes from settings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from attestation.sources.records import Answer, Source, Sources
from net.client import Client, printable
from net.errors import BadStatus, BrokenOff, NetError, TimedOut, Unreachable
from net.limits import Limits

#: Longest pause that a service may ask for, in seconds.
_MOST_PAUSE = 5
_EXCERPT = 200
_TEN_YEARS = 10 * 365 * 86_400
_KEPT_HEADERS = ("Content-Type", "Request-ID")


def now() -> float:
    """Our clock, unix seconds: what an answer's `Date` is compared with."""
    return time.time()


@dataclass(frozen=True)
class Request:
    """What to ask. `headers_kept` are those of the answer that a verdict needs."""

    source: Source
    key: str
    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    max_bytes: int = 1 << 20
    headers_kept: tuple[str, ...] = ()


class Fetcher:
    """Asks services one by one; use within one event loop."""

    def __init__(self, client: Client, sources: Sources) -> None:
        self._client = client
        self._sources = sources

    async def ask(self, request: Request) -> Answer:
        """The answer, its window not yet read; with `error` where there is none. Never raises for
        what the service does.
        """
        for pause in (*self._sources.pauses, None):
            try:
                return await self._once(request)
            except NetError as error:
                if pause is None or not _may_pass(error):
                    return self._failed(request, error)
                if isinstance(error, BadStatus):
                    pause = max(pause, min(error.retry_after, _MOST_PAUSE))
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns")

    async def _once(self, request: Request) -> Answer:
        limits = Limits(
            connect=5.0,
            first_byte=self._sources.answer_seconds,
            between=self._sources.answer_seconds,
            total=2 * self._sources.answer_seconds,
            max_bytes=request.max_bytes,
        )
        async with self._client.open(
            request.method, request.url, headers=request.headers, body=request.body, limits=limits
        ) as response:
            body = await response.read()
            kept = (*request.headers_kept, *_KEPT_HEADERS)
            return Answer(
                source=request.source,
                key=request.key,
                url=request.url,
                fetched_at=int(now()),
                status=response.status,
                body=body,
                headers={name: value for name in kept if (value := response.header(name))},
                http_date=date_of(response.header("Date")),
            )

    def _failed(self, request: Request, error: NetError) -> Answer:
        status, text = 0, str(error)
        if isinstance(error, BadStatus):
            status, text = error.status, said(error)
        return Answer(
            source=request.source,
            key=request.key,
            url=request.url,
            fetched_at=int(now()),
            status=status,
            error=text,
        )


def _may_pass(error: NetError) -> bool:
    """True for what another attempt may heal."""
    if isinstance(error, BadStatus):
        return error.status == 429 or error.status >= 500
    return isinstance(error, TimedOut | Unreachable | BrokenOff)


def said(error: BadStatus) -> str:
    """The status with the beginning of the sender's own words: hostile, printable only."""
    words = printable(error.body.decode("utf-8", "replace"))
    return f"status {error.status}" + (f": {words[:_EXCERPT]}" if words else "")


def date_of(text: str) -> int | None:
    """An HTTP date in unix seconds; None for anything else, and for times that nobody lives in."""
    try:
        moment = parsedate_to_datetime(text)
        unix = int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return unix if 0 < unix < now() + _TEN_YEARS else None
