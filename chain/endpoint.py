"""One RPC URL: its connection, its request budget, and what we know about its health.

A node is a stranger: every answer is bounded in time and bytes. After a failure it rests (the
circuit is open), ever longer; the first request after a rest asks only for its chain id (the
half-open probe). A node that contradicts what we know for certain is set aside.
"""

from __future__ import annotations

import base64
import http.client
import io
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from chain.errors import ChainError, Halt, RangeTooWide, RateLimited, Retry, Unavailable

#: An answer larger than this is refused (bytes).
MAX_ANSWER = 192 << 20
#: Calls per HTTP request; public nodes refuse more than 100 to 1000.
BATCH = 100
FIRST_REST_SECONDS, LAST_REST_SECONDS = 0.5, 30.0
#: After this many good answers at most a batch that was refused is tried again.
LAST_BATCH_PATIENCE = 5_000
#: A longer `Retry-After` than this is not believed.
LAST_WAIT_SECONDS = 120.0
#: A node that contradicted us is looked at again after this long.
ASIDE_SECONDS = 300.0


class _Patient(io.RawIOBase):
    """A connection's bytes until `deadline` (monotonic): a limit for each read would never end with
    a node that sends one byte after the other."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(into)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """Reads by a deadline: status and headers too."""

    def __init__(self, deadline: float, sock: socket.socket, **given: Any) -> None:
        super().__init__(sock, **given)
        self.fp.close()
        self.fp = io.BufferedReader(_Patient(sock, deadline))


@dataclass
class Budget:
    """Calls per second we allow ourselves: halved when a node complains, +5 % per good answer.

    `rate` None means no limit, until the node complains for the first time.
    """

    rate: float | None
    restart: float
    slowest: float
    fastest: float
    _owed_until: float = 0.0

    @classmethod
    def of(cls, parts: SplitResult) -> Budget:
        """Ours alone on loopback; elsewhere what public nodes are known to stand."""
        if _is_loopback(parts.hostname or ""):
            return cls(None, restart=1000, slowest=200, fastest=100_000)
        return cls(50, restart=50, slowest=2, fastest=1000)

    def take(self, calls: int, patience: float) -> None:
        """Wait until `calls` fit; RateLimited when that takes more than `patience` seconds."""
        if self.rate is None:
            return
        now = time.monotonic()
        wait = self._owed_until - now
        if wait > patience:
            raise RateLimited(f"our own budget of {self.rate:.0f} calls/s is used up")
        if wait > 0:
            time.sleep(wait)
        # A second's worth may be used at once; what exceeds it is paid for by waiting.
        start = max(self._owed_until, time.monotonic() - 1)
        self._owed_until = start + calls / self.rate

    def slow_down(self) -> None:
        self.rate = max(self.slowest, (self.rate or 2 * self.restart) / 2)

    def speed_up(self) -> None:
        if self.rate is not None:
            self.rate = min(self.fastest, self.rate * 1.05)


@dataclass
class Endpoint:
    """`latency` in seconds (moving average); `head_block` as the follower last saw it there."""

    url: str
    timeout: float
    checked: bool = False
    rest_seconds: float = 0.0
    rests_until: float = 0.0
    #: The node itself named the end of the rest (Retry-After): it is not asked before.
    told_to_wait: bool = False
    aside: Halt | None = None
    aside_until: float = 0.0
    reason: str = ""
    requests: int = 0
    failures: int = 0
    #: Steps in a row that failed on what it said, although it answered.
    blames: int = 0
    latency: float = 0.0
    head_block: int | None = None
    #: It does not know EIP-1898: state is read by number there, and the hash checked again.
    by_number: bool = False
    #: False once it has refused `eth_getBlockReceipts`.
    block_receipts: bool = True
    batch: int = BATCH
    #: Good answers since the batch was last changed, and how many allow a wider one.
    batch_good: int = 0
    batch_patience: int = 10
    headers: dict[str, str] = field(default_factory=dict)
    #: Open connections that are free. A request has one of its own: there are two at once where
    #: the next range is read ahead in a thread (chain.prefetch).
    _free: list[http.client.HTTPConnection] = field(default_factory=list)
    _taking: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http(s) URL: {self.url}")
        self.budget = Budget.of(parts)
        self.headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if parts.username:
            token = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode())
            self.headers["Authorization"] = "Basic " + token.decode()

    @property
    def name(self) -> str:
        """The URL without credentials or path: paths of hosted nodes hold API keys."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

    @property
    def state(self) -> str:
        """`untried`, `ok`, `resting` (its last answer was a failure) or `set aside`."""
        if self.aside is not None:
            return "set aside"
        if self.rest_seconds:
            return "resting"
        return "ok" if self.requests else "untried"

    @property
    def width(self) -> int:
        """Calls per request now: no more than the budget has in the time that a request may wait,
        or the next one would give up, and with it a whole step, again and again."""
        rate = self.budget.rate
        return self.batch if rate is None else min(self.batch, max(1, int(rate * self.timeout)))

    # --- health ----------------------------------------------------------------------------------

    def rest(self, error: Retry) -> None:
        """Leave this node alone for a while, longer each time, or as long as it asked."""
        doubled = self.rest_seconds * 2 or FIRST_REST_SECONDS
        self.rest_seconds = min(doubled, LAST_REST_SECONDS)
        told = error.retry_after if isinstance(error, RateLimited) else None
        self.told_to_wait = told is not None
        wait = self.rest_seconds if told is None else min(told, LAST_WAIT_SECONDS)
        self.rests_until = time.monotonic() + wait
        self.failures += 1
        self.reason = str(error)[:300]
        self.checked = False
        if isinstance(error, RateLimited):
            self.budget.slow_down()

    def blame(self, error: Retry) -> None:
        """It answers, but not so that a step could end: rest longer each time that happens."""
        self.blames = min(self.blames + 1, 10)
        self.rest_seconds = FIRST_REST_SECONDS * 2 ** (self.blames - 2)
        self.rest(error)

    def set_aside(self, error: Halt) -> None:
        """It contradicts what we know for certain: nothing it says is used."""
        self.aside, self.aside_until = error, time.monotonic() + ASIDE_SECONDS
        self.reason = str(error)[:300]
        self.checked = False

    def lift(self) -> None:
        self.aside = None

    def batch_refused(self, calls: int) -> None:
        """Fewer calls per request from now on; a wider batch is tried again later, ever later."""
        if calls > 1:
            self.batch, self.batch_good = calls // 2, 0
            self.batch_patience = min(LAST_BATCH_PATIENCE, 2 * self.batch_patience)

    def answered(self, seconds: float) -> None:
        self.batch_good += 1
        if self.batch < BATCH and self.batch_good >= self.batch_patience:
            self.batch, self.batch_good = min(BATCH, 2 * self.batch), 0
        self.rest_seconds, self.told_to_wait, self.reason = 0.0, False, ""
        self.latency = seconds if not self.latency else 0.8 * self.latency + 0.2 * seconds
        self.budget.speed_up()

    # --- transport -------------------------------------------------------------------------------

    def post(self, body: bytes, calls: int = 1) -> bytes:
        """The answer to one HTTP POST of `calls` calls; Unavailable or RateLimited otherwise."""
        with self._taking:
            self.budget.take(calls, self.timeout)
        deadline = time.monotonic() + self.timeout
        self.requests += 1
        try:
            return self._post(body, deadline)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(f"{self.name}: {type(error).__name__}: {error}") from error
        except ChainError:
            self.close()
            raise

    def _post(self, body: bytes, deadline: float) -> bytes:
        connection, response = self._sent(body, deadline)
        try:
            content = self._content(response, deadline)
        except BaseException:
            connection.close()
            raise
        self._free.append(connection)
        if response.status != 200 and content.lstrip()[:1] not in (b"{", b"["):
            raise Unavailable(f"{self.name}: HTTP {response.status}")
        if response.status >= 500:
            raise Unavailable(f"{self.name}: HTTP {response.status}")
        return content

    def _sent(
        self, body: bytes, deadline: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The connection that `body` went over, and the beginning of the answer."""
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        while True:
            try:
                connection, fresh = self._free.pop(), False
            except IndexError:
                connection, fresh = self._connect(), True
            if connection.sock is not None:
                connection.sock.settimeout(self.timeout)
            reading: Any = partial(_Response, deadline)
            connection.response_class = reading
            try:
                connection.request("POST", path, body, self.headers)
                return connection, connection.getresponse()
            except BaseException as error:
                connection.close()
                # One that was kept alive, and that the node has closed meanwhile: try a new one.
                if fresh or not isinstance(error, ConnectionError):
                    raise
                self.close()

    def _content(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        if response.status == 429 or (
            response.status == 503 and response.headers.get("Retry-After")
        ):
            wait = retry_after(response.headers.get("Retry-After"))
            raise RateLimited(f"{self.name}: HTTP {response.status}", wait)
        if response.status == 413:
            raise RangeTooWide(f"{self.name}: HTTP 413, content too large")
        chunks, size = [], 0
        try:
            while chunk := response.read1(1 << 20):
                size += len(chunk)
                if size > MAX_ANSWER:
                    raise RangeTooWide(f"{self.name}: an answer over {MAX_ANSWER >> 20} MiB")
                if time.monotonic() > deadline:
                    raise Unavailable(f"{self.name}: no complete answer in {self.timeout:g} s")
                chunks.append(chunk)
        except BaseException:
            chunks.clear()  # whoever keeps the error, to try again, keeps this frame
            raise
        # http.client (3.11) does not notice the end of a body read by read1: without this the
        # kept-alive connection refuses its next answer (ResponseNotReady).
        response.close()
        return b"".join(chunks)

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                host, parts.port, timeout=self.timeout, context=context
            )
        return http.client.HTTPConnection(host, parts.port, timeout=self.timeout)

    def close(self) -> None:
        self.checked = False
        with suppress(IndexError):  # two threads may take from it
            while True:
                self._free.pop().close()


def retry_after(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header (a number or an HTTP date); None without a sound one."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
